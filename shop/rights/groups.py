"""Who may do what: the groups that the shop brings along, and their rights.

Each app has a table of what the groups may do in it (`permissions.py`) and adds it here when it is ready. The
tables are the truth: after each `migrate` a group of this name holds exactly these rights. A migration makes
the groups once, so that a group that was deleted or renamed does not come back, and a renamed one is left
alone. Who wants other rights makes a group of another name.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import Group, Permission
from django.core.checks import CheckMessage, Error
from django.utils.translation import gettext

from shop.models import OWNER_AND_SUPERUSER, Role

CATALOGUE_EDITOR = "Catalogue editor"
STOCK_CLERK = "Stock clerk"
ORDER_DESK = "Order desk"
FINANCE = "Finance"
STORE_OWNER = "Store owner"

# Without it, somebody at the desk sees what belongs to their own stores (shop/desk/access/owners.py).
SEE_ALL_STORES = "shop.see_all_stores"

GROUPS: dict[str, tuple[str, ...]] = {}
"""What each group may do, as `app.codename`: the tables of all apps."""

_LOOK = ("shop.view_product", "shop.view_option", "shop.view_category", "shop.view_store")

_OPERATOR = (*_LOOK, SEE_ALL_STORES)

RIGHTS: dict[str, tuple[str, ...]] = {
    CATALOGUE_EDITOR: (
        *_OPERATOR,
        "shop.add_product", "shop.change_product", "shop.delete_product",
        "shop.add_option", "shop.change_option",
        "shop.add_category", "shop.change_category", "shop.delete_category",
        "shop.decide_store",
    ),
    STOCK_CLERK: _OPERATOR,
    ORDER_DESK: (*_OPERATOR, "shop.view_user"),
    FINANCE: _OPERATOR,
    # Of their own stores only (shop/desk/access/owners.py).
    STORE_OWNER: (
        *_LOOK, "shop.add_product", "shop.change_product", "shop.add_option", "shop.change_option",
    ),
}  # fmt: skip


def contradiction(role: str, groups: Iterable[Group], *, is_superuser: bool = False) -> Any:
    """Why somebody with this role cannot be in these groups, or a superuser: a sentence, or None."""
    if role == Role.STORE_OWNER and is_superuser:
        return OWNER_AND_SUPERUSER
    names = {group.name for group in groups}
    if role == Role.STORE_OWNER and (operators := sorted(names & set(GROUPS) - {STORE_OWNER})):
        text = gettext("A store owner is no operator: take them out of these groups first: %s.")
        return text % ", ".join(operators)
    if role != Role.STORE_OWNER and STORE_OWNER in names:
        text = gettext("Whoever is in the group %s has the role of a store owner: take them out of it first.")
        return text % STORE_OWNER
    return None


def add_rights(table: Mapping[str, Iterable[str]]) -> None:
    """Add what the groups may do in an app: group -> permissions. Repeating it changes nothing."""
    for group, names in table.items():
        GROUPS[group] = tuple(dict.fromkeys((*GROUPS.get(group, ()), *names)))


def declared() -> set[str]:
    """Every permission that an installed model declares, as `app.codename`."""
    names: set[str] = set()
    for model in apps.get_models():
        opts = model._meta
        codenames = [get_permission_codename(action, opts) for action in opts.default_permissions]
        codenames += [codename for codename, _name in opts.permissions]
        names.update(f"{opts.app_label}.{codename}" for codename in codenames)
    return names


def check_groups(app_configs: Sequence[Any] | None, **kwargs: Any) -> Iterable[CheckMessage]:
    """Every name in the tables is a permission that exists."""
    known = declared()
    for group, names in GROUPS.items():
        for name in names:
            if name not in known:
                yield Error(
                    f"The group {group!r} has a permission that no model declares: {name}", id="shop.E001"
                )


def grant_groups(**kwargs: Any) -> None:
    """Give the groups of the tables that exist exactly these rights. Repeating it changes nothing."""
    groups = list(Group.objects.filter(name__in=GROUPS))
    if not groups:
        return
    permissions = {
        f"{app}.{codename}": pk
        for pk, app, codename in Permission.objects.values_list("pk", "content_type__app_label", "codename")
    }
    for group in groups:
        group.permissions.set(permissions[name] for name in GROUPS[group.name] if name in permissions)
