"""Sessions that are over: Django leaves them in the database until somebody takes them out."""

from django.contrib.sessions.models import Session
from django.utils import timezone

# Rows that one transaction deletes: it must not hold up who signs in meanwhile.
BATCH = 1_000


def clear_sessions() -> int:
    """Delete up to `BATCH` sessions that have expired; returns how many."""
    expired = Session.objects.filter(expire_date__lt=timezone.now())
    keys = sorted(expired.order_by("expire_date").values_list("session_key", flat=True)[:BATCH])
    # Asked once more whether they have expired: a session may have been prolonged meanwhile.
    return expired.filter(session_key__in=keys).delete()[0] if keys else 0
