"""Hangul in Latin letters (Revised Romanization, letter by letter), for addresses that can be read."""

import re
import unicodedata

from django.utils.text import slugify

_LEADS = "g-kk-n-d-tt-r-m-b-pp-s-ss--j-jj-ch-k-t-p-h"
_VOWELS = "a-ae-ya-yae-eo-e-yeo-ye-o-wa-wae-oe-yo-u-wo-we-wi-yu-eu-ui-i"
_TAILS = "-k-k-k-n-n-n-t-l-k-m-l-l-l-p-l-m-p-p-t-t-ng-t-t-k-t-p-t"
_LETTERS = [letters.split("-") for letters in (_LEADS, _VOWELS, _TAILS)]
_BETWEEN = re.compile("[/·,|]")
_SYLLABLE = re.compile("[가-힣]")


def romanised(text: str) -> str:
    """The text with every Hangul syllable in Latin letters: `청바지` is `cheongbaji`."""
    return _SYLLABLE.sub(
        lambda found: _latin(ord(found.group()) - 0xAC00), unicodedata.normalize("NFC", text)
    )


def slug(text: str) -> str:
    """An address's part in ASCII; empty where the text has neither Latin letters, digits nor Hangul."""
    return slugify(_BETWEEN.sub(" ", romanised(text)))


def _latin(index: int) -> str:
    lead, rest = divmod(index, 588)
    vowel, tail = divmod(rest, 28)
    return "".join(letters[i] for letters, i in zip(_LETTERS, (lead, vowel, tail), strict=True))
