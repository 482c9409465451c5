"""What every page of the desk shares: bounded lists, read-only records, rows below a record.

A list must answer at a million rows. It therefore counts up to a limit only, sorts by indexed columns only,
and searches by one indexed column, which it knows by the words that were typed.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth import get_permission_codename
from django.core.exceptions import EmptyResultSet
from django.core.paginator import Paginator
from django.db import models
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.translation import gettext, override
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin, TabularInline
from unfold.views import ChangeList

from shop.desk.access.owners import SHARED, own_stores, sees_own_only, without
from shop.desk.bounds import bounded_count
from shop.desk.export import Exported
from shop.desk.versions import Versioned
from shop.models import User
from yousinsa.language import recorded
from yousinsa.text.cleaning import tidied
from yousinsa.text.fields import LineFormField, TextFormField

INLINE_ROWS = 50


class BoundedPaginator(Paginator):
    """Counts, and leads to, the first `COUNT_LIMIT` rows: who looks for older ones filters or searches."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        return bounded_count(rows)


class DeclaredLookups:
    """A list is filtered by what its admin declares (`list_filter`, `links_by`); the rest of an address is
    ignored: what somebody is not shown cannot be asked for either, letter by letter.
    """

    model_admin: Any
    declared: frozenset[str] = frozenset()

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        desk = kwargs.get("model_admin") or next(arg for arg in args if isinstance(arg, DeskAdmin))
        self.declared = desk.declared_lookups(request)
        super().__init__(request, *args, **kwargs)  # type: ignore[call-arg]

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        asked: dict[str, Any] = super().get_filters_params(params)  # type: ignore[misc]
        declared = self.declared
        return {
            name: values
            for name, values in asked.items()
            if name in declared
            and not any(map(is_beyond, values))
            and (name not in self.model_admin.links_by or all(map(is_key, values)))
        }

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        try:
            found: QuerySet[Any] = super().get_queryset(request, *args, **kwargs)  # type: ignore[misc]
            # Values are read when the statement is made: a date before the first one is an error there.
            found.query.get_compiler(found.db).as_sql()
        except EmptyResultSet:
            return self.root_queryset.none()  # type: ignore[attr-defined]
        except (ValueError, OverflowError) as exc:
            raise IncorrectLookupParameters(exc) from exc
        return found


def is_beyond(value: Any) -> bool:
    """Whether this is a number that no column of the database can hold."""
    try:
        return abs(int(value)) >= 2**63
    except ValueError:
        return len(str(value)) > 4000  # Python reads no longer number


def is_key(value: Any) -> bool:
    """Whether this is how a record's key is written in an address."""
    text = str(value)
    return text.isascii() and text.isdecimal() and len(text) < 19


# How Django's filters of a field are written in an address.
_SUFFIXES = ("__exact", "__isnull", "__id__exact", "__gte", "__lt", "__isempty")


class BoundedChangeList(DeclaredLookups, ChangeList):
    """Sorts by the columns of `sortable_by` only, whatever the address asks for, and never joins.

    `list_select_related` is fetched by key, one query a relation: with a join MariaDB may start at the
    smaller table and sort every row of the larger one (measured: 18 s for a page of a million orders).
    """

    def get_ordering_field(self, field_name: Callable[..., Any] | str) -> Any:
        return super().get_ordering_field(field_name) if field_name in (self.sortable_by or ()) else None

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        """Without a search, a store owner's list reaches as far back as it counts."""
        if sees_own_only(request.user) and not self.query:
            newest = self.model_admin.newest_of_owner(request)
            if newest is not None:
                self.root_queryset = newest
        return super().get_queryset(request, *args, **kwargs)

    def apply_select_related(self, qs: QuerySet[Any]) -> QuerySet[Any]:
        related = self.list_select_related
        return qs if isinstance(related, bool) else qs.prefetch_related(*related)


