"""What is sold, and by whom: stores, the category tree, products and their options."""

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import F, Q, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _
from treebeard.admin import TreeAdmin
from treebeard.forms import movenodeform_factory
from treebeard.templatetags.admin_tree import tree_context
from unfold.admin import TabularInline
from unfold.templatetags.unfold_list import result_list
from unfold.widgets import UnfoldAdminTextInputWidget

from inventory.listing import keep_in_stock
from inventory.models import Stock
from shop import services
from shop.desk.base import FOUND, DeskAdmin, ReadOnlyAdmin, admin_url, link, moment, won
from shop.desk.operations import OperatedAdmin, Operation, OperationForm
from shop.desk.owners import SHARED
from shop.models import MAX_OPTIONS, Category, Option, Product, Store, User
from shop.selectors import category_ids, search_names
from yousinsa.errors import Invalid
from yousinsa.http.page_cache import pages_changed

# --- Stores ---------------------------------------------------------------------------------------


def _decision(status: str) -> type[OperationForm]:
    class DecisionForm(OperationForm):
        def run(self, *, actor_id: int) -> None:
            services.decide_store(store=self.record, status=status)

    return DecisionForm


ACCEPT = Operation(
    name="accept",
    permission="shop.decide_store",
    label=_("accept"),
    explanation=_("The store's products are listed and sold from now on."),
    done=_("accepted."),
    form=_decision(Store.Status.ACCEPTED),
    possible=lambda store: store.status != Store.Status.ACCEPTED,
    action=_("Accept selected stores"),
    done_many=ngettext_lazy("%d store accepted.", "%d stores accepted."),
)
REJECT = Operation(
    name="reject",
    permission="shop.decide_store",
    label=_("reject"),
    explanation=_("The application is declined. The owner sees it, and may apply under another name."),
    done=_("rejected."),
    form=_decision(Store.Status.REJECTED),
    possible=lambda store: store.status == Store.Status.REQUESTED,
    action=_("Reject selected stores"),
    done_many=ngettext_lazy("%d store rejected.", "%d stores rejected."),
    asks=True,
)
CLOSE = Operation(
    name="close",
    permission="shop.decide_store",
    label=_("close"),
    explanation=_(
        "Nothing of the store is listed or sold any more. Orders that were placed stay as they are."
    ),
    done=_("closed."),
    form=_decision(Store.Status.CLOSED),
    possible=lambda store: store.status == Store.Status.ACCEPTED,
    action=_("Close selected stores"),
    done_many=ngettext_lazy("%d store closed.", "%d stores closed."),
    asks=True,
)


