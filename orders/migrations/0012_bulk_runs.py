"""What is done to many orders at once: runs and their rows."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import yousinsa.db.fields


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0011_search_terms_corrections_and_what_was_sold"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="BulkRun",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("ship", "ship"),
                            ("deliver", "mark as delivered"),
                            ("confirm", "confirm payment"),
                        ],
                        max_length=10,
                        verbose_name="what",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("draft", "not begun"), ("running", "under way"), ("done", "done")],
                        default="draft",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("source", models.CharField(blank=True, default="", max_length=100, verbose_name="source")),
                ("language", models.CharField(max_length=10, verbose_name="language")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="drafted at"),
                ),
                ("begun_at", models.DateTimeField(blank=True, null=True, verbose_name="begun at")),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="finished")),
                ("held_until", models.DateTimeField(blank=True, null=True, verbose_name="held until")),
                (
                    "by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
            ],
            options={
                "verbose_name": "bulk run",
                "verbose_name_plural": "bulk runs",
                "ordering": ["-id"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="BulkRow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "place",
                    models.IntegerField(
                        help_text="In the file, or in the list that was chosen from.", verbose_name="row"
                    ),
                ),
                (
                    "number",
                    yousinsa.db.fields.ExactCharField(
                        blank=True, help_text="As it was given.", max_length=40, verbose_name="order"
                    ),
                ),
                ("carrier", models.CharField(blank=True, default="", max_length=50, verbose_name="carrier")),
                (
                    "tracking_number",
                    models.CharField(blank=True, default="", max_length=50, verbose_name="tracking number"),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("waiting", "waiting"), ("done", "done"), ("refused", "refused")],
                        default="waiting",
                        max_length=10,
                        verbose_name="outcome",
                    ),
                ),
                ("said", models.CharField(blank=True, default="", max_length=300, verbose_name="reason")),
                ("tried_at", models.DateTimeField(blank=True, null=True, verbose_name="tried at")),
                (
                    "order",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="orders.order",
                        verbose_name="order",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rows",
                        to="orders.bulkrun",
                        verbose_name="bulk run",
                    ),
                ),
            ],
            options={
                "verbose_name": "row of a bulk run",
                "verbose_name_plural": "rows of bulk runs",
                "ordering": ["run", "place"],
                "default_permissions": (),
            },
        ),
        migrations.AddIndex(
            model_name="bulkrun",
            index=models.Index(fields=["status"], name="bulkrun_status"),
        ),
        migrations.AddConstraint(
            model_name="bulkrun",
            constraint=models.CheckConstraint(
                condition=models.Q(("action__in", ["ship", "deliver", "confirm"])),
                name="bulkrun_action_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkrun",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("begun_at__isnull", True), ("finished_at__isnull", True), ("status", "draft")),
                    models.Q(
                        ("begun_at__isnull", False), ("finished_at__isnull", True), ("status", "running")
                    ),
                    models.Q(("begun_at__isnull", False), ("finished_at__isnull", False), ("status", "done")),
                    _connector="OR",
                ),
                name="bulkrun_times_fit_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkrun",
            constraint=models.CheckConstraint(
                condition=models.Q(("held_until__isnull", True), ("status", "running"), _connector="OR"),
                name="bulkrun_held_while_running",
            ),
        ),
        migrations.AddIndex(
            model_name="bulkrow",
            index=models.Index(fields=["run", "state", "place"], name="bulkrow_run_state_place"),
        ),
        migrations.AddConstraint(
            model_name="bulkrow",
            constraint=models.UniqueConstraint(fields=("run", "place"), name="bulkrow_place_unique"),
        ),
        migrations.AddConstraint(
            model_name="bulkrow",
            constraint=models.UniqueConstraint(fields=("run", "order"), name="bulkrow_order_once_a_run"),
        ),
        migrations.AddConstraint(
            model_name="bulkrow",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state", "refused"),
                    models.Q(("order__isnull", False), ("state__in", ["waiting", "done"])),
                    _connector="OR",
                ),
                name="bulkrow_has_order_or_is_refused",
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkrow",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "refused"), _negated=True),
                    models.Q(("said", ""), _negated=True),
                    _connector="OR",
                ),
                name="bulkrow_refused_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkrow",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "done"), _negated=True), ("tried_at__isnull", False), _connector="OR"
                ),
                name="bulkrow_done_was_tried",
            ),
        ),
    ]
