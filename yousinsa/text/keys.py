"""What tells two texts apart, and what is searched: the same on every database, whatever its collation."""

import re
import unicodedata
from collections.abc import Iterator

from yousinsa.text.cleaning import EMOJI_STYLE, tidied

# The parts of a key are told apart by what no cleaned text contains.
_BETWEEN = "\x1f"
# The last code point that is let in.
_LAST = "\U0010fffd"
_ACCENTS = re.compile("[\u0300-\u036f]+")
_WORDS = re.compile(r"\w+")
_HANGUL = re.compile("[가-힣]")
# Where a word goes on in another script: `나이키air`, `2024신상`.
_SEAMS = re.compile("(?<=[가-힣])(?=[^가-힣])|(?<=[^가-힣])(?=[가-힣])")
# From how many syllables on a part of a Korean compound is a word: `바지` of `청바지`, not `지`.
MIN_SYLLABLES = 2
MAX_TERM = 100


def key(*texts: str) -> str:
    """Texts as they are compared where they identify something: by code points, in no case."""
    return _BETWEEN.join(
        unicodedata.normalize("NFC", tidied(text).casefold().replace(EMOJI_STYLE, "")) for text in texts
    )


def search_words(text: str) -> list[str]:
    """The words of a text as they are searched: in no case, without accents and other styles of letters."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    return _WORDS.findall(unicodedata.normalize("NFC", _ACCENTS.sub("", folded)))


def search_terms(text: str) -> set[str]:
    """What a search may begin with to find this text: its words, and words inside of Korean compounds.

    `데님셔츠` is found by what begins `데님셔츠`, `님셔츠` or `셔츠`; a word in two scripts by either.
    """
    return {term[:MAX_TERM] for word in search_words(text) for term in _inside(word)}


def _inside(word: str) -> Iterator[str]:
    yield word
    starts = {seam.start() for seam in _SEAMS.finditer(word)}
    for syllable in _HANGUL.finditer(word):
        at = syllable.start()
        if at in starts or len(_run(word, at)) >= MIN_SYLLABLES:
            starts.add(at)
    for start in starts:
        yield word[start:]


def _run(word: str, start: int) -> str:
    """The Hangul syllables from `start` on."""
    end = start
    while end < len(word) and _HANGUL.match(word[end]):
        end += 1
    return word[start:end]


def after(prefix: str) -> str:
    """The end of the range of texts that begin with `prefix`, where text is compared by code points."""
    return f"{prefix}{_LAST}"
