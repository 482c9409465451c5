"""The text in request bodies, cleaned in one place: every string, unless its type says otherwise.

`Annotated[str, EMAIL]` and its like say what a string is; without one it is a line of text.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from yousinsa.errors import Invalid
from yousinsa.text.cleaning import UnclearText, clean_email, clean_line, clean_sku, clean_text

_KIND = "text"
EMAIL = msgspec.Meta(extra={_KIND: "email"})
SKU = msgspec.Meta(extra={_KIND: "sku"})
LINES = msgspec.Meta(extra={_KIND: "lines"})
# Secrets and what providers gave: not for people, and never shown.
AS_SENT = msgspec.Meta(extra={_KIND: "as sent"})

_CLEAN: dict[str, Callable[[str], str]] = {
    "line": clean_line, "lines": clean_text, "email": clean_email, "sku": clean_sku,
}  # fmt: skip

Errors = dict[str, str]
Step = Callable[[Any, str, Errors], Any]
"""Cleans a value at a path, or notes there what is wrong with it."""


def clean_body(value: Any, kind: type) -> Any:
    """A decoded body with its text cleaned, before its types and lengths are checked.

    Raises `Invalid` naming every field with text that is not let in.
    """
    step = _steps(kind)
    if step is None:
        return value
    errors: Errors = {}
    cleaned = step(value, "", errors)
    if errors:
        raise Invalid(errors=errors)
    return cleaned


def has_text(kind: type) -> bool:
    """Whether bodies of this type have any text to clean."""
    return _steps(kind) is not None


@cache
def _steps(kind: type) -> Step | None:
    return _step(inspect.type_info(kind), "line")


def _step(info: inspect.Type, text: str) -> Step | None:
    """How to clean a value of this type; None where there is nothing to clean."""
    if isinstance(info, inspect.Metadata):
        return _step(info.type, (info.extra or {}).get(_KIND, text))
    if isinstance(info, inspect.StrType):
        return _string(_CLEAN[text]) if text in _CLEAN else None
    if isinstance(info, inspect.UnionType):
        return next((step for step in (_step(one, text) for one in info.types) if step), None)
    if isinstance(info, inspect.ListType):
        return _list(_step(info.item_type, text))
    if isinstance(info, inspect.StructType):
        steps = {field.encode_name: _step(field.type, "line") for field in info.fields}
        return _struct({name: step for name, step in steps.items() if step})
    return None


def _string(clean: Callable[[str], str]) -> Step:
    def step(value: Any, path: str, errors: Errors) -> Any:
        if not isinstance(value, str):
            return value  # the type is checked later
        try:
            return clean(value)
        except UnclearText as exc:
            errors[path] = str(exc)
            return value

    return step


def _list(item: Step | None) -> Step | None:
    if item is None:
        return None

    def step(value: Any, path: str, errors: Errors) -> Any:
        if not isinstance(value, list):
            return value
        return [item(one, f"{path}.{i}", errors) for i, one in enumerate(value)]

    return step


def _struct(steps: dict[str, Step]) -> Step | None:
    if not steps:
        return None

    def step(value: Any, path: str, errors: Errors) -> Any:
        if not isinstance(value, dict):
            return value
        below = f"{path}." if path else ""
        return {
            name: steps[name](one, f"{below}{name}", errors) if name in steps else one
            for name, one in value.items()
        }

    return step
