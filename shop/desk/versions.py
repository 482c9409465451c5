"""Change forms that know what they were made of: an old one never puts back what others changed.

A form carries a mark of each value that it was shown with. When it is sent, the record is locked and
compared: if something has changed meanwhile nothing is saved, the form says what, and shows the present
value wherever nothing was typed. What a constraint of the database refuses becomes a message at its field.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib.admin.utils import unquote
from django.db import DatabaseError, IntegrityError, connection
from django.db.models import Model
from django.forms.models import _get_foreign_key
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst
from django.utils.translation import gettext

from yousinsa.db.errors import is_duplicate, is_lock_conflict
from yousinsa.errors import Busy

FIELD = "seen_version"
# How often a save is tried that somebody else's came before.
ATTEMPTS = 3


def mark(value: Any) -> str:
    """A short mark of a value: equal for equal values."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def plain(value: Any) -> Any:
    """A field's value as it is compared: records by their keys, in order."""
    if isinstance(value, Model):
        return value.pk
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return sorted(plain(item) for item in value)
    return value


class SeenForm(forms.ModelForm):
    """A change form that compares. `desk` is its admin, `desk_request` the request that it is for."""

    desk: ClassVar[Any]
    desk_request: ClassVar[Any]

    def present(self) -> dict[str, Any]:
        """What the record is in the database: field -> value, and each table below it as one value."""
        if self.instance.pk is None:
            return {}
        model: Any = type(self.instance)
        record = model._base_manager.filter(pk=self.instance.pk).first()
        if record is None:
            return {}
        columns = {field.name: field for field in (*model._meta.fields, *model._meta.many_to_many)}
        found: dict[str, Any] = {
            name: plain(columns[name].value_from_object(record))
            for name in self.fields
            if name in columns and not self.fields[name].disabled
        }
        if not self.desk.has_change_permission(self.desk_request, record):
            return {}
        for inline in self.desk.get_inline_instances(self.desk_request, record):
            found[_key(inline)] = _rows(inline, record)
        return found | self.desk.also_seen(record)

    def version(self) -> str:
        return json.dumps({name: mark(value) for name, value in self.present().items()})

    def seen(self) -> dict[str, str] | None:
        """The marks that the form was shown with; None where it carries none that can be read."""
        return _seen(self.data)

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        for name, text in getattr(self.desk_request, "_refused_by_database", ()):
            if name is None or name not in self.errors:
                self.add_error(name if name in self.fields else None, text)
        if self.instance.pk is not None and not self.instance._state.adding:
            self._compare()

    def _compare(self) -> None:
        present, seen = self.present(), self.seen()
        if seen is None:
            self.add_error(None, gettext("This form does not say what it was made of. Look at it once more."))
            return
        changed = [name for name, value in present.items() if seen.get(name) != mark(value)]
        if not changed:
            return
        typed = {name: mark(plain(value)) for name, value in self.cleaned_data.items()}
        data: Any = self.data
        self.data = data = data.copy()
        data[FIELD] = json.dumps({name: mark(value) for name, value in present.items()})
        said = []
        for name in changed:
            if name in self.fields and typed.get(name, seen.get(name)) == seen.get(name):
                self._show(name, present[name])
            said.append(self._name(name, present[name]))
        self.add_error(
            None,
            gettext(
                "Nothing was saved: somebody else has changed this meanwhile: %s. Look at it and save again."
            )
            % "; ".join(said),
        )

    def _name(self, name: str, value: Any) -> str:
        for inline in self.desk.get_inline_instances(self.desk_request, self.instance):
            if _key(inline) == name:
                return str(capfirst(inline.model._meta.verbose_name_plural))
        field = self.fields.get(name)
        if field is None:
            return str(capfirst(self.desk.also_seen_label))
        label = str(capfirst(field.label or name))
        if isinstance(value, bool):
            return f"{label}: {gettext('yes') if value else gettext('no')}"
        if isinstance(value, list) or hasattr(field, "queryset"):
            return label
        choices = dict(getattr(field, "choices", ()))
        return f"{label}: {choices.get(value, value)}"

    def _show(self, name: str, value: Any) -> None:
        """Let the bound form show the present value of a field that nobody typed over."""
        widget: Any = self.fields[name].widget
        data: Any = self.data
        key = self.add_prefix(name)
        value = self.fields[name].prepare_value(value)
        if hasattr(widget, "widgets_names"):  # of several parts
            for part, sub, one in zip(
                widget.widgets_names, widget.widgets, widget.decompress(value), strict=False
            ):
                data[key + part] = sub.format_value(one) or ""
        elif isinstance(value, list):
            data.setlist(key, [str(item) for item in value])
        elif isinstance(value, bool):
            data.pop(key, None)
            if value:
                data[key] = "on"
        else:
            data[key] = "" if value is None else str(value)