@admin.register(Store)
class StoreAdmin(OperatedAdmin):
    """A store's status is decided by operations, which also note when."""

    operations = (ACCEPT, REJECT, CLOSE)
    owned_by = "pk"
    exported = {
        "name": "name", "owner": "owner__email", "status": "status", "applied at": "created_at",
        "decided at": "decided_at",
    }  # fmt: skip
    list_display = ("name", "owner", "status", "applied", "decided")
    list_select_related = ("owner",)
    list_filter = ("status",)
    search_fields = ("name",)
    search_help_text = _("Beginning of the store's name, or of its owner's e-mail address.")
    autocomplete_fields = ("owner",)
    fields = ("name", "owner", "commission_rate", "status", "created_at", "decided_at", "products")
    readonly_fields = ("status", "created_at", "decided_at", "products")

    applied = moment("created_at", _("applied at"))
    decided = moment("decided_at", _("decided at"))

    @admin.display(description=_("products"))
    def products(self, store: Store) -> SafeString | str:
        if store.pk is None:
            return ""
        address = f"{admin_url(Product, 'changelist')}?store__id__exact={store.pk}"
        return format_html('<a href="{}" class="text-link">{}</a>', address, _("products of this store"))

    def facts(self, record: Store, operation: Operation) -> Sequence[tuple[Any, Any]]:
        return [(_("owner"), record.owner), (_("status"), record.get_status_display())]

    def find(self, queryset: QuerySet[Store], term: str) -> QuerySet[Store]:
        if "@" not in term:
            return queryset.filter(name__istartswith=term)
        owners = User.objects.filter(email__istartswith=term).order_by()
        return queryset.filter(owner__in=list(owners.values_list("id", flat=True)[:FOUND]))

    def has_delete_permission(self, request: HttpRequest, obj: Store | None = None) -> bool:
        """A store that never had a product may go; any other is closed."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and obj is not None and not obj.products.exists()


# --- Categories -----------------------------------------------------------------------------------


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
        return format_html('<a href="{}" class="text-link">{}</a>', address, _("products"))

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if request.method != "GET":  # the tree knows no other way to look at it, and fails on HEAD
            return HttpResponseRedirect(request.path)
        return super().changelist_view(request, extra_context)

    def children_view(self, request: HttpRequest, parent_id: str) -> HttpResponse:
        """The rows below a node, as the list's script asks for them: in the theme's clothes."""
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


# --- Products -------------------------------------------------------------------------------------


class CategoryFilter(admin.SimpleListFilter):
    """By a category and all below it; offers the upper levels, as a whole tree would be a page of its own."""

    title = _("category")
    parameter_name = "category"
    levels = 2

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        upper = Category.objects.filter(depth__lte=self.levels).order_by("path")[:200]
        offered = [(node.slug, "– " * (node.depth - 1) + node.name) for node in upper]
        chosen = self.value()
        if chosen and chosen not in dict(offered):
            offered.append((chosen, chosen))
        return offered

    def queryset(self, request: HttpRequest, queryset: QuerySet[Product]) -> QuerySet[Product]:
        chosen = self.value()
        if not chosen:
            return queryset
        try:
            return queryset.filter(category__in=category_ids(chosen))
        except Invalid:  # a slug that is no more
            return queryset.none()


class OptionForm(forms.ModelForm):
    class Meta:
        model = Option
        fields = ("sku", "size", "color")
        widgets = {
            "sku": UnfoldAdminTextInputWidget,
            "size": UnfoldAdminTextInputWidget,
            "color": UnfoldAdminTextInputWidget,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Labels, imports and the ledger know the option by its SKU.
        if self.instance.pk and "sku" in self.fields:
            self.fields["sku"].disabled = True


class OptionFormSet(BaseInlineFormSet):
    def clean(self) -> None:
        """`S` and `s` are one size: the database would refuse the second one."""
        super().clean()
        looks: set[tuple[str, str]] = set()
        for form in self.forms:
            values = getattr(form, "cleaned_data", None)
            if not values or (not form.instance.pk and not form.has_changed()):
                continue
            look = (values.get("size", "").casefold(), values.get("color", "").casefold())
            if look in looks:
                form.add_error("size", _("This size and colour is given twice."))
            looks.add(look)


class StockColumns:
    """How many there are of an option; one query for all of them where `stock` was fetched along."""

    @admin.display(description=_("on hand"))
    def on_hand(self, option: Option) -> int | None:
        stock = _stock(option)
        return stock.on_hand if stock else None

    @admin.display(description=_("available"))
    def available(self, option: Option) -> int | None:
        stock = _stock(option)
        return stock.available if stock else None

    @admin.display(description=_("stock"))
    def stock_link(self, option: Option) -> SafeString | None:
        stock = _stock(option)
        if stock is None:
            return None
        timeline = admin_url(stock, "timeline", stock.pk)
        changes = link(stock, _("stock"))
        return format_html('{} · <a href="{}" class="text-link">{}</a>', changes, timeline, _("timeline"))


def _stock(option: Option) -> Stock | None:
    return getattr(option, "stock", None) if option.pk else None


class OptionInline(StockColumns, TabularInline):
    model = Option
    form = OptionForm
    formset = OptionFormSet
    fields = ("sku", "size", "color", "on_hand", "available", "stock_link")
    readonly_fields = ("on_hand", "available", "stock_link")
    extra = 0
    max_num = MAX_OPTIONS
    can_delete = False
    hide_title = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Option]:
        return super().get_queryset(request).select_related("stock")


@admin.register(Product)
class ProductAdmin(DeskAdmin):
    """Products with their options. Units come in by receiving them, on the option's stock page."""

    owned_by = "store"
    inlines = (OptionInline,)
    exported = {
        "id": "id", "name": "name", "store": "store__name", "category": "category__slug", "price": "price",
        "on sale": "is_active", "created at": "created_at", "source id": "source_id",
    }  # fmt: skip
    list_display = ("name", "store", "category", "price_won", "is_active", "available", "created")
    list_select_related = ("store", "category", "options__stock")
    list_filter = ("is_active", CategoryFilter)
    search_fields = ("name",)
    search_help_text = _("Words of the name, or an SKU.")
    sortable_by = ("name", "price_won")
    autocomplete_fields = ("store", "category")
    fields = ("name", "store", "category", "price", "is_active", "created_at", "source_id")
    readonly_fields = ("created_at", "source_id")

    created = moment("created_at", _("created at"))

    @admin.display(description=_("price (won)"), ordering="price")
    def price_won(self, product: Product) -> str:
        return won(product.price)

    @admin.display(description=_("available"))
    def available(self, product: Product) -> int:
        stocks = [_stock(option) for option in product.options.all()]
        return sum(stock.available for stock in stocks if stock)

    def find(self, queryset: QuerySet[Product], term: str) -> QuerySet[Product]:
        by_sku = list(Option.objects.filter(sku=term).values_list("product_id", flat=True))
        return queryset.filter(pk__in=by_sku) if by_sku else search_names(queryset, term)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Every option is kept in stock from its first moment, in the transaction that creates it."""
        super().save_related(request, form, formsets, change)
        new = [row.pk for formset in formsets for row in formset.new_objects if isinstance(row, Option)]
        if new:
            keep_in_stock(new)
        pages_changed()

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except IntegrityError:
            # Checked before, taken since: somebody else used this SKU or look in the same second.
            text = gettext("Somebody else saved the same SKU, size or colour meanwhile. Nothing was saved.")
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def has_delete_permission(self, request: HttpRequest, obj: Product | None = None) -> bool:
        """Only what never had an option; any other product is taken off sale."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and obj is not None and not obj.options.exists()


