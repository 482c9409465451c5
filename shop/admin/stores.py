"""Who sells: stores, which operators accept, reject and close."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from shop import services
from shop.desk.columns import admin_url, moment, text_link
from shop.desk.operations import OperatedAdmin, Operation, OperationForm
from shop.models import Product, Store
from shop.selectors import begins, find_users
from yousinsa.text.keys import key


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
    possible=lambda store: services.may_become(store, Store.Status.ACCEPTED),
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
    possible=lambda store: services.may_become(store, Store.Status.REJECTED),
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
    possible=lambda store: services.may_become(store, Store.Status.CLOSED),
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
    links_by = ("owner__id__exact",)
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
        return text_link(address, _("products of this store"))

    def facts(self, record: Store, operation: Operation) -> Sequence[tuple[Any, Any]]:
        return [(_("owner"), record.owner), (_("status"), record.get_status_display())]

    def find(self, queryset: QuerySet[Store], term: str) -> QuerySet[Store]:
        if "@" not in term:
            return queryset.filter(begins("name_key", key(term)))
        return queryset.filter(owner__in=find_users(term))

    def has_delete_permission(self, request: HttpRequest, obj: Store | None = None) -> bool:
        """A store that never had a product may go; any other is closed."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and obj is not None and not obj.products.exists()
