"""What finds an order, what was corrected of it, and its lines as they were sold."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models
from django.db.models import Max, OuterRef, Subquery

import yousinsa.db.fields
from orders.models.terms import phone_term, recipient_term, tracking_term

ORDERS_AT_A_TIME = 1_000
LINES_AT_A_TIME = 20_000


def note_terms(apps, schema_editor):
    term = apps.get_model("orders", "OrderTerm")
    rows = apps.get_model("orders", "Order").objects.order_by("pk")
    last = -1
    while page := list(
        rows.filter(pk__gt=last).values_list("pk", "recipient", "phone", "tracking_number")[:ORDERS_AT_A_TIME]
    ):
        last = page[-1][0]
        terms = [
            term(order_id=id, kind=kind, term=text)
            for id, recipient, phone, number in page
            for kind, text in (
                ("recipient", recipient_term(recipient)), ("phone", phone_term(phone)),
                ("tracking", tracking_term(number)),
            )
            if text
        ]  # fmt: skip
        term.objects.bulk_create(terms)


def freeze_lines(apps, schema_editor):
    """What was sold before looks as its option does now: nobody wrote down how it did then."""
    lines = apps.get_model("orders", "OrderLine").objects.order_by()
    option = apps.get_model("shop", "Option").objects.filter(pk=OuterRef("option_id")).order_by()
    now = {name: Subquery(option.values(name)[:1]) for name in ("sku", "size", "color")}
    newest = lines.aggregate(last=Max("pk"))["last"] or 0
    for first in range(0, newest + 1, LINES_AT_A_TIME):
        lines.filter(pk__gt=first, pk__lte=first + LINES_AT_A_TIME).update(**now)


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0010_forget_card_tokens"),
        ("shop", "0008_sessions_end_with_rights"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="order",
            options={
                "ordering": ["-id"],
                "permissions": [
                    ("confirm_payment", "Can confirm payment of order"),
                    ("ship_order", "Can ship order"),
                    ("deliver_order", "Can mark order as delivered"),
                    ("cancel_order", "Can cancel order"),
                    ("return_order", "Can take units of order back"),
                    ("correct_order", "Can correct address and tracking number of order"),
                    ("lose_order", "Can mark order as lost on its way"),
                ],
                "verbose_name": "order",
                "verbose_name_plural": "orders",
            },
        ),
        migrations.AddField(
            model_name="orderline",
            name="color",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=50, verbose_name="colour"
            ),
        ),
        migrations.AddField(
            model_name="orderline",
            name="size",
            field=models.CharField(blank=True, db_default="", default="", max_length=30, verbose_name="size"),
        ),
        migrations.AddField(
            model_name="orderline",
            name="sku",
            field=yousinsa.db.fields.ExactCharField(
                blank=True, db_default="", default="", max_length=64, verbose_name="SKU"
            ),
        ),
        migrations.CreateModel(
            name="OrderCorrection",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "field",
                    models.CharField(
                        choices=[
                            ("recipient", "recipient"),
                            ("phone", "phone"),
                            ("postal_code", "postal code"),
                            ("address1", "address"),
                            ("address2", "address, second line"),
                            ("carrier", "carrier"),
                            ("tracking_number", "tracking number"),
                        ],
                        max_length=20,
                        verbose_name="what",
                    ),
                ),
                ("before", models.CharField(blank=True, max_length=200, verbose_name="before")),
                ("after", models.CharField(blank=True, max_length=200, verbose_name="after")),
                (
                    "created_at",
                    models.DateTimeField(db_index=True, default=django.utils.timezone.now, verbose_name="at"),
                ),
                (
                    "actor",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="actor",
                    ),
                ),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="corrections",
                        to="orders.order",
                        verbose_name="order",
                    ),
                ),
            ],
            options={
                "verbose_name": "correction",
                "verbose_name_plural": "corrections",
                "ordering": ["-id"],
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "field__in",
                                [
                                    "recipient",
                                    "phone",
                                    "postal_code",
                                    "address1",
                                    "address2",
                                    "carrier",
                                    "tracking_number",
                                ],
                            )
                        ),
                        name="correction_field_known",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="OrderTerm",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("recipient", "recipient"),
                            ("phone", "phone"),
                            ("tracking", "tracking number"),
                        ],
                        max_length=10,
                        verbose_name="what",
                    ),
                ),
                ("term", yousinsa.db.fields.ExactCharField(max_length=100, verbose_name="term")),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="terms",
                        to="orders.order",
                        verbose_name="order",
                    ),
                ),
            ],
            options={
                "verbose_name": "order's search term",
                "verbose_name_plural": "orders' search terms",
                "default_permissions": (),
                "indexes": [models.Index(fields=["kind", "term", "order"], name="order_term_kind_term")],
                "constraints": [
                    models.UniqueConstraint(fields=("order", "kind"), name="order_term_unique"),
                    models.CheckConstraint(
                        condition=models.Q(("term", ""), _negated=True), name="order_term_given"
                    ),
                ],
            },
        ),
        migrations.RunPython(freeze_lines, migrations.RunPython.noop, elidable=True),
        migrations.RunPython(note_terms, migrations.RunPython.noop, elidable=True),
    ]
