"""What was sold before lines named their store: filled in, and put into the settlements that had it.

Lines take the store and the rate of their product. Then every delivery and return gets its entry, and
approved settlements claim those of their period, so that nothing is settled a second time. Settlements stay
as they are. Their figures are also evidence: under the old rules a product's sales went to the store that
the product was in when the settlement was computed. Where a settlement says more than its store's lines come
to, or less, the products whose sales make up the difference exactly were moved since, and their sales belong
where they were settled. Lines in an approved settlement bear its rate.

Whatever was done is found done: an interrupted run is simply repeated.
"""

from collections import defaultdict
from datetime import datetime, time, timedelta
from itertools import combinations
from operator import add

from django.conf import settings
from django.db import migrations
from django.db.models import Max, Min, Q, Sum
from django.utils import timezone

LINES_AT_A_TIME = 20_000
EVENTS_AT_A_TIME = 5_000
# Products among which a difference is looked for by pairs; more than that only one by one.
MOST_IN_PAIRS = 500

FILL = """
UPDATE orders_orderline SET
  store_id = (SELECT p.store_id FROM shop_option o JOIN shop_product p ON p.id = o.product_id
              WHERE o.id = orders_orderline.option_id),
  commission_rate = (SELECT COALESCE(s.commission_rate, %s) FROM shop_option o
                     JOIN shop_product p ON p.id = o.product_id JOIN shop_store s ON s.id = p.store_id
                     WHERE o.id = orders_orderline.option_id)
WHERE id BETWEEN %s AND %s AND store_id IS NULL
"""


def commission(amount, rate):
    whole, rest = divmod(amount * rate, 10_000)
    return whole + (2 * rest > 10_000 or (2 * rest == 10_000 and whole % 2 == 1))


def ranges(model, step):
    ends = model.objects.aggregate(low=Min("pk"), high=Max("pk"))
    for first in range(ends["low"] or 0, (ends["high"] or -1) + 1, step):
        yield first, first + step - 1


def fill_lines(apps, schema_editor):
    for first, last in ranges(apps.get_model("orders", "OrderLine"), LINES_AT_A_TIME):
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(FILL, [settings.COMMISSION_RATE, first, last])


def write_entries(apps, schema_editor):
    """Of each delivered line the sale, and what came back of it, return by return."""
    OrderEvent = apps.get_model("orders", "OrderEvent")
    OrderLine = apps.get_model("orders", "OrderLine")
    SettlementEntry = apps.get_model("orders", "SettlementEntry")
    for first, last in ranges(OrderEvent, EVENTS_AT_A_TIME):
        delivered = dict(
            OrderEvent.objects.filter(pk__range=(first, last), to_status="delivered")
            .order_by("-pk")
            .values_list("order_id", "created_at")
        )
        lines = list(
            OrderLine.objects.filter(order__in=delivered)
            .exclude(pk__in=SettlementEntry.objects.filter(line__order__in=delivered).values("line"))
            .order_by("pk")
        )
        back = returns(apps, [line for line in lines if line.returned])
        rows = []
        for line in lines:
            rows.append(entry(SettlementEntry, line, line.quantity, 0, delivered[line.order_id]))
            returned = 0
            for units, at in back.get(line.pk, ()):
                returned += units
                rows.append(entry(SettlementEntry, line, -units, returned, at))
        SettlementEntry.objects.bulk_create(rows, batch_size=2_000)


def entry(SettlementEntry, line, units, returned, at):
    out = line.quantity - returned
    kept_before = commission((out - units) * line.unit_price, line.commission_rate)
    return SettlementEntry(
        line_id=line.pk, store_id=line.store_id, units=units, won=units * line.unit_price,
        commission=commission(out * line.unit_price, line.commission_rate) - kept_before,
        returned=returned, created_at=at,
    )  # fmt: skip


def returns(apps, lines):
    """What came back of each line, as (units, when): the ledger's restocks under the order's number."""
    Movement = apps.get_model("inventory", "Movement")
    OrderLine = apps.get_model("orders", "OrderLine")
    found = defaultdict(list)
    line_of = {
        (number, option_id): pk
        for pk, number, option_id in OrderLine.objects.filter(pk__in=[line.pk for line in lines]).values_list(
            "pk", "order__number", "option_id"
        )
    }
    restocks = (
        Movement.objects.filter(reference__in={number for number, _option in line_of}, kind="restock")
        .order_by("pk")
        .values_list("reference", "stock__option_id", "delta_on_hand", "created_at")
    )
    for number, option_id, units, at in restocks:
        if pk := line_of.get((number, option_id)):
            found[pk].append((units, at))
    return {line.pk: _within(found[line.pk], line.returned) for line in lines}


def _within(restocks, returned):
    """The line says how many came back; a ledger that says otherwise has been tampered with."""
    kept = []
    for units, at in restocks:
        units = min(units, returned)
        if units:
            kept.append((units, at))
            returned -= units
    return kept


# --- What was settled ---------------------------------------------------------------------------------


def midnight(day):
    return timezone.make_aware(datetime.combine(day, time.min))


def claim(apps, schema_editor):
    """Approved settlements claim their entries, period by period, and say at which rate these were sold."""
    Settlement = apps.get_model("orders", "Settlement")
    moved = products_moved(apps)
    approved = defaultdict(list)
    for row in Settlement.objects.filter(status="approved").order_by("pk"):
        if not row.entries.exists():
            approved[row.period_start, row.period_end].append(row)
    for first, last in sorted(approved):
        claim_period(apps, approved[first, last], moved)


