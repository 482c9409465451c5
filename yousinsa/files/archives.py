"""Archives from people, judged by their directory before anything is unpacked."""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from django.utils.translation import gettext

# What an XLSX file unpacks to: 100,000 rows of four cells are some 30 MiB.
MAX_UNPACKED = 96 * 1024 * 1024
MAX_PARTS = 1_000
MAX_DIRECTORY = 1 << 20

# The root element, after at most an XML declaration: no document type, and so no entities that expand.
_PLAIN_XML = re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*\?>)?\s*<[A-Za-z]")
_END = struct.Struct("<4s4H2LH")
_END_MARK, _LARGE_MARK = b"PK\x05\x06", b"PK\x06\x07"


class Refused(ValueError):
    """A file that is not read; the message says why and what to do."""


@contextmanager
def open_archive(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """The archive in a file. `zipfile` unpacks no more of a part than its directory says.

    Raises `Refused` for what is none, says that it unpacks to too much, or turns out to be broken.
    """
    try:
        _check_directory(file)
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            if sum(part.file_size for part in parts) > MAX_UNPACKED or len(parts) > MAX_PARTS:
                raise _too_large()
            for part in parts:
                if part.filename.endswith((".xml", ".rels")):
                    _check_xml(archive, part)
            yield archive
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError) as exc:
        raise Refused(gettext("This is no XLSX file: save it as XLSX once more, or as CSV.")) from exc


def _check_directory(file: BinaryIO) -> None:
    """The directory may be all of a file, and `zipfile` keeps half a kilobyte for each entry."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END.size - 0xFFFF))
    tail = file.read()
    at = tail.rfind(_END_MARK)
    if at < 0 or len(tail) - at < _END.size:
        raise zipfile.BadZipFile("no directory")
    parts, length = _END.unpack_from(tail, at)[4:6]
    if parts > MAX_PARTS or length > MAX_DIRECTORY or _LARGE_MARK in tail[max(0, at - 20) : at]:
        raise _too_large()


def _check_xml(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    with archive.open(part) as content:
        if not _PLAIN_XML.match(content.read(1_000)):
            raise zipfile.BadZipFile(part.filename)


def _too_large() -> Refused:
    text = gettext("The workbook unpacks to more than %d MB: split it, or save it as CSV.")
    return Refused(text % (MAX_UNPACKED // 1024 // 1024))
