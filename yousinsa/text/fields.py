"""Columns and form fields whose text is cleaned: what a form or a service gives is what is stored.

A column's form, `full_clean` and the desk refuse what yousinsa/text/cleaning.py refuses. Whatever else
reaches a column (a save, a look-up) is written as it would be stored, without complaint: a search for an
address in capitals finds it, and no way into the database leads around the border.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models

from yousinsa.db.fields import ExactCharField, ExactEmailField
from yousinsa.text import cleaning
from yousinsa.text.keys import key


class _CleanForm:
    """A form field that gives cleaned text."""

    clean_with: Callable[[str], str] = staticmethod(cleaning.clean_line)

    def to_python(self, value: Any) -> Any:
        value = super().to_python(value)  # type: ignore[misc]
        return checked(value, self.clean_with) if isinstance(value, str) else value


class LineFormField(_CleanForm, forms.CharField):
    """A line of text."""


class SkuFormField(_CleanForm, forms.CharField):
    clean_with = staticmethod(cleaning.clean_sku)


class EmailFormField(_CleanForm, forms.EmailField):
    clean_with = staticmethod(cleaning.clean_email)


class SlugFormField(_CleanForm, forms.SlugField):
    clean_with = staticmethod(cleaning.clean_slug)


class TextFormField(_CleanForm, forms.CharField):
    """Text of several lines."""

    clean_with = staticmethod(cleaning.clean_text)


def checked(value: str, clean: Callable[[str], str]) -> str:
    """Cleaned text. Raises ValidationError."""
    try:
        return clean(value)
    except cleaning.UnclearText as exc:
        raise ValidationError(str(exc), code="unclear") from exc


class _Clean:
    """A column of cleaned text. To migrations it is what it is without: cleaning changes no table."""

    form_class: type[forms.Field] = LineFormField
    clean_with: Callable[[str], str] = staticmethod(cleaning.clean_line)
    tidy_with: Callable[[str], str] = staticmethod(cleaning.tidied)
    plain_path = "django.db.models.CharField"

    def to_python(self, value: Any) -> Any:
        value = super().to_python(value)  # type: ignore[misc]
        return checked(value, self.clean_with) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> Any:
        value = models.Field.get_prep_value(self, value)  # type: ignore[arg-type]
        return value if value is None else self.tidy_with(str(value))

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**{"form_class": self.form_class, **kwargs})  # type: ignore[misc]

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()  # type: ignore[misc]
        return name, self.plain_path, args, kwargs


class LineField(_Clean, models.CharField):
    """A line of text."""


class SkuField(_Clean, ExactCharField):
    """A line of text that identifies something."""

    form_class = SkuFormField
    clean_with = staticmethod(cleaning.clean_sku)
    tidy_with = staticmethod(cleaning.tidied_sku)
    plain_path = "yousinsa.db.fields.ExactCharField"


class EmailField(_Clean, ExactEmailField):
    """An e-mail address, the same however it is typed."""

    form_class = EmailFormField
    clean_with = staticmethod(cleaning.clean_email)
    tidy_with = staticmethod(cleaning.tidied_email)
    plain_path = "yousinsa.db.fields.ExactEmailField"


class SlugField(_Clean, models.SlugField):
    """A part of an address, in lower case."""

    form_class = SlugFormField
    clean_with = staticmethod(cleaning.clean_slug)
    tidy_with = staticmethod(cleaning.tidied_slug)
    plain_path = "django.db.models.SlugField"


class KeyField(ExactCharField):
    """What tells the texts of other columns (`of`) apart, in no case and by code points; kept by every save.

    The model is a `Keyed` one. `bulk_update`, `update` and `insert_rows` write what they are given: give them
    `yousinsa.text.keys.key`.
    """

    def __init__(self, *args: Any, of: Sequence[str] = (), **kwargs: Any) -> None:
        self.of = tuple(of)
        kwargs.setdefault("editable", False)
        super().__init__(*args, **kwargs)

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        value = key(*(str(getattr(model_instance, name)) for name in self.of))
        setattr(model_instance, self.attname, value)
        return value

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "yousinsa.db.fields.ExactCharField", args, kwargs


class Keyed(models.Model):
    """A model with key columns: saving a text saves what tells it apart as well."""

    class Meta:
        abstract = True

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        if update_fields is not None:
            named = set(update_fields)
            keys = (field for field in self._meta.concrete_fields if isinstance(field, KeyField))
            update_fields = named | {field.name for field in keys if named.intersection(field.of)}
        super().save(*args, update_fields=update_fields, **kwargs)

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """A form that has the texts is told at the text when their key is taken, which no form has."""
        left_out = set(exclude or ())
        for field in self._meta.concrete_fields:
            if isinstance(field, KeyField) and not left_out.intersection(field.of):
                field.pre_save(self, add=False)
                left_out.discard(field.name)
        try:
            super().validate_constraints(exclude=left_out)
        except ValidationError as exc:
            texts = self._texts_of_constraints()
            errors: dict[str, list[Any]] = {}
            for name, found in exc.update_error_dict({}).items():
                for error in found:
                    errors.setdefault(texts.get(str(error.message), name), []).append(error)
            raise ValidationError(errors) from exc

    def _texts_of_constraints(self) -> dict[str, str]:
        """By what a constraint on a key says: the last of the texts that the key is of."""
        unique = [c for c in self._meta.constraints if isinstance(c, models.UniqueConstraint) and c.fields]
        keys = [(c, self._meta.get_field(c.fields[-1])) for c in unique]
        return {str(c.violation_error_message): key.of[-1] for c, key in keys if isinstance(key, KeyField)}
