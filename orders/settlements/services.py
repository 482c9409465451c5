"""Settlements: entries are claimed for a period, added up, and frozen by approval.

A sale counts in the period in which the order was delivered, a return in the one in which the units came
back, whenever they were sold. Store, price and commission are those of the order line. Each entry is in one
settlement at most, and once it is in an approved one it stays there. What was committed too late for a period
that is approved goes into the next settlement of that store, which says so.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from typing import Any

from django.db import DatabaseError
from django.db.models import Count, F, Min, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext

from inventory.seals.closing import GRACE
from orders.models import Settlement, SettlementEntry
from orders.models.settlements import Frozen
from shop.models import Store
from shop.rights import four_eyes
from yousinsa.db.transactions import transact
from yousinsa.errors import Conflict, Invalid, NotFound, Problem
from yousinsa.months import day_end, day_start

APPROVE = "orders.approve_settlement"
# Entries that one transaction claims.
CLAIMED_AT_ONCE = 10_000
_SUMS = ("units", "gross", "returned_units", "refunds", "commission", "late_entries", "late_payable")


@dataclass(frozen=True, slots=True)
class Share:
    """What a settlement's entries of one commission rate come to."""

    rate: int
    units: int
    gross: int
    returned_units: int
    refunds: int
    commission: int
    late_entries: int
    late_payable: int


@dataclass(frozen=True, slots=True)
class Left:
    """Entries of a store from before a period that are in no settlement: their days wait to be settled."""

    store_id: int
    entries: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """What a run came to: settlements written, those approved before and left alone, stores left out."""

    written: list[Settlement] = field(default_factory=list)
    frozen: list[Settlement] = field(default_factory=list)
    refused: list[tuple[int, Problem | DatabaseError]] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Period:
    """Days of a store, both included."""

    store_id: int
    first_day: date
    last_day: date

    def unclaimed(self) -> Q:
        """Entries that a settlement of this period may claim: its own, and what came too late for others."""
        wanted = Q(created_at__gte=day_start(self.first_day), created_at__lt=day_end(self.last_day))
        for first, last in self._settled_before():
            wanted |= Q(created_at__gte=day_start(first), created_at__lt=day_end(last))
        return Q(settlement__isnull=True, store=self.store_id) & wanted

    def _settled_before(self) -> list[tuple[date, date]]:
        """The days before, in which nothing can be settled any more; adjacent periods are put together."""
        approved = Settlement.objects.filter(
            store=self.store_id, status=Settlement.Status.APPROVED, period_end__lt=self.first_day
        )
        spans: list[tuple[date, date]] = []
        for span in approved.order_by("period_start").values_list("period_start", "period_end"):
            if spans and day_end(spans[-1][1]) == day_start(span[0]):
                spans[-1] = (spans[-1][0], span[1])
            else:
                spans.append(span)
        return spans


def stores_to_settle(first_day: date, last_day: date) -> list[int]:
    """The stores that have entries in no settlement from before the period's end, or one of this period."""
    unclaimed = SettlementEntry.objects.filter(settlement__isnull=True, created_at__lt=day_end(last_day))
    there = Settlement.objects.filter(period_start=first_day, period_end=last_day)
    stores = set(unclaimed.order_by().values_list("store_id", flat=True).distinct())
    return sorted(stores | set(there.order_by().values_list("store_id", flat=True)))


