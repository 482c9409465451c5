"""The category tree."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from treebeard.admin import TreeAdmin
from treebeard.forms import movenodeform_factory
from treebeard.templatetags.admin_tree import tree_context
from unfold.templatetags.unfold_list import result_list

from shop.desk.access.owners import SHARED
from shop.desk.base import DeskAdmin
from shop.desk.columns import admin_url, text_link
from shop.models import Category, Product


@admin.register(Category)
class CategoryAdmin(DeskAdmin, TreeAdmin):
    """The tree: a page of roots that unfold, moved by dragging or by the form."""

    form = movenodeform_factory(Category)
    change_list_template = "admin/category_tree.html"
    owned_by = SHARED
    exported = {"name": "name", "slug": "slug", "depth": "depth"}
    list_display = ("name", "slug", "products")
    list_per_page = 200
    search_fields = ("name",)
    search_help_text = _("Part of the name or of the slug.")
    prepopulated_fields = {"slug": ("name",)}
    get_changelist = TreeAdmin.get_changelist

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
        answer: HttpResponse = super().move_node(request)
        if answer.status_code == 200:
            moved = self.get_object(request, request.POST["node"])
            self.log_change(request, moved, _("Moved in the tree."))
        return answer

    def find(self, queryset: QuerySet[Category], term: str) -> QuerySet[Category]:
        return queryset.filter(Q(name__icontains=term) | Q(slug__icontains=term))

    def has_delete_permission(self, request: HttpRequest, obj: Category | None = None) -> bool:
        """Only a leaf without products: a node's whole branch would go with it."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and obj is not None and obj.is_leaf() and not obj.products.exists()
