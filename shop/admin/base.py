"""What every page of the desk shares: bounded lists, read-only records, rows below a record.

A list must answer at a million rows. It therefore counts up to a limit only, sorts by indexed columns only,
and searches by one indexed column, which it tells from the words that were typed.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_permission_codename
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from shop.admin.export import Exported

COUNTED = 10_000
SHOWN_BELOW = 50
# How many records a search by another record's name looks at.
FOUND = 500


class AtLeast(int):
    """A count that was given up: shown as `10000+`."""

    def __str__(self) -> str:
        return f"{int(self)}+"


class BoundedPaginator(Paginator):
    """Counts, and leads to, the first `COUNTED` rows: who looks for older ones filters or searches."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        # In no order: sorting what a filter's index finds would read all of it.
        found = rows.order_by().values("pk")[: COUNTED + 1].count()
        return AtLeast(COUNTED) if found > COUNTED else found


class BoundedChangeList(ChangeList):
    """Sorts by the columns of `sortable_by` only, whatever the address asks for, and never joins.

    `list_select_related` is fetched by key, one query a relation: with a join MariaDB may start at the
    smaller table and sort every row of the larger one (measured: 18 s for a page of a million orders).
    """

    def get_ordering_field(self, field_name: Callable[..., Any] | str) -> Any:
        return super().get_ordering_field(field_name) if field_name in (self.sortable_by or ()) else None

    def apply_select_related(self, qs: QuerySet[Any]) -> QuerySet[Any]:
        related = self.list_select_related
        return qs if isinstance(related, bool) else qs.prefetch_related(*related)


class DeskAdmin(Exported, admin.ModelAdmin):
    """A model on the desk. Subclasses say in `find` what a search means."""

    list_per_page = 50
    list_max_show_all = 200
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    sortable_by: ClassVar[tuple[str, ...]] = ()

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

    shown = SHOWN_BELOW

    def get_queryset(self) -> Any:
        if not hasattr(self, "_queryset"):
            self._queryset: Any = super().get_queryset()[: self.shown]
        return self._queryset


class ReadOnlyInline(admin.TabularInline):
    """Rows that belong to a record and are shown below it; whoever may see the record may see them."""

    template = "admin/edit_inline/read_only.html"
    formset = FirstRows
    extra = 0
    max_num = 0
    can_delete = False
    select_related: Sequence[str] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        return rows.select_related(*self.select_related) if self.select_related else rows

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


def admin_url(model: Model | type[Model], page: str, *args: Any) -> str:
    """The address of an admin page of this model: `changelist`, `change`, an operation's name."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def link(record: Model, text: Any = None) -> SafeString:
    """A link to a record's page."""
    return format_html('<a href="{}">{}</a>', admin_url(record, "change", quote(record.pk)), text or record)


def moment(field: str, label: Any) -> Callable[[Any, Any], SafeString | None]:
    """A column that shows a time to the second and fits into a table: `at = moment("created_at", …)`."""

    @admin.display(description=label)
    def shown(self: Any, record: Any) -> SafeString | None:
        at = getattr(record, field)
        if at is None:
            return None
        text = timezone.localtime(at).strftime("%Y-%m-%d %H:%M:%S")
        return format_html('<span class="nowrap">{}</span>', text)

    return shown


class DateFilter(admin.DateFieldListFilter):
    """Today, this week, this month, this year: ranges, which MariaDB answers without its time zone tables."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = _("date")


def won(amount: int) -> str:
    """Money with thousands marked: `1,234,000`."""
    return f"{amount:,}"