def settle(
    first_day: date,
    last_day: date,
    *,
    store_id: int | None = None,
    actor_id: int | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> Settled:
    """Compute the settlements of a period (both days included) for every store, or for one.

    Stores that sold and took back nothing get none, unless they have a draft already. Drafts are computed
    anew, approved settlements are left as they are: a second run changes nothing. `actor_id` is who asked
    for it, None for the system; `advance` is called after each store.

    A store that cannot be settled is left out and named in `refused`, with the reason: a settlement of
    another period that overlaps this one (`Conflict`), `Busy`. Where one store was asked for, its reason is
    raised. `left` names what of the days before is in no settlement. Raises `Invalid` (the days are in the
    wrong order), `NotFound` (no such store).
    """
    if last_day < first_day:
        raise Invalid(errors={"to": gettext("Must not lie before the first day.")})
    if store_id is not None and not Store.objects.filter(pk=store_id).exists():
        raise NotFound(gettext("There is no store %s.") % store_id)
    settled = Settled()
    for id in stores_to_settle(first_day, last_day) if store_id is None else [store_id]:
        try:
            row = _settle_store(Period(id, first_day, last_day), actor_id)
        except (Problem, DatabaseError) as reason:
            if store_id is not None:
                raise
            settled.refused.append((id, reason))
        else:
            if row is not None:
                frozen = row.status == Settlement.Status.APPROVED
                (settled.frozen if frozen else settled.written).append(row)
        advance(1)
    settled.left.extend(_left_before(first_day, store_id))
    return settled


def _left_before(day: date, store_id: int | None) -> list[Left]:
    entries = SettlementEntry.objects.filter(settlement__isnull=True, created_at__lt=day_start(day))
    if store_id is not None:
        entries = entries.filter(store=store_id)
    rows = entries.order_by("store_id").values_list("store_id")
    return [Left(*row) for row in rows.annotate(n=Count("pk"), since=Min("created_at"))]


def _settle_store(period: Period, actor_id: int | None) -> Settlement | None:
    """Short transactions, however much a store sold: open a draft, claim what belongs to it, add it up.

    Until the last one the draft's figures are not those of its entries, and `approve` refuses it.
    """
    begun = timezone.now()  # before anything is read: what is committed later may not be in it
    row = transact(partial(_open, period))
    if row is None or row.status == Settlement.Status.APPROVED:
        return row
    unclaimed = period.unclaimed()
    after = transact(partial(_claim, row.pk, unclaimed))
    while after:
        after = transact(partial(_claim, row.pk, unclaimed & Q(created_at__gte=after)))
    return transact(partial(_add_up, row.pk, computed_at=begun, computed_by_id=actor_id))


def lock_store(store_id: int) -> None:
    """One settlement at a time is opened for a store: periods do not overlap, whoever settles at once."""
    list(Store.objects.select_for_update().filter(pk=store_id).values_list("pk", flat=True))


def _open(period: Period) -> Settlement | None:
    """The period's settlement; a new draft where there is something to settle and none yet."""
    lock_store(period.store_id)
    _refuse_overlap(period)
    days = {"period_start": period.first_day, "period_end": period.last_day}
    row = Settlement.objects.filter(store=period.store_id, **days).first()
    if row is not None or not SettlementEntry.objects.filter(period.unclaimed()).exists():
        return row
    nothing = dict.fromkeys((*_SUMS, "payable"), 0)
    # Not computed yet: it cannot be approved.
    return Settlement.objects.create(
        store_id=period.store_id, computed_at=day_start(period.first_day), **days, **nothing
    )


def _refuse_overlap(period: Period) -> None:
    """A day of a store is in one period."""
    overlapping = Settlement.objects.filter(
        store=period.store_id, period_start__lte=period.last_day, period_end__gte=period.first_day
    ).exclude(period_start=period.first_day, period_end=period.last_day)
    other = overlapping.select_related("store").first()
    if other:
        raise Conflict(
            gettext(
                "Settlement %(number)s (%(other)s) overlaps this period. Use its days, or delete it while it "
                "is a draft."
            )
            % {"number": other.pk, "other": other}
        )


def _lock(settlement_id: int) -> Settlement:
    row = Settlement.objects.select_for_update().filter(pk=settlement_id).first()
    if row is None:
        raise NotFound(gettext("There is no settlement %s.") % settlement_id)
    return row


def _claim(settlement_id: int, unclaimed: Q) -> datetime | None:
    """Claim the next entries for a draft; from which time on there may be more, None where there are none."""
    row = _lock(settlement_id)
    if row.status == Settlement.Status.APPROVED:
        return None
    entries = SettlementEntry.objects.filter(unclaimed).order_by("created_at")
    found = list(entries.values_list("pk", "created_at")[:CLAIMED_AT_ONCE])
    # Another settlement of the store may have claimed a late one since.
    mine = SettlementEntry.objects.filter(pk__in=[pk for pk, _at in found], settlement__isnull=True)
    mine.update(settlement=row)
    return found[-1][1] if len(found) == CLAIMED_AT_ONCE else None


def _add_up(settlement_id: int, **computed: Any) -> Settlement:
    row = _lock(settlement_id)
    if row.status != Settlement.Status.APPROVED:
        for name, value in (_figures(row) | computed).items():
            setattr(row, name, value)
        row.save()
    return row


def shares(settlement: Settlement) -> list[Share]:
    """What a settlement's entries come to, for each commission rate. One query."""
    sold, late = Q(returned=0), Q(created_at__lt=day_start(settlement.period_start))
    rows = (
        SettlementEntry.objects.filter(settlement=settlement)
        .order_by("line__commission_rate")
        .values_list("line__commission_rate")
        .annotate(
            sold_units=Sum("units", filter=sold, default=0), sold_won=Sum("won", filter=sold, default=0),
            back_units=Sum("units", filter=~sold, default=0), back_won=Sum("won", filter=~sold, default=0),
            share=Sum("commission", default=0), late=Count("pk", filter=late),
            late_won=Sum(F("won") - F("commission"), filter=late, default=0),
        )
    )  # fmt: skip
    return [
        Share(rate, int(units), int(gross), -int(back), -int(refunds), int(share), late, int(late_won))
        for rate, units, gross, back, refunds, share, late, late_won in rows
    ]


def _figures(settlement: Settlement) -> dict[str, int | None]:
    """What a settlement says when it says what its entries come to."""
    found = shares(settlement)
    sums: dict[str, Any] = {name: sum(getattr(share, name) for share in found) for name in _SUMS}
    sums["payable"] = sums["gross"] - sums["refunds"] - sums["commission"]
    sums["commission_rate"] = found[0].rate if len(found) == 1 else None
    return sums


def approve(settlement_id: int, *, actor_id: int) -> Settlement:
    """Freeze a draft as it is. The period must be over, and the draft computed since.

    Over means: for so long that no transaction of it can be on its way. Raises `NotFound`, `Frozen` (it is
    approved already), `Conflict`, `FourEyes` (who computed it, or owns the store, does not
    approve it), `Busy`.
    """

    def work() -> Settlement:
        row = _lock(settlement_id)
        if row.status == Settlement.Status.APPROVED:
            raise Frozen
        over = day_end(row.period_end) + GRACE
        if timezone.now() < over:
            raise Conflict(
                gettext(
                    "The period is not over yet: it can be approved from %s on, when nothing of it can be on "
                    "its way any more."
                )
                % timezone.localtime(over).strftime("%Y-%m-%d %H:%M")
            )
        figures = _figures(row)
        if row.computed_at < over or figures != {name: getattr(row, name) for name in figures}:
            raise Conflict(
                gettext("It was computed before the period was over, or not to the end: compute it again.")
            )
        for person in (row.computed_by_id, row.store.owner_id):
            four_eyes.refuse_own(APPROVE, made_by=person, actor_id=actor_id)
        row.status = Settlement.Status.APPROVED
        row.approved_by_id, row.approved_at = actor_id, timezone.now()
        row.save(update_fields=["status", "approved_by", "approved_at"])
        return row

    return transact(work)
