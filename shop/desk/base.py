"""What every page of the desk shares: bounded lists, read-only records, rows below a record.

A list must answer at a million rows. It therefore counts up to a limit only, sorts by indexed columns only,
and searches by one indexed column, which it knows by the words that were typed.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth import get_permission_codename
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override
from unfold.admin import ModelAdmin, TabularInline
from unfold.views import ChangeList

from shop.desk.access.owners import SHARED, is_store_owner, own_stores, without
from shop.desk.bounds import bounded_count
from shop.desk.export import Exported
from yousinsa.language import recorded

INLINE_ROWS = 50


class BoundedPaginator(Paginator):
    """Counts, and leads to, the first `COUNT_LIMIT` rows: who looks for older ones filters or searches."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        return bounded_count(rows)


class BoundedChangeList(ChangeList):
    """Sorts by the columns of `sortable_by` only, whatever the address asks for, and never joins.

    `list_select_related` is fetched by key, one query a relation: with a join MariaDB may start at the
    smaller table and sort every row of the larger one (measured: 18 s for a page of a million orders).
    """

    def get_ordering_field(self, field_name: Callable[..., Any] | str) -> Any:
        return super().get_ordering_field(field_name) if field_name in (self.sortable_by or ()) else None

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        """Without a search, a store owner's list reaches as far back as it counts."""
        if is_store_owner(request.user) and not self.query:
            newest = self.model_admin.newest_of_owner(request)
            if newest is not None:
                self.root_queryset = newest
        return super().get_queryset(request, *args, **kwargs)

    def apply_select_related(self, qs: QuerySet[Any]) -> QuerySet[Any]:
        related = self.list_select_related
        return qs if isinstance(related, bool) else qs.prefetch_related(*related)


class DeskAdmin(Exported, ModelAdmin):
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

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.replace("\x00", "").strip()
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
                entry.change_message = recorded(entry.change_message)
        return response

    # --- Store owners see what is theirs -------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        records = super().get_queryset(request)
        return self.of_owner(request, records) if is_store_owner(request.user) else records

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
        return self.owned_by is not None or not is_store_owner(request.user)

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

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """What a store owner may choose is what the other model's page shows them."""
        if is_store_owner(request.user):
            other = self.admin_site._registry.get(db_field.remote_field.model)
            everything = db_field.remote_field.model._default_manager
            kwargs["queryset"] = other.get_queryset(request) if other else everything.none()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)
        if is_store_owner(request.user):
            return [column for column in columns if column not in self.hidden_from_owners]
        return columns

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if is_store_owner(request.user):
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
        if is_store_owner(request.user):
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
        return self.owned_by is not None or not is_store_owner(request.user)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_fields(request, obj)
        if is_store_owner(request.user):
            return [name for name in fields if name not in self.hidden_from_owners]
        return fields


class DateFilter(admin.DateFieldListFilter):
    """Today, this week, this month, this year: ranges, which MariaDB answers without its time zone tables."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = _("date")
