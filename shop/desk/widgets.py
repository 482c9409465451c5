"""Fields in the style of the theme."""

from typing import Any

from django import forms
from unfold import widgets

_CLASSES: tuple[tuple[type[forms.Widget], list[str]], ...] = (
    (forms.CheckboxInput, widgets.CHECKBOX_CLASSES),
    (forms.Textarea, widgets.TEXTAREA_CLASSES),
    (forms.Select, widgets.SELECT_CLASSES),
    (forms.FileInput, widgets.FILE_CLASSES),
    (forms.widgets.Input, widgets.INPUT_CLASSES),
)


def style_field(field: Any) -> None:
    """Give a form's field the theme's classes, whatever plain Django widget it has; the theme's own stay."""
    widget = field.widget
    if widget.is_hidden or "border-base-200" in widget.attrs.get("class", ""):
        return
    for kind, classes in _CLASSES:
        if isinstance(widget, kind):
            widget.attrs["class"] = " ".join([widget.attrs.get("class", ""), *classes]).strip()
            return