def _seen(data: Any) -> dict[str, str] | None:
    try:
        found = json.loads(data.get(FIELD, ""))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _key(inline: Any) -> str:
    return f"below:{inline.model._meta.model_name}"


def _rows(inline: Any, record: Model) -> list[Any]:
    """What can be edited of an inline's rows below a record."""
    parent = _get_foreign_key(type(record), inline.model, fk_name=inline.fk_name).name
    kept = [name for name in inline.fields or () if name not in inline.readonly_fields]
    return list(inline.model._base_manager.filter(**{parent: record}).order_by("pk").values_list("pk", *kept))


class Versioned:
    """Gives an admin change forms that compare, and saves that a constraint may refuse."""

    change_form_template: Any = "admin/seen_change_form.html"
    also_seen_label: Any = ""

    def also_seen(self, record: Any) -> dict[str, Any]:
        """What else of a record its form would put back: one value, called `also_seen_label`."""
        return {}

    def get_form(
        self: Any, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)  # type: ignore[misc]
        return type(form)(form.__name__, (SeenForm, form), {"desk": self, "desk_request": request})

    def lock_record(self: Any, pk: Any) -> None:
        """Lock what is about to be compared and saved, in a transaction."""
        list(self.model._base_manager.select_for_update().filter(pk=pk).values_list("pk"))

    def _changeform_view(
        self: Any, request: HttpRequest, object_id: str | None, form_url: str, extra_context: Any
    ) -> HttpResponse:
        if request.method == "POST" and object_id is not None:
            record = self.get_object(request, unquote(object_id))
            if record is not None and self.has_change_permission(request, record):
                self.lock_record(record.pk)
        return super()._changeform_view(request, object_id, form_url, extra_context)  # type: ignore[misc]

    def changeform_view(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """A save that came second is tried again, against what is there by now, and then refused in words."""
        for attempt in range(ATTEMPTS + 1):
            try:
                return super().changeform_view(request, *args, **kwargs)  # type: ignore[misc]
            except IntegrityError as exc:
                if attempt == ATTEMPTS:
                    raise
                if attempt == ATTEMPTS - 1 or not is_duplicate(exc):
                    request._refused_by_database = complaints(self, exc)  # type: ignore[attr-defined]
            except DatabaseError as exc:
                if attempt == ATTEMPTS or not is_lock_conflict(exc):
                    raise
        raise Busy

    def get_formset_kwargs(
        self: Any, request: HttpRequest, obj: Any, inline: Any, prefix: str
    ) -> dict[str, Any]:
        """A table below a record is shown as it is by now if it has changed since the form was made."""
        options: dict[str, Any] = super().get_formset_kwargs(request, obj, inline, prefix)  # type: ignore[misc]
        seen = _seen(request.POST) if request.method == "POST" and obj.pk else None
        if seen is not None and seen.get(_key(inline)) != mark(_rows(inline, obj)):
            for name in ("data", "files", "save_as_new"):
                options.pop(name, None)
        return options

    def render_change_form(
        self: Any, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        form = context["adminform"].form
        if context.get("original") is not None and isinstance(form, SeenForm):
            context["seen_name"] = FIELD
            context["seen_version"] = form.data.get(FIELD) or form.version()
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]


def complaints(desk: Any, exc: IntegrityError) -> list[tuple[str | None, str]]:
    """What the database refused, as (field or None, sentence)."""
    said, opts = str(exc), desk.opts
    if is_duplicate(exc):
        names = [field.name for field in opts.fields if f"{opts.db_table}.{field.column}" in said]
        if not names:
            names = _columns_of_key(opts, said)
        names = [getattr(opts.get_field(name), "of", name) for name in names]
        text = gettext("Somebody else has saved the same meanwhile: choose another one.")
        return [(names[-1] if names else None, text)]
    for constraint in opts.constraints:
        if constraint.name in said:
            condition = str(getattr(constraint, "condition", ""))
            name = next((field.name for field in opts.fields if f"'{field.name}" in condition), None)
            return [(name, gettext("The database refuses this value: it is out of range."))]
    return [(None, gettext("The database refuses this: something that belongs to it has changed meanwhile."))]


def _columns_of_key(opts: Any, said: str) -> list[str]:
    """The fields of the key that MariaDB names."""
    key = said.rpartition("for key ")[2].strip("'\")(").rpartition(".")[2]
    with connection.cursor() as cursor:
        keys: Any = connection.introspection.get_constraints(cursor, opts.db_table)
    columns = keys.get(key, {}).get("columns", [])
    return [field.name for field in opts.fields if field.column in columns]
