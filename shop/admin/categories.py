"""The category tree."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from treebeard.admin import TreeAdmin, TreeChangeList
from treebeard.forms import movenodeform_factory
from treebeard.templatetags.admin_tree import tree_context
from unfold.templatetags.unfold_list import result_list

from shop.desk.access.owners import SHARED
from shop.desk.base import DeclaredLookups, DeskAdmin, is_key
from shop.desk.columns import admin_url, text_link
from shop.models import Category, Product
from shop.services import lock_tree
from yousinsa.db.transactions import transact
from yousinsa.text.keys import key
from yousinsa.text.romanising import slug


class CategoryForm(movenodeform_factory(Category)):  # type: ignore[misc]
    """A slug that nobody typed is the name in Latin letters."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "slug" in self.fields:
            self.fields["slug"].required = False

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if "slug" in cleaned and not cleaned["slug"]:
            cleaned["slug"] = slug(cleaned.get("name", ""))
            if not cleaned["slug"]:
                self.add_error("slug", _("Give it a part of its address, in Latin letters."))
        return cleaned


class Tree(DeclaredLookups, TreeChangeList):
    """The list of categories."""


@admin.register(Category)
class CategoryAdmin(DeskAdmin, TreeAdmin):
    """The tree: a page of roots that unfold, moved by dragging or by the form."""

    form = CategoryForm
    change_list_template = "admin/category_tree.html"
    owned_by = SHARED
    exported = {"name": "name", "slug": "slug", "depth": "depth"}
    list_display = ("name", "slug", "products")
    list_per_page = 200
    search_fields = ("name",)
    search_help_text = _("Part of the name or of the slug.")
    prepopulated_fields = {"slug": ("name",)}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[Any]:
        return Tree

    def is_filtered(self, request: HttpRequest) -> bool:
        """Only a search looks at the whole tree; what else an address says is ignored."""
        return bool(request.GET.get(SEARCH_VAR))

    @admin.display(description=_("products"))
    def products(self, category: Category) -> SafeString:
        address = f"{admin_url(Product, 'changelist')}?category={category.slug}"
        return text_link(address, _("products"))

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if request.method != "GET":  # the tree knows no other way to look at it, and fails on HEAD
            return HttpResponseRedirect(request.path)
        return super().changelist_view(request, extra_context)

    def children_view(self, request: HttpRequest, parent_id: str) -> HttpResponse:
        """The rows below a node, as the list's script asks for them: in the theme's style."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if not is_key(parent_id):
            raise Http404
        request._treebeard_parent_id = parent_id  # type: ignore[attr-defined]
        changes = self.get_changelist_instance(request)
        changes.formset = None
        rows = result_list({"request": request}, changes)
        table = render_to_string("admin/change_list_results.html", rows, request)
        return JsonResponse(
            {
                "result_html": f"<div>{table}</div>",
                "tree_context": tree_context(changes, request),
                "page": changes.page_num,
                "num_pages": changes.paginator.num_pages,
            }
        )

    def move_node(self, request: HttpRequest) -> HttpResponse:
        """A node that was dragged elsewhere in the list; on record as any other change."""
        return transact(lambda: self._move(request))

    def _move(self, request: HttpRequest) -> HttpResponse:
        lock_tree()
        answer: HttpResponse = super().move_node(request)
        if answer.status_code == 200:
            moved = self.get_object(request, request.POST["node"])
            self.log_change(request, moved, _("Moved in the tree."))
        return answer

    def _changeform_view(
        self, request: HttpRequest, object_id: str | None, form_url: str, extra_context: Any
    ) -> HttpResponse:
        if request.method == "POST":
            lock_tree()
        return super()._changeform_view(request, object_id, form_url, extra_context)

    def delete_model(self, request: HttpRequest, obj: Category) -> None:
        lock_tree()
        super().delete_model(request, obj)

    also_seen_label = _("place in the tree")

    def also_seen(self, record: Category) -> dict[str, Any]:
        parent = Category.objects.get_parent(record)
        return {"place": parent.pk if parent else None}

    def find(self, queryset: QuerySet[Category], term: str) -> QuerySet[Category]:
        """Looked for here, as databases differ in what they take for one letter, and categories are few."""
        wanted = key(term)
        named = queryset.values_list("id", "name", "slug")
        return queryset.filter(pk__in=[id for id, *texts in named if any(wanted in key(t) for t in texts)])

    def has_delete_permission(self, request: HttpRequest, obj: Category | None = None) -> bool:
        """Only a leaf without products: a node's whole branch would go with it."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and obj is not None and obj.is_leaf() and not obj.products.exists()
