"""Periods of time as ranges of primary keys, in tables whose rows are written as things happen.

The large tables have no index on their times, which would cost every order something. Their ids follow time
closely enough: a search by halves finds where a period begins, and `SLACK` on either side covers rows that
were written a little before or after their time. What lies in the range is then asked for its time exactly.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Max, Min

SLACK = timedelta(days=2)


def first_id_at(model: type[models.Model], at: datetime) -> int:
    """The id from which on rows have a `created_at` of `at` or later; one past the last id where none has.

    About as often as the table's size has binary digits, one row is read by its key.
    """
    rows: Any = model._default_manager.order_by("pk").values_list("pk", "created_at")
    ends = model._default_manager.aggregate(low=Min("pk"), high=Max("pk"))
    low, high = ends["low"] or 0, (ends["high"] or 0) + 1
    while low < high:
        middle = (low + high) // 2
        pk, created_at = rows.filter(pk__gte=middle).first() or (high, at)
        if created_at < at:
            low = pk + 1
        else:
            high = middle
    return low
