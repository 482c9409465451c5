"""The language of an answer: on the short chain, which has no LocaleMiddleware (http/handlers.py), and in the
threads of batches, which know nothing of languages.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils.functional import lazy
from django.utils.translation import get_supported_language_variant, gettext, override
from django.utils.translation.trans_real import parse_accept_lang_header


@lru_cache(maxsize=1000)
def preferred(accept_language: str) -> str:
    """The language among LANGUAGES that an Accept-Language header asks for first, else LANGUAGE_CODE."""
    for code, quality in parse_accept_lang_header(accept_language):
        if code == "*" or not quality:
            break
        try:
            return get_supported_language_variant(code)
        except LookupError:
            continue
    return str(settings.LANGUAGE_CODE)


_CHOSEN = re.compile(rf"(?:^|;) *{settings.LANGUAGE_COOKIE_NAME}=([^;]*)")
_KNOWN = frozenset(code for code, _name in settings.LANGUAGES)


def asked_for(environ: Mapping[str, Any]) -> str:
    """The language of the caller of a WSGI environment: chosen on a page (a cookie), else its browser's."""
    cookies = environ.get("HTTP_COOKIE")
    if cookies and (chosen := _CHOSEN.search(cookies)) and chosen[1] in _KNOWN:
        return chosen[1]
    accepted = environ.get("HTTP_ACCEPT_LANGUAGE")
    return preferred(accepted) if accepted else str(settings.LANGUAGE_CODE)


def english(text: Any) -> str:
    """A lazy translation as the source has it: our own words are recorded in English."""
    with override(None):
        return str(text)


_VALUE = re.compile(r"%\((\w+)\)([ds])")
_words: set[str] = set()
_sentences: list[tuple[re.Pattern[str], str]] = []


def recordable(sentence: str) -> str:
    """An English sentence that is recorded, perhaps with values (`%(counted)d`): `recorded` knows it then.

    Say so where a module begins, and mark it with gettext_noop for the catalogue.
    """
    if not _VALUE.search(sentence):
        _words.add(sentence)
        return sentence
    words = _VALUE.split(sentence.replace("%%", "%"))
    pattern = re.escape(words[0])
    for name, kind, following in zip(words[1::3], words[2::3], words[3::3], strict=True):
        pattern += rf"(?P<{name}>{'[+-]?[0-9]+' if kind == 'd' else '.+'})" + re.escape(following)
    _sentences.append((re.compile(pattern, re.DOTALL), sentence))
    return sentence


def recorded(text: str) -> str:
    """What was recorded, for a reader: our own words (`recordable`) are recorded in English; what somebody
    typed stays as it is, also where it is a word of a page (`returned`).
    """
    if not text:
        return text
    if text in _words:
        return gettext(text)
    for pattern, sentence in _sentences:
        if found := pattern.fullmatch(text):
            kinds = dict(_VALUE.findall(sentence))
            values = found.groupdict()
            return gettext(sentence) % {
                name: int(value) if kinds[name] == "d" else recorded(value) for name, value in values.items()
            }
    return text


def _fill(sentence: Any, values: Mapping[str, Any]) -> str:
    return str(sentence) % values


# A lazy sentence with its values, translated where it is read: `filled_later(_("At most %(n)s."), {"n": 3})`.
filled_later: Any = lazy(_fill, str)
# `recorded`, translated where it is read: for what one thread decides and another one tells.
recorded_later: Any = lazy(recorded, str)
