"""Operations: what an operator does to a record, by a button on its page or for many from the list.

An operation calls a service, which opens a durable transaction of its own. Django's add, change and delete
views run inside a transaction; the pages here and the actions of a list do not. Nothing is done but by
POST, and only with the operation's permission. Whatever a service refuses is shown in words.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import helpers
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.utils import quote, unquote
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from unfold.forms import AdminForm

from shop.desk.access.owners import is_store_owner, may_do
from shop.desk.base import DeskAdmin
from shop.desk.columns import admin_url
from shop.desk.widgets import style_field
from yousinsa.errors import Forbidden, Problem

# Each record of a list's action is a transaction of its own, and the operator waits for all of them.
MAX_AT_ONCE = 100
# Refusals that are reported one by one.
MAX_REPORTED = 20
ONCE_SECONDS = 3600


def complaints(problem: Problem) -> Iterator[tuple[str | None, str]]:
    """What a service refused, as (field or None, sentence)."""
    if problem.errors:
        yield from ((field, str(text)) for field, text in problem.errors.items())
    else:
        yield None, str(problem.detail or problem.title)


class OperationForm(forms.Form):
    """What an operation asks, and how it is done. Most ask nothing."""

    required_css_class = "required"

    def __init__(self, data: Any = None, *, record: Any, **options: Any) -> None:
        self.record = record
        # Said after it was done; a warning says that it went otherwise than the operator will expect.
        self.result = ""
        self.warning = ""
        super().__init__(data, **options)
        for field in self.fields.values():
            field.label = capfirst(field.label)
            style_field(field)

    def run(self, *, actor_id: int) -> None:
        """Do it, with `cleaned_data`. Raises `Problem`."""
        raise NotImplementedError

    def attempt(self, *, actor_id: int) -> bool:
        """Do it; a refusal becomes errors of the form. Returns whether it was done."""
        try:
            self.run(actor_id=actor_id)
        except Problem as problem:
            for field, text in complaints(problem):
                self.add_error(field if field in self.fields else None, text)
            return False
        return True

    def refusals(self) -> str:
        return " ".join(str(text) for texts in self.errors.values() for text in texts)


@dataclass(frozen=True)
class Operation:
    """`name` is the address of its page and the name of its action; texts are lazy translations.

    `possible`: whether it can be done to a record now. The button is shown then, and only then.
    `permission` (`app.codename`) is what it takes; without one, the change permission of the model.
    """

    name: str
    label: Any
    explanation: Any
    done: Any
    form: type[OperationForm]
    possible: Callable[[Any], bool]
    permission: str = ""
    # In a list: the action's name, what it says afterwards (plural forms with %d), whether it asks first,
    # and with which form where that differs. `each`: the form is filled in for every record by itself.
    action: Any = None
    done_many: Any = None
    asks: bool = False
    action_form: type[OperationForm] | None = None
    each: bool = False

    def many_form(self, record: Any, data: Any = None) -> OperationForm:
        prefix = str(record.pk) if self.each else None
        return (self.action_form or self.form)(data, record=record, prefix=prefix)


class OperatedAdmin(DeskAdmin):
    """A model with operations."""

    operations: Sequence[Operation] = ()
    change_form_template: Any = "admin/operated_change_form.html"
    # What `facts` reads of other records, fetched at once for all records of an action.
    facts_related: Sequence[str] = ()

    def name(self, record: Any) -> str:
        """What operators call a record."""
        return str(record)

    def facts(self, record: Any, operation: Operation) -> Sequence[tuple[Any, Any]]:
        """What an operator should see of a record before doing this to it: (label, value)."""
        return ()

    def may_operate(self, request: HttpRequest, operation: Operation, obj: Any = None) -> bool:
        """Whether the user may do this, to this record. What operators do is not a store owner's to do."""
        if operation.permission:
            return may_do(request.user, operation.permission)
        return not is_store_owner(request.user) and self.has_operate_permission(request, obj)

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path(
                f"<path:object_id>/{operation.name}/",
                self.admin_site.admin_view(partial(self.operation_view, operation=operation)),
                name=f"{name}_{operation.name}",
            )
            for operation in self.operations
        ] + super().get_urls()

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        record = context.get("original")
        if record is not None:
            context["operations"] = [
                {"label": o.label, "url": admin_url(record, o.name, quote(record.pk))}
                for o in self.operations
                if self.may_operate(request, o, record) and o.possible(record)
            ]
        return super().render_change_form(request, context, *args, **kwargs)

    # --- One record, on a page of its own -----------------------------------------------------------

    def operation_view(self, request: HttpRequest, object_id: str, operation: Operation) -> HttpResponse:
        if not self.may_operate(request, operation):
            raise PermissionDenied
        record = self.get_object(request, unquote(object_id))
        if record is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.may_operate(request, operation, record):
            raise PermissionDenied
        if request.method != "POST":
            if operation.possible(record):
                return self._page(request, operation, record, operation.form(record=record))
            text = gettext("%(record)s: this is not possible now.") % {"record": self.name(record)}
            self.message_user(request, text, messages.ERROR)
            return self._to(record)
        form = operation.form(request.POST, record=record)
        if not form.is_valid():
            return self._page(request, operation, record, form)
        # A second click on the button sends the same form again: what it says must be done once.
        once = f"desk:{request.user.pk}:{request.POST.get('once', '')[:40]}" if "once" in request.POST else ""
        if once and not cache.add(once, True, ONCE_SECONDS):
            text = gettext("This form was sent twice; the second time did nothing.")
            self.message_user(request, text, messages.WARNING)
            return self._to(record)
        if not form.attempt(actor_id=_actor_id(request)):
            if once:
                cache.delete(once)
            return self._page(request, operation, record, form)
        self._report_done(request, operation, record, form)
        return self._to(record)

    def _report_done(
        self, request: HttpRequest, operation: Operation, record: Model, form: OperationForm
    ) -> None:
        self.log_change(request, record, operation.label)
        level = messages.WARNING if form.warning else messages.SUCCESS
        said = form.warning or form.result or operation.done
        self.message_user(request, f"{self.name(record)}: {said}", level)

    def _to(self, record: Model) -> HttpResponse:
        return HttpResponseRedirect(admin_url(record, "change", quote(record.pk)))

    def _page(
        self, request: HttpRequest, operation: Operation, record: Model, form: OperationForm
    ) -> HttpResponse:
        context = {
            **self._page_context(request, operation),
            "original": record,
            "title": f"{capfirst(operation.label)}: {self.name(record)}",
            "name": self.name(record),
            "facts": self.facts(record, operation),
            "form": form,
            "adminform": self._styled(form),
            "media": self.media + form.media,
            "back": admin_url(record, "change", quote(record.pk)),
            "once": secrets.token_hex(16),
        }
        return TemplateResponse(request, "admin/operation.html", context)

    def _page_context(self, request: HttpRequest, operation: Operation) -> dict[str, Any]:
        request.current_app = self.admin_site.name
        return {**self.admin_site.each_context(request), "opts": self.opts, "operation": operation}

    def _styled(self, form: Any) -> AdminForm:
        """The form as the theme's own templates show it."""
        return AdminForm(form, [(None, {"fields": list(form.fields)})], {}, model_admin=self)

    # --- Many records, from the list ------------------------------------------------------------------

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = {**super().get_actions(request)}
        if IS_POPUP_VAR not in request.GET:
            for operation in self.operations:
                if operation.action and self.may_operate(request, operation):
                    run = partial(_run_action, operation=operation)
                    actions[operation.name] = (run, operation.name, operation.action)
        return actions

    def run_on_many(
        self, request: HttpRequest, queryset: QuerySet[Any], operation: Operation
    ) -> HttpResponse | None:
        """A list's action: each record is done by itself, and one that is refused stops no other."""
        if request.POST.get("select_across") != "1":
            # Not through the list's filters: one that has left them meanwhile must be reported, not lost.
            chosen = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
            queryset = self.get_queryset(request).filter(pk__in=chosen)
        records = list(queryset.order_by("pk").prefetch_related(*self.facts_related)[: MAX_AT_ONCE + 1])
        if len(records) > MAX_AT_ONCE:
            text = gettext("At most %d at once: select fewer.") % MAX_AT_ONCE
            self.message_user(request, text, messages.ERROR)
            return None
        if operation.asks and "apply" not in request.POST:
            return self._page_of_many(request, operation, [operation.many_form(r) for r in records])
        sent = [operation.many_form(record, request.POST) for record in records]
        invalid = [form for form in sent if not form.is_valid()]
        if invalid:
            return self._page_of_many(request, operation, sent)
        refused = [form for form in sent if not self._run_one(request, operation, form)]
        self._report_many(request, operation, sent, refused)
        if refused and operation.each:
            return self._page_of_many(request, operation, refused)
        for form in refused[:MAX_REPORTED]:
            self.message_user(request, f"{self.name(form.record)}: {form.refusals()}", messages.ERROR)
        if len(refused) > MAX_REPORTED:
            more = len(refused) - MAX_REPORTED
            text = ngettext("And %d more was refused.", "And %d more were refused.", more)
            self.message_user(request, text % more, messages.ERROR)
        if operation.asks:
            filters = request.POST.get("filters", "")
            return HttpResponseRedirect(f"{request.path}?{filters}" if filters else request.path)
        return None

    def _run_one(self, request: HttpRequest, operation: Operation, form: OperationForm) -> bool:
        if not self.may_operate(request, operation, form.record):
            form.add_error(None, str(Forbidden.title))
            return False
        return form.attempt(actor_id=_actor_id(request))

    def _report_many(
        self,
        request: HttpRequest,
        operation: Operation,
        sent: Sequence[OperationForm],
        refused: Sequence[OperationForm],
    ) -> None:
        done = [form for form in sent if form not in refused]
        for form in done:
            self.log_change(request, form.record, operation.label)
        as_expected = len([form for form in done if not form.warning])
        if as_expected:
            self.message_user(request, operation.done_many % as_expected, messages.SUCCESS)
        for form in done:
            if form.warning:
                self.message_user(request, f"{self.name(form.record)}: {form.warning}", messages.WARNING)

    def _page_of_many(
        self, request: HttpRequest, operation: Operation, sent: Sequence[OperationForm]
    ) -> HttpResponse:
        filters = request.POST.get("filters", request.GET.urlencode())
        context = {
            **self._page_context(request, operation),
            "title": operation.action,
            "rows": [(self.name(form.record), self.facts(form.record, operation), form) for form in sent],
            "adminform": self._styled(sent[0]) if sent and not operation.each else None,
            "media": self.media,
            "back": f"{request.path}?{filters}" if filters else request.path,
            "filters": filters,
            "checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/operation_on_many.html", context)


def _run_action(
    admin: OperatedAdmin, request: HttpRequest, queryset: QuerySet[Any], operation: Operation
) -> HttpResponse | None:
    return admin.run_on_many(request, queryset, operation)


def _actor_id(request: HttpRequest) -> int:
    return int(request.user.pk or 0)  # the admin lets nobody in who has not signed in


def line_of_text(label: Any, *, max_length: int, short: bool = False, **options: Any) -> forms.CharField:
    """A field for a line of text; a short one fits into a table."""
    widget = forms.TextInput(attrs={"size": 16} if short else {})
    return forms.CharField(label=label, max_length=max_length, widget=widget, **options)