def products_moved(apps):
    """Products that somebody gave another store at the desk, by its log."""
    LogEntry = apps.get_model("admin", "LogEntry")
    changes = LogEntry.objects.filter(
        content_type__app_label="shop", content_type__model="product", change_message__contains='"Store"'
    )
    return {int(pk) for pk in changes.values_list("object_id", flat=True).distinct() if pk.isdecimal()}


def claim_period(apps, rows, moved):
    SettlementEntry = apps.get_model("orders", "SettlementEntry")
    days = (midnight(rows[0].period_start), midnight(rows[0].period_end + timedelta(days=1)))
    entries = SettlementEntry.objects.filter(
        settlement=None, created_at__gte=days[0], created_at__lt=days[1]
    ).order_by()
    not_theirs = defaultdict(set)
    sums = sums_by_product(entries)
    even = {row.store_id for row in rows if not any(missing(row, sums))}
    for row in rows:
        if row.store_id not in even:
            for product, store in explain(row, sums, moved, even):
                if store == row.store_id:
                    not_theirs[row.pk].add(product)
                else:
                    move(apps, entries.filter(line__option__product=product), row.store_id)
                    sums = sums_by_product(entries)
    for row in rows:
        theirs = entries.filter(store=row.store_id)
        theirs = theirs.exclude(line__option__product__in=not_theirs[row.pk])
        set_rate(apps, theirs, row.commission_rate)
        for chunk in chunks(list(theirs.values_list("pk", flat=True))):
            SettlementEntry.objects.filter(pk__in=chunk).update(settlement=row)


def sums_by_product(entries):
    """(product, store) -> units, gross, returned units, refunds."""
    sold = Q(returned=0)
    rows = entries.values_list("line__option__product", "store").annotate(
        a=Sum("units", filter=sold, default=0), b=Sum("won", filter=sold, default=0),
        c=Sum("units", filter=~sold, default=0), d=Sum("won", filter=~sold, default=0),
    )  # fmt: skip
    return {(product, store): (int(a), int(b), -int(c), -int(d)) for product, store, a, b, c, d in rows}


def missing(row, sums):
    """What a settlement says beyond what its store's entries come to."""
    says = (row.units, row.gross, row.returned_units, row.refunds)
    for (_product, store), figures in sums.items():
        if store == row.store_id:
            says = tuple(said - there for said, there in zip(says, figures, strict=True))
    return says


def explain(row, sums, moved, even):
    """The few (product, store) that make up the difference exactly: of other stores, or of its own.

    Those that the log says were moved come first, and may be of both kinds at once.
    """
    wanted = missing(row, sums)
    signed = {
        key: tuple(-n for n in figures) if key[1] == row.store_id else figures
        for key, figures in sums.items()
        if key[1] not in even
    }
    logged = {key: figures for key, figures in signed.items() if key[0] in moved}
    alike = {
        key: figures
        for key, figures in signed.items()
        if all(min(0, want) <= n <= max(0, want) for n, want in zip(figures, wanted, strict=True))
    }
    return exactly(wanted, logged, 3) or exactly(wanted, alike, 2) or ()


def exactly(wanted, candidates, most):
    """The smallest choice of candidates, of at most so many, whose figures add up to what is wanted."""
    for size in range(1, most + 1 if len(candidates) <= MOST_IN_PAIRS // most else 2):
        for keys in combinations(sorted(candidates), size):
            total = (0, 0, 0, 0)
            for key in keys:
                total = tuple(map(add, total, candidates[key]))
            if total == wanted:
                return keys
    return ()


def move(apps, entries, store_id):
    """These entries are another store's; so are the lines whose sale is among them, and what came back later."""
    SettlementEntry = apps.get_model("orders", "SettlementEntry")
    OrderLine = apps.get_model("orders", "OrderLine")
    ids = list(entries.values_list("pk", flat=True))
    lines = list(entries.filter(returned=0).values_list("line_id", flat=True))
    for chunk in chunks(ids):
        SettlementEntry.objects.filter(pk__in=chunk).update(store=store_id)
    for chunk in chunks(lines):
        OrderLine.objects.filter(pk__in=chunk).update(store=store_id)
        SettlementEntry.objects.filter(line__in=chunk, settlement=None).update(store=store_id)


def set_rate(apps, entries, rate):
    """Sold at this rate, as it was settled: what comes back is taken back at the same."""
    SettlementEntry = apps.get_model("orders", "SettlementEntry")
    OrderLine = apps.get_model("orders", "OrderLine")
    other = entries.filter(returned=0).exclude(line__commission_rate=rate)
    for chunk in chunks(list(other.values_list("line_id", flat=True))):
        OrderLine.objects.filter(pk__in=chunk).update(commission_rate=rate)
        rows = list(SettlementEntry.objects.filter(line__in=chunk).select_related("line"))
        for row in rows:
            again = entry(SettlementEntry, row.line, row.units, row.returned, row.created_at)
            row.commission = again.commission
        SettlementEntry.objects.bulk_update(rows, ["commission"], batch_size=500)


def chunks(ids, size=1_000):
    return (ids[i : i + size] for i in range(0, len(ids), size))


class Migration(migrations.Migration):
    atomic = False  # each batch is a transaction of its own: the table may have millions of rows

    dependencies = [
        ("orders", "0006_settlement_entries"),
        ("admin", "0001_initial"),
        ("inventory", "0001_initial"),
        ("shop", "0004_store_commission"),
    ]

    operations = [
        migrations.RunPython(fill_lines, migrations.RunPython.noop),
        migrations.RunPython(write_entries, migrations.RunPython.noop),
        migrations.RunPython(claim, migrations.RunPython.noop),
    ]
