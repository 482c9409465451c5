"""Any list as a file, as it is filtered: CSV or XLSX, in bounded memory however many rows it has.

Rows are fetched in chunks by primary key: the drivers of MariaDB and MySQL hold a whole result in memory,
whatever `iterator()` is asked for. What a spreadsheet would run as a formula is made plain text.
"""

import csv
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext
from openpyxl import Workbook

from shop.desk.access.owners import is_store_owner

# Below 1,000 values MariaDB reads an IN as ranges of the key; above, it may read the joined tables instead.
CHUNK = 500
# A worksheet is written whole before its first byte is sent (17 s for 100,000 rows): somebody waits for it.
MAX_XLSX_ROWS = 400_000
# Where a spreadsheet takes text for a formula (OWASP, "CSV Injection"), full width included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# What XML, and so XLSX, has no way to write.
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
# Never in a file, unless a list names it.
_SECRET = {"password", "token", "fingerprint", "idempotency_key"}


def as_text(value: str) -> str:
    """Text that a spreadsheet shows and never runs: a quote before what would begin a formula."""
    return f"'{value}" if value.lstrip(" ").startswith(_FORMULA) else value


def as_typed(value: str) -> str:
    """What `as_text` was given."""
    return value[1:] if value[:1] == "'" and value[1:].lstrip(" ").startswith(_FORMULA) else value


def plain(value: Any) -> Any:
    """A value of the database as a cell."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return timezone.localtime(value).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return "" if value is None else value


def rows_of(queryset: QuerySet[Any], columns: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of `queryset`, newest (highest key) first, as cells; two queries a chunk, no sorting.

    `columns` are paths or expressions, as in `values_list`. First the keys alone and then their columns: a
    join in the first query might sort the whole table.
    """
    found = queryset.order_by("-pk").values_list("pk", flat=True)
    last: Any = None
    while keys := list((found if last is None else found.filter(pk__lt=last))[:CHUNK]):
        last = keys[-1]
        chunk = queryset.model._base_manager.filter(pk__in=keys).order_by()
        found_at = {row[0]: row[1:] for row in chunk.values_list("pk", *columns)}
        for key in keys:
            if key in found_at:  # else it was deleted between the two queries
                yield tuple(plain(value) for value in found_at[key])


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


def csv_lines(names: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> Iterator[bytes]:
    """CSV in UTF-8, with the mark by which spreadsheets know it."""
    writer = csv.writer(_Echo())
    yield "\ufeff".encode()
    yield writer.writerow(names).encode()
    batch = []
    for row in rows:
        batch.append(writer.writerow(row))
        if len(batch) == CHUNK:
            yield "".join(batch).encode()
            batch = []
    yield "".join(batch).encode()


def xlsx_file(names: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> Any:
    """A workbook in a temporary file, at its beginning. Written row by row."""
    book = Workbook(write_only=True)
    worksheet = book.create_sheet()
    worksheet.append(list(names))
    for row in rows:
        worksheet.append([_UNWRITABLE.sub("", v) if isinstance(v, str) else v for v in row])
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the response closes it)
    book.save(file)
    file.seek(0)
    return file


class Exported:
    """Gives a list of the desk its "Export" buttons. Who may see the list may take it along.

    `exported` says the columns: name -> path or expression; every field that is no secret where it is empty.
    """

    exported: ClassVar[Mapping[str, Any]] = {}
    change_list_template: ClassVar[Any] = "admin/desk_change_list.html"

    def get_urls(self: Any) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        view = self.admin_site.admin_view(self.export_view)
        return [path("export/<str:kind>/", view, name=name), *super().get_urls()]  # type: ignore[misc]

    def changelist_view(self: Any, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        address = f"admin:{self.opts.app_label}_{self.opts.model_name}_export"
        filters = request.GET.urlencode()
        kinds = (("csv", gettext("Export (CSV)")), ("xlsx", gettext("Export (XLSX)")))
        tools = [
            {"label": label, "url": f"{reverse(address, args=[kind])}?{filters}".rstrip("?")}
            for kind, label in (kinds if self.export_columns(request) else ())
        ]
        context = {"desk_tools": [*self.tools(request), *tools], **(extra_context or {})}
        return super().changelist_view(request, context)  # type: ignore[misc]

    def tools(self, request: HttpRequest) -> list[dict[str, Any]]:
        """Further buttons above the list: `label` and `url`."""
        return []

    def export_columns(self: Any, request: HttpRequest) -> dict[str, Any]:
        if is_store_owner(request.user):
            # Only what was thought of, and what begins at no field that the pages hide from them.
            hidden = self.hidden_from_owners
            return {
                name: path for name, path in self.exported.items()
                if not (isinstance(path, str) and path.partition("__")[0] in hidden)
            }  # fmt: skip
        named = {field.verbose_name: field.attname for field in self.opts.concrete_fields}
        return dict(self.exported) or {n: path for n, path in named.items() if path not in _SECRET}

    def export_view(self: Any, request: HttpRequest, kind: str) -> HttpResponseBase:
        """The list as the address filters it, all of it, as a file of this kind."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        back = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        try:
            queryset = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(back)
        columns = self.export_columns(request)
        if not columns:
            raise PermissionDenied
        names, rows = [str(name) for name in columns], rows_of(queryset, list(columns.values()))
        stamp = timezone.localtime().strftime("%Y-%m-%d-%H%M")
        filename = f"{self.opts.model_name}-{stamp}.{kind}"
        if kind == "csv":
            return StreamingHttpResponse(
                csv_lines(names, rows), content_type="text/csv; charset=utf-8",
                headers={"Content-Disposition": f'attachment; filename="{filename}"'},
            )  # fmt: skip
        if kind != "xlsx":
            return HttpResponseRedirect(back)
        if queryset.order_by().values("pk")[: MAX_XLSX_ROWS + 1].count() > MAX_XLSX_ROWS:
            text = gettext("XLSX is for up to %d rows: filter the list, or export it as CSV.")
            self.message_user(request, text % MAX_XLSX_ROWS, messages.ERROR)
            return HttpResponseRedirect(f"{back}?{request.GET.urlencode()}")
        return FileResponse(xlsx_file(names, rows), as_attachment=True, filename=filename)
