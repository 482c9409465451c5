"""In which letters a text file is written: by its mark, or by what its bytes can be read as."""

import codecs
from collections.abc import Sequence
from typing import BinaryIO

# As Korean spreadsheets save CSV; Latin-1 is what western ones on Windows call it.
KOREAN, WESTERN = "cp949", "cp1252"
NAMES = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", KOREAN: "CP949 (EUC-KR)", WESTERN: "Latin-1 (CP1252)"}

_CHUNK = 1 << 20


def charset_of(file: BinaryIO, others: Sequence[str] = (KOREAN,)) -> str | None:
    """The codec to read a file with: UTF-16 or UTF-8 by its mark, else UTF-8, else the first of `others`.

    None where no codec reads all of it. Reads the file from its beginning, in bounded memory.
    """
    file.seek(0)
    start = file.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16" if _reads(file, "utf-16") else None
    return next((codec for codec in ("utf-8-sig", *others) if _reads(file, codec)), None)


def _reads(file: BinaryIO, codec: str) -> bool:
    file.seek(0)
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        while chunk := file.read(_CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True