@admin.register(Option)
class OptionAdmin(StockColumns, ReadOnlyAdmin):
    """Options across all products, to be found by SKU; they are edited on their product's page."""

    owned_by = "product__store"
    exported = {
        "sku": "sku", "product": "product__name", "size": "size", "colour": "color",
        "price": "product__price", "on hand": "stock__on_hand",
        "available": F("stock__on_hand") - F("stock__reserved"),
    }  # fmt: skip
    list_display = ("sku", "product", "size", "color", "on_hand", "available")
    list_select_related = ("product", "stock")
    search_fields = ("sku",)
    search_help_text = _("Beginning of the SKU, or words of the product's name.")
    ordering = ("-id",)
    fields = ("sku", "product", "size", "color", "on_hand", "available", "stock_link")
    readonly_fields = ("on_hand", "available", "stock_link")

    def find(self, queryset: QuerySet[Option], term: str) -> QuerySet[Option]:
        return queryset.filter(pk__in=option_ids(term))


def option_ids(term: str) -> list[int]:
    """The options that a search means, a bounded number of them.

    Those whose SKU begins with `term` if there are any, else those of products with these words in the name.
    """
    by_sku = Option.objects.filter(sku__istartswith=term).order_by("sku").values_list("id", flat=True)
    if found := list(by_sku[:FOUND]):
        return found
    products = search_names(Product.objects.order_by("-id"), term).values_list("id", flat=True)
    by_name = Option.objects.filter(product__in=list(products[:FOUND])).order_by("-id")
    return list(by_name.values_list("id", flat=True)[: 4 * FOUND])