class DeskAdmin(Versioned, Exported, ModelAdmin):
    """A model on the desk. Subclasses say in `find` what a search means, in `owned_by` whose a record is."""

    list_per_page = 50
    list_max_show_all = 200
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator: Any = BoundedPaginator
    sortable_by: Any = ()
    # The way from a record to its store. Without one the page is closed to store owners.
    owned_by: str | None = None
    hidden_from_owners: ClassVar[frozenset[str]] = frozenset()
    # By which records the links of other pages narrow this list down (`store__id__exact`).
    links_by: Sequence[str] = ()

    def declared_lookups(self, request: HttpRequest) -> frozenset[str]:
        """By what the address may filter this user's list: filters and links, of what is not hidden."""
        names = set(self.links_by)
        for entry in self.get_list_filter(request):
            if isinstance(entry, type):
                names.add(str(getattr(entry, "parameter_name", "")))
            else:
                field = str(entry[0] if isinstance(entry, tuple) else entry)
                names.update(f"{field}{suffix}" for suffix in _SUFFIXES)
        if sees_own_only(request.user):
            names = {name for name in names if name.partition("__")[0] not in self.hidden_from_owners}
        return frozenset(names)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = tidied(search_term)
        return (self.find(queryset, term) if term else queryset), False

    def find(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """What a search for `term` (not empty, no spaces around it) finds."""
        raise NotImplementedError

    # --- What was done is logged in English, and read in the reader's language ------------------------

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        with override(None):
            said = message if isinstance(message, list) else str(message)
            return super().log_change(request, obj, said)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().history_view(request, object_id, extra_context)
        if isinstance(response, TemplateResponse):
            for entry in (response.context_data or {}).get("action_list", ()):
                # Labels of operations, which nobody typed, and our own words with values in them.
                entry.change_message = entry.change_message and recorded(gettext(entry.change_message))
                if sees_own_only(request.user) and entry.user_id != request.user.pk:
                    entry.user = User(email=gettext("the shop"))  # who that was is the shop's own affair
        return response

    # --- Store owners see what is theirs -------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        records = super().get_queryset(request)
        return self.of_owner(request, records) if sees_own_only(request.user) else records

    def of_owner(self, request: HttpRequest, records: QuerySet[Any]) -> QuerySet[Any]:
        """Those of these records that belong to the user's own stores."""
        if self.owned_by is None:
            return records.none()
        if self.owned_by == SHARED:
            return records
        return records.filter(**{f"{self.owned_by}__in": own_stores(request)})

    def newest_of_owner(self, request: HttpRequest) -> QuerySet[Any] | None:
        """The newest records of the user's own stores, for the list of a model that has millions.

        None where `of_owner` will do. There MariaDB would sort all that such a store ever sold, for a page
        of fifty (measured: 26 s at a million orders); here it reads keys, step by step, up to the limit.
        """
        return None

    def _is_open_to(self, request: HttpRequest) -> bool:
        return self.owned_by is not None or not sees_own_only(request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self._is_open_to(request) and super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._is_open_to(request) and super().has_view_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._is_open_to(request) and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._is_open_to(request) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._is_open_to(request) and super().has_delete_permission(request, obj)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """What is typed into a plain column is cleaned too; columns of cleaned text see to it themselves."""
        form_class = {models.CharField: LineFormField, models.TextField: TextFormField}.get(type(db_field))
        if form_class is not None and not db_field.choices:
            kwargs.setdefault("form_class", form_class)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """What a store owner may choose is what the other model's page shows them."""
        if sees_own_only(request.user):
            other = self.admin_site._registry.get(db_field.remote_field.model)
            everything = db_field.remote_field.model._default_manager
            kwargs["queryset"] = other.get_queryset(request) if other else everything.none()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)
        if sees_own_only(request.user):
            return [column for column in columns if column not in self.hidden_from_owners]
        return columns

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if sees_own_only(request.user):
            return without(fieldsets, self.hidden_from_owners)
        return fieldsets

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may do more than look: Django's change permission of the model.

        Asked instead of `has_change_permission` where no field can be edited but operations exist.
        """
        codename = get_permission_codename("change", self.opts)
        return request.user.has_perm(f"{self.opts.app_label}.{codename}")


class ReadOnlyAdmin(DeskAdmin):
    """Records that nobody adds, edits or deletes by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class FirstRows(BaseInlineFormSet):
    """The first rows in the inline's order: a record may have millions below it."""

    shown = INLINE_ROWS

    def get_queryset(self) -> Any:
        if not hasattr(self, "_queryset"):
            self._queryset: Any = super().get_queryset()[: self.shown]
        return self._queryset


class ReadOnlyInline(TabularInline):
    """Rows that belong to a record and are shown below it; whoever may see the record may see them."""

    template = "admin/edit_inline/read_only.html"
    formset = FirstRows
    extra = 0
    max_num = 0
    can_delete = False
    select_related: Sequence[str] = ()
    # As in `DeskAdmin`.
    owned_by: str | None = None
    hidden_from_owners: ClassVar[frozenset[str]] = frozenset()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        if sees_own_only(request.user):
            rows = (
                rows.filter(**{f"{self.owned_by}__in": own_stores(request)}) if self.owned_by else rows.none()
            )
        return rows.select_related(*self.select_related) if self.select_related else rows

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.owned_by is not None or not sees_own_only(request.user)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_fields(request, obj)
        if sees_own_only(request.user):
            return [name for name in fields if name not in self.hidden_from_owners]
        return fields


class DateFilter(admin.DateFieldListFilter):
    """Today, this week, this month, this year: ranges, which MariaDB answers without its time zone tables."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = _("date")
