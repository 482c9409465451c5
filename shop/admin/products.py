"""What is sold: products with their options."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import F, QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminTextInputWidget

from inventory.listing import keep_in_stock
from shop.desk.base import DeskAdmin, ReadOnlyAdmin
from shop.desk.columns import admin_url, link, moment, text_link, won
from shop.models import MAX_OPTIONS, Category, Option, Product
from shop.selectors import category_ids, find_options, find_sku, search_names
from yousinsa.errors import Invalid
from yousinsa.http.page_cache import pages_changed
from yousinsa.text.keys import key


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
        fields = ("sku", "size", "color", "is_active")
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
        looks: set[str] = set()
        for form in self.forms:
            values = getattr(form, "cleaned_data", None)
            if not values or (not form.instance.pk and not form.has_changed()):
                continue
            look = key(values.get("size", ""), values.get("color", ""))
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
        timeline = text_link(admin_url(stock, "timeline", stock.pk), _("timeline"))
        return format_html("{} · {}", link(stock, _("stock")), timeline)


def _stock(option: Option) -> Any:
    return getattr(option, "stock", None) if option.pk else None


class OptionInline(StockColumns, TabularInline):
    model = Option
    form = OptionForm
    formset = OptionFormSet
    fields = ("sku", "size", "color", "is_active", "on_hand", "available", "stock_link")
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
    links_by = ("store__id__exact",)
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
        by_sku = find_sku(term)
        return queryset.filter(options__in=by_sku).distinct() if by_sku else search_names(queryset, term)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Every option is kept in stock from its first moment, in the transaction that creates it."""
        super().save_related(request, form, formsets, change)
        new = [row.pk for formset in formsets for row in formset.new_objects if isinstance(row, Option)]
        if new:
            keep_in_stock(new)
        pages_changed()

    def has_delete_permission(self, request: HttpRequest, obj: Product | None = None) -> bool:
        """Only what never had an option; any other product is taken off sale."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and obj is not None and not obj.options.exists()


@admin.register(Option)
class OptionAdmin(StockColumns, ReadOnlyAdmin):
    """Options across all products, to be found by SKU; they are edited on their product's page."""

    owned_by = "product__store"
    exported = {
        "sku": "sku", "product": "product__name", "size": "size", "colour": "color", "on sale": "is_active",
        "price": "product__price", "on hand": "stock__on_hand",
        "available": F("stock__on_hand") - F("stock__reserved"),
    }  # fmt: skip
    list_display = ("sku", "product", "size", "color", "is_active", "on_hand", "available")
    list_select_related = ("product", "stock")
    search_fields = ("sku",)
    search_help_text = _("Beginning of the SKU, or words of the product's name.")
    ordering = ("-id",)
    fields = ("sku", "product", "size", "color", "is_active", "on_hand", "available", "stock_link")
    readonly_fields = ("on_hand", "available", "stock_link")

    def find(self, queryset: QuerySet[Option], term: str) -> QuerySet[Option]:
        return queryset.filter(pk__in=find_options(term))
