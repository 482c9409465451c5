"""The catalogue of messages: `make messages` brings it up to date with the source, tests compare the two.

English is in the source; `locale/ko/LC_MESSAGES/django.po` is what people translate, `django.mo` beside it
is what Django reads. Strings of the libraries that dress the desk are in it where the library has no Korean.
"""

import ast
import gettext
import importlib.util
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import polib

ROOT = Path(__file__).resolve().parents[2]
PO = ROOT / "locale" / "ko" / "LC_MESSAGES" / "django.po"
SOURCES = ("yousinsa", "shop", "inventory", "orders")
# What people see of a library, and has no Korean there.
LIBRARIES = {
    "unfold": ("*.py", "mixins/*.py", "templatetags/*.py", "templates/**/*.html"),
    "treebeard": ("admin.py", "forms.py"),
}
# Django's own Korean of these reads badly.
REPLACED = {
    "django.contrib.admin": (
        "Select %s to view",
        "View %s",
        "%(name)s with ID “%(key)s” doesn’t exist. Perhaps it was deleted?",
    )
}

# What the arguments of each function are: c a context, s the singular, p the plural.
FUNCTIONS = {
    "_": "s",
    "gettext": "s",
    "gettext_lazy": "s",
    "gettext_noop": "s",
    "ngettext": "sp",
    "ngettext_lazy": "sp",
    "pgettext": "cs",
    "pgettext_lazy": "cs",
    "npgettext": "csp",
    "npgettext_lazy": "csp",
}
_TEXT = r"""(?:u?(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))"""
_CALL_OF_TEMPLATE = re.compile(rf"\b(?:n?p?gettext|_)\({_TEXT}(?:, ?{_TEXT})*(?:, ?count)?\)")


class Message(NamedTuple):
    """One string of the source, by which the catalogue finds its translation."""

    context: str | None
    singular: str
    plural: str | None


def of_python(text: str) -> Iterator[tuple[int, Message]]:
    """Each message in Python source, with its line; one that is not written out there is left out."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if not (parts := FUNCTIONS.get(name)):
            continue
        values = [getattr(argument, "value", None) for argument in node.args[: len(parts)]]
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) == len(parts):
            given = dict(zip(parts, texts, strict=True))
            yield node.lineno, Message(given.get("c"), given["s"], given.get("p"))


def of_template(text: str) -> Iterator[tuple[int, Message]]:
    """Each message in a Django template, with its line."""
    from django.utils.translation.template import templatize

    as_calls = templatize(text)
    for call in _CALL_OF_TEMPLATE.finditer(as_calls):
        for _line, message in of_python(call.group()):
            yield as_calls.count("\n", 0, call.start()) + 1, message


def of_files(root: Path, patterns: Iterable[str]) -> dict[Message, set[str]]:
    """Each message in the files that match, with the paths (from `root`) where it stands."""
    found: dict[Message, set[str]] = {}
    for path in sorted({path for pattern in patterns for path in root.glob(pattern)}):
        read = of_python if path.suffix == ".py" else of_template
        for _line, message in read(path.read_text()):
            found.setdefault(message, set()).add(path.relative_to(root).as_posix())
    return found


def of_source(root: Path = ROOT) -> dict[Message, set[str]]:
    """Each message of our own."""
    return of_files(root, [f"{app}/**/*.{kind}" for app in SOURCES for kind in ("py", "html", "txt")])


def folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    return Path(str(spec.origin)).parent


def of_libraries() -> dict[Message, set[str]]:
    """Each message of a library that would stay English at the desk."""
    known = _korean_of_others()
    found: dict[Message, set[str]] = {}
    for package, texts in REPLACED.items():
        found |= {Message(None, text, None): {f"({package})"} for text in texts}
    for package, patterns in LIBRARIES.items():
        for message in of_files(folder_of(package), patterns):
            if message.singular.strip() and message.singular not in known:
                found.setdefault(message, set()).add(f"({package})")
    return found


@cache
def _korean_of_others() -> set[str]:
    """The messages that Django, DRF and the like bring their own Korean for."""
    known: set[str] = set()
    for package in ("django", "rest_framework"):
        for path in folder_of(package).rglob("locale/ko*/LC_MESSAGES/django.mo"):
            with path.open("rb") as file:
                catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
            known |= {key[0] if isinstance(key, tuple) else key for key in catalogue}
    return known


def expected() -> dict[Message, set[str]]:
    """Every message that the catalogue has to translate, with where it comes from."""
    found = of_libraries()
    ours = of_source()
    for message in ours.keys() & found.keys():
        ours[message] |= found[message]
    # The same words in one file with a plural and in another without are one entry.
    plurals = {(m.context, m.singular) for m in (*ours, *found) if m.plural}
    merged = {**found, **ours}
    return {m: at for m, at in merged.items() if m.plural or (m.context, m.singular) not in plurals}


def key(entry: polib.POEntry) -> Message:
    """Which message of the source an entry of the catalogue translates."""
    return Message(entry.msgctxt, entry.msgid, entry.msgid_plural or None)


def read(path: Path = PO) -> polib.POFile:
    return polib.pofile(str(path), wrapwidth=100)


def update() -> tuple[int, int, int]:
    """Bring the catalogue up to date. Returns how many entries are new, gone, and without a translation.

    Nothing is guessed: a new message has an empty translation, one that has gone goes with its own.
    """
    catalogue = read()
    wanted = expected()
    present = {key(entry): entry for entry in catalogue}
    for gone in present.keys() - wanted.keys():
        catalogue.remove(present[gone])
    for message in wanted.keys() - present.keys():
        forms: dict[str, object] = {"msgstr_plural": {0: ""}} if message.plural else {"msgstr": ""}
        catalogue.append(
            polib.POEntry(
                msgctxt=message.context, msgid=message.singular, msgid_plural=message.plural or "", **forms
            )
        )
    for entry in catalogue:
        places = sorted(wanted[key(entry)])
        entry.occurrences = [(place, "") for place in places]
        takes_values = re.search(r"%(\(\w+\))?[+\d.]*[sdif]", entry.msgid + entry.msgid_plural)
        entry.flags = ["fuzzy"] * entry.fuzzy + ["python-format"] * bool(takes_values)
    catalogue.sort(key=_place)
    catalogue.save(str(PO))
    PO.with_suffix(".mo").write_bytes(compiled(catalogue))
    return (
        len(wanted.keys() - present.keys()),
        len(present.keys() - wanted.keys()),
        len(catalogue.untranslated_entries()),
    )


def _place(entry: polib.POEntry) -> tuple[bool, str, str]:
    """Our own messages first, by file."""
    place = entry.occurrences[0][0]
    return place.startswith("("), place, entry.msgid


def compiled(catalogue: polib.POFile) -> bytes:
    """The bytes of django.mo."""
    data: bytes = catalogue.to_binary()
    return data


if __name__ == "__main__":
    new, gone, empty = update()
    print(f"{PO.relative_to(ROOT)}: {new} new, {gone} gone, {empty} without a translation")
