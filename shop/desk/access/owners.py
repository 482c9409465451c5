"""Store owners at the desk: they see what belongs to their accepted stores, and nothing else.

It is the role of the account that limits, not a group: whatever rights a store owner is given, they end
at the owner's own stores.
"""

from collections.abc import Collection
from typing import Any, cast

from django.http import HttpRequest

from shop.models import Option, Role, Store

# For `owned_by`: belongs to nobody, and every owner may see it.
SHARED = "*"


def is_store_owner(user: Any) -> bool:
    """Whether this user's view of the desk ends at their own stores."""
    return getattr(user, "role", "") == Role.STORE_OWNER and not user.is_superuser


def may_do(user: Any, permission: str) -> bool:
    """Whether this user may do what operators do: their rights, unless they are a store owner."""
    return bool(user.has_perm(permission)) and not is_store_owner(user)


def own_stores(request: HttpRequest) -> list[int]:
    """The accepted stores of the user, asked for once a request."""
    if not hasattr(request, "_own_stores"):
        own = Store.objects.filter(owner_id=cast(int, request.user.pk), status=Store.Status.ACCEPTED)
        request._own_stores = list(own.values_list("pk", flat=True))  # type: ignore[attr-defined]
    return cast(list[int], request._own_stores)  # type: ignore[attr-defined]


def own_options(request: HttpRequest) -> list[int]:
    """The options of those stores, asked for once a request."""
    if not hasattr(request, "_own_options"):
        own = Option.objects.filter(product__store__in=own_stores(request)).order_by()
        request._own_options = list(own.values_list("pk", flat=True))  # type: ignore[attr-defined]
    return cast(list[int], request._own_options)  # type: ignore[attr-defined]


def without(fieldsets: Any, hidden: Collection[str]) -> list[tuple[Any, dict[str, Any]]]:
    """Fieldsets less some fields, and less what is empty then. Fields stand alone, not in groups."""
    kept = [
        (title, options | {"fields": tuple(f for f in options["fields"] if f not in hidden)})
        for title, options in fieldsets
    ]
    return [(title, options) for title, options in kept if options["fields"]]
