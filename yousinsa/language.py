"""The language of an answer: on the short chain, which has no LocaleMiddleware (http/handlers.py), and in the
threads of batches, which know nothing of languages.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils.functional import lazy
from django.utils.translation import get_supported_language_variant, gettext
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


def recorded(text: str) -> str:
    """What was recorded, for a reader: our own words are recorded in English, and marked with gettext_noop
    there; what somebody typed stays as it is.
    """
    return gettext(text) if text else ""


def _fill(sentence: Any, values: Mapping[str, Any]) -> str:
    return str(sentence) % values


# A lazy sentence with its values, translated where it is read: `filled_later(_("At most %(n)s."), {"n": 3})`.
filled_later: Any = lazy(_fill, str)
