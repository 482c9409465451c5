"""What is wrong with a body, in sentences that can be translated: msgspec speaks English only."""

import re
from typing import Any

from django.utils.translation import gettext_lazy as _

# What msgspec says, and what we say; the named groups are the sentence's placeholders.
_SENTENCES: tuple[tuple[re.Pattern[str], Any], ...] = tuple(
    (re.compile(pattern), sentence)
    for pattern, sentence in (
        (r"Object missing required field `[^`]+`", _("This field is required.")),
        (r"Object contains unknown field `[^`]+`", _("There is no such field.")),
        (r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`", _("Expected `%(wanted)s`, got `%(got)s`.")),
        (r"Expected `[^`]+` of length <= (?P<bound>\d+)", _("Too long: at most %(bound)s.")),
        (r"Expected `[^`]+` of length >= (?P<bound>\d+)", _("Too short: at least %(bound)s.")),
        (r"Expected `[^`]+` (?P<bound>[<>]=? \S+)", _("Must be %(bound)s.")),
        (r"Expected `[^`]+` matching regex .*", _("This text has a form that is not allowed here.")),
        (r"Invalid enum value (?P<value>.+)", _("%(value)s is not one of the values that are allowed here.")),
        (r"Number out of range", _("The number is out of range.")),
        (r"JSON is malformed: (?P<why>.*) \(byte (?P<at>\d+)\)", _("Not JSON at byte %(at)s: %(why)s.")),
        (r"Input data was truncated", _("The body ended too early.")),
        (r"'utf-8' codec can't decode .*", _("The body is not in UTF-8.")),
    )
)


def sentence(text: str) -> Any:
    """A decoder's message (without its path) as our own sentence; one that we do not know stays as it is."""
    for pattern, ours in _SENTENCES:
        if found := pattern.fullmatch(text):
            groups = found.groupdict()
            return ours % groups if groups else ours
    return text
