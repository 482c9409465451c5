"""What tests of the operators' desk share: addresses, people at the desk, what they are told."""

import html
import re
from typing import Any

from django.contrib.auth.models import Permission
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from shop.models import Product, User


def url(model: type[Model], page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(User.objects.get(pk=user.pk))  # as they are by now: rights end sessions
    return client


def staff(*permissions: str) -> Client:
    """An operator who is no superuser: sees what is every store's, and has these permissions."""
    user = User.objects.create_user(f"clerk{User.objects.count()}@example.com", name="Clerk", is_staff=True)
    for permission in ("shop.see_all_stores", *permissions):
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return signed_in(user)


def act(client: Client, action: str, *records: Model, **form: Any) -> Any:
    """Run a list's action on these records, as the list or the action's own page posts it."""
    chosen = {"action": action, "index": 0, "_selected_action": [record.pk for record in records]}
    return client.post(url(type(records[0])), chosen | form, follow=True)


def change_stock(client: Client, change: str, stock: Model, **form: Any) -> Any:
    """Fill in a stock screen's form, look at the preview and confirm it; the page that is shown then."""
    address = url(type(stock), change, stock.pk)
    preview = client.post(address, form)
    if "seen" not in (preview.context or {}):
        return preview
    return client.post(address, form | {"seen": preview.context["seen"], "confirm": "1"}, follow=True)


def text(page: Any) -> str:
    """A page's words, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.content.decode())).split())


def said(page: Any) -> list[str]:
    """The messages on a page."""
    return [str(message) for message in page.context["messages"]]


# Pages that only show something.
LOOKING = {"history", "delete", "change", "timeline", "packing-list", "print"}


def buttons(client: Client, record: Any) -> set[str]:
    """The operations that a record's page offers."""
    page = client.get(url(type(record), "change", record.pk)).content.decode()
    found = re.findall(rf'href="{url(type(record))}{record.pk}/([a-z-]+)/"', page)
    return set(found) - LOOKING


def seen(client: Client, record: Model) -> dict[str, str]:
    """The version that a record's change form carries, as it is shown now."""
    page = client.get(url(type(record), "change", record.pk))
    found = page.context or {}
    return {found["seen_name"]: found["seen_version"]} if "seen_name" in found else {}


def save(client: Client, record: Model, form: dict[str, Any]) -> Any:
    """Open a record's change form and send it with these values."""
    return client.post(url(type(record), "change", record.pk), form | seen(client, record))


def account_form(user: User, **changes: Any) -> dict[str, Any]:
    """What the change form of a user posts."""
    form = {name: getattr(user, name) for name in ("email", "name", "role")}
    form |= {
        name: getattr(user, name) for name in ("recipient", "phone", "postal_code", "address1", "address2")
    }
    form |= {name: "on" for name in ("is_active", "is_staff", "is_superuser") if getattr(user, name)}
    form |= changes
    return {name: value for name, value in form.items() if value is not None}


def product_form(product: Product, *new: tuple[str, str, str], **changes: Any) -> dict[str, Any]:
    """What the change form of a product posts, with further options (sku, size, colour)."""
    options = list(product.options.all()) if product.pk else []
    form = {
        "name": product.name,
        "store": product.store_id,
        "category": product.category_id,
        "price": product.price,
        "is_active": "on",
        "options-TOTAL_FORMS": len(options) + len(new),
        "options-INITIAL_FORMS": len(options),
    }
    for i, option in enumerate(options):
        form |= {f"options-{i}-id": option.pk, f"options-{i}-product": product.pk}
        form |= {f"options-{i}-size": option.size, f"options-{i}-color": option.color}
        if option.is_active:
            form[f"options-{i}-is_active"] = "on"
    for i, (sku, size, color) in enumerate(new, start=len(options)):
        form |= {f"options-{i}-sku": sku, f"options-{i}-size": size, f"options-{i}-color": color}
        form[f"options-{i}-is_active"] = "on"
    return form | changes
