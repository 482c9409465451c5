"""Text as people type it, made the text that is stored: once, at the border, whoever brings it.

Bodies (yousinsa/http/body_text.py), columns and forms (yousinsa/text/fields.py) and file readers all call
these. What looks the same is stored as the same code points (NFC); what cannot be seen,
or makes other text look different than it is, is refused and named by its code point.
"""

import re
import unicodedata
from functools import lru_cache

from django.utils.translation import gettext

JOINER, EMOJI_STYLE, KEYCAP = "\u200d", "\ufe0f", "\u20e3"
# Seen by nobody although Unicode calls them letters, marks or symbols: fillers of Hangul, blanks, variants.
_UNSEEN = frozenset(
    [
        0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0,
        0xFFFC,
        *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0),
    ]
)  # fmt: skip
# Zs, Zl and Zp, and the controls that a keyboard has.
_SPACES = re.compile(r"[ \t\n\r\v\f\x85\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_LINE_ENDS = re.compile(r"\r\n?|[\x85\u2028\u2029]")
_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*")


class UnclearText(ValueError):
    """Text that is not let in; the message says why and what to do."""


def clean_line(text: str) -> str:
    """One line: NFC, white space folded to single spaces, none at the ends. Raises `UnclearText`."""
    if _PLAIN.fullmatch(text):
        return text
    return _seen(unicodedata.normalize("NFC", _SPACES.sub(" ", text).strip(" ")))


def clean_text(text: str) -> str:
    """Text of several lines, each as in `clean_line`; line ends are `\\n`. Raises `UnclearText`."""
    lines = _LINE_ENDS.sub("\n", text).split("\n")
    return "\n".join(clean_line(line) for line in lines).strip("\n")


def clean_sku(text: str) -> str:
    """What identifies something: a line without emoji styles; a tab or line end inside is refused.

    Raises `UnclearText`.
    """
    text = text.strip().replace(EMOJI_STYLE, "")
    for char in text:
        if unicodedata.category(char) in ("Cc", "Zl", "Zp"):
            raise UnclearText(_refusal(char))
    return clean_line(text)


def clean_email(text: str) -> str:
    """An address as its mailbox is known: in lower case, other widths and styles made plain (`ｊ`, `ſ`).

    Raises `UnclearText`, also for letters before the @ that no mail program takes, many of which look like
    others. Whether it is an address at all is not asked here.
    """
    address = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", clean_line(text)).lower())
    local = address.rpartition("@")[0]
    if not local.isascii():
        other = next(char for char in local if not char.isascii())
        raise UnclearText(
            gettext("%s cannot be in an e-mail address before the @: write it in plain letters.") % other
        )
    return clean_line(address)


def tidied(text: str) -> str:
    """`clean_line` of text that was let in before, or that is looked for: what it refuses is left out."""
    if _PLAIN.fullmatch(text):
        return text
    text = "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)
    return unicodedata.normalize("NFC", _SPACES.sub(" ", _seen(text, drop=True)).strip(" "))


def clean_slug(text: str) -> str:
    """A part of an address: a line in lower case. Raises `UnclearText`."""
    return clean_line(text).lower()


def tidied_slug(text: str) -> str:
    """`clean_slug` of text that was let in before."""
    return tidied(text).lower()


def tidied_text(text: str) -> str:
    """`clean_text` of text that was let in before: what it refuses is taken out."""
    return "\n".join(tidied(line) for line in _LINE_ENDS.sub("\n", text).split("\n")).strip("\n")


def tidied_sku(text: str) -> str:
    """`clean_sku` of text that was let in before."""
    return tidied(text.replace(EMOJI_STYLE, ""))


def tidied_email(text: str) -> str:
    """`clean_email` of an address that was let in before; only letters before the @ stay as they are."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", tidied(text)).lower())


def _seen(text: str, *, drop: bool = False) -> str:
    """The text, if all of it can be seen; with `drop` what cannot is left out. Raises `UnclearText`."""
    if text.isascii() and text.isprintable():
        return text
    kept = []
    for i, char in enumerate(text):
        if not _is_unseen(char) or _is_part_of_emoji(text, i):
            kept.append(char)
        elif not drop:
            raise UnclearText(_refusal(char))
    text = "".join(kept)
    if text and all(unicodedata.category(char)[0] in "MZ" for char in text):
        if drop:
            return ""
        raise UnclearText(gettext("Nothing of this can be seen: write letters, digits or signs."))
    return text


@lru_cache(maxsize=4096)
def _is_unseen(char: str) -> bool:
    code = ord(char)
    if unicodedata.category(char) in ("Cc", "Cf", "Cs"):
        return True
    is_no_character = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return is_no_character or code in _UNSEEN or char == "\ufffd"


def _is_part_of_emoji(text: str, i: int) -> bool:
    """Whether a joiner or a style stands where emoji of several parts have them."""
    if text[i] == EMOJI_STYLE:
        return i > 0 and (_is_emoji(text[i - 1]) or text[i + 1 : i + 2] == KEYCAP)
    if text[i] != JOINER or i + 1 >= len(text):
        return False
    before = text[:i].rstrip(EMOJI_STYLE)
    return bool(before) and _is_emoji(before[-1]) and _is_emoji(text[i + 1])


def _is_emoji(char: str) -> bool:
    return unicodedata.category(char) == "So" or "\U0001f3fb" <= char <= "\U0001f3ff"


def _refusal(char: str) -> str:
    code = f"U+{ord(char):04X}"
    if char == "\ufffd":
        return gettext("Contains %s, which stands for a letter that was lost: type it again.") % code
    if unicodedata.category(char) == "Cc":
        return gettext("Contains the control character %s: take it out.") % code
    return gettext("Contains %s, which cannot be seen: take it out, or type the text again.") % code
