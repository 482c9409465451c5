"""What one person made, another one approves."""

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from shop.models import Role
from yousinsa.errors import Conflict


class FourEyes(Conflict):
    """409: whoever made this is not the one to approve it."""

    code = "four_eyes"
    title = _("What one person made, another one approves: ask somebody else who has the right.")


def are_needed(permission: str) -> bool:
    """Whether a second person has to approve what takes this permission (`app.codename`).

    `FOUR_EYES` says so; `auto`: where at least two people who can sign in at the desk hold it. Two queries at
    most.
    """
    if settings.FOUR_EYES != "auto":
        return bool(settings.FOUR_EYES == "1")
    holders = ModelBackend().with_perm(permission, is_active=True, include_superusers=True)
    # What operators do is not a store owner's to do, whatever rights they are given.
    operators = holders.filter(Q(is_superuser=True) | ~Q(role=Role.STORE_OWNER), is_staff=True)
    return len(operators.filter(withdrawn_at__isnull=True).order_by().values_list("pk", flat=True)[:2]) == 2


def refuse_own(permission: str, *, made_by: int | None, actor_id: int) -> None:
    """Refuse that a person approves what they made themselves. `made_by` None: no person made it.

    Raises `FourEyes`.
    """
    if made_by is not None and made_by == actor_id and are_needed(permission):
        raise FourEyes
