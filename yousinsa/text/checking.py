"""Text that reaches a service past the border, from a command or another module: cleaned all the same."""

from collections.abc import Callable

from django.utils.translation import gettext

from yousinsa.errors import Invalid
from yousinsa.text.cleaning import UnclearText, clean_line


def cleaned(
    text: str, field: str, clean: Callable[[str], str] = clean_line, *, required: bool = False
) -> str:
    """The text as it is stored. Raises `Invalid` naming `field`, also for nothing where it is required."""
    try:
        text = clean(text)
    except UnclearText as exc:
        raise Invalid(errors={field: str(exc)}) from exc
    if required and not text:
        raise Invalid(errors={field: gettext("Must not be empty.")})
    return text
