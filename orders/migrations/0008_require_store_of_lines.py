import django.db.models.deletion
from django.db import OperationalError, migrations, models

BINARY_LOG_NEEDS_SUPER = 1419
FROZEN = "An approved settlement cannot be changed."
APPEND_ONLY = "A settlement entry cannot be changed."
KEPT = ("line_id", "store_id", "units", "won", "commission", "returned")
CHANGED = " OR ".join(f"NEW.{column} <> OLD.{column}" for column in KEPT)
# Claimed once; a draft may be deleted, which sets its entries free.
CLAIMED = "OLD.settlement_id IS NOT NULL AND (NEW.created_at <> OLD.created_at OR NEW.settlement_id <> OLD.settlement_id"

TRIGGERS = {
    # SQLite made the table of settlements anew, without its trigger. Its triggers look at no other table,
    # since it could not make that table anew with them.
    "sqlite": (
        f"""CREATE TRIGGER settlement_frozen BEFORE UPDATE ON orders_settlement
            WHEN OLD.status = 'approved' BEGIN SELECT RAISE(ABORT, '{FROZEN}'); END""",
        f"""CREATE TRIGGER settlement_entry_kept BEFORE UPDATE ON orders_settlemententry
            WHEN {CHANGED} OR ({CLAIMED})) BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END""",
    ),
    "mysql": (
        f"""CREATE TRIGGER settlement_frozen BEFORE UPDATE ON orders_settlement FOR EACH ROW
            IF OLD.status = 'approved' THEN
                SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{FROZEN}';
            END IF""",  # noqa: S608
        f"""CREATE TRIGGER settlement_entry_kept BEFORE UPDATE ON orders_settlemententry FOR EACH ROW
            IF {CHANGED} OR ({CLAIMED} OR (NEW.settlement_id IS NULL AND EXISTS (
                SELECT 1 FROM orders_settlement WHERE id = OLD.settlement_id AND status = 'approved'
            )))) THEN
                SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{APPEND_ONLY}';
            END IF""",  # noqa: S608
    ),
}


def freeze(apps, schema_editor):
    """Have the database refuse to change an approved settlement and what entries say, whoever asks it to."""
    thaw(apps, schema_editor, "settlement_frozen")
    try:
        with schema_editor.connection.cursor() as cursor:
            for statement in TRIGGERS[schema_editor.connection.vendor]:
                cursor.execute(statement)
    except OperationalError as exc:
        # As for the first of them (0004_settlement): the code keeps the promise there as everywhere.
        if exc.args[0] != BINARY_LOG_NEEDS_SUPER:
            raise


def thaw(apps, schema_editor, name="settlement_entry_kept"):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER IF EXISTS {name}")


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0007_fill_settlement_entries"),
        ("shop", "0004_store_commission"),
    ]

    operations = [
        migrations.AlterField(
            model_name="orderline",
            name="commission_rate",
            field=models.PositiveSmallIntegerField(
                help_text="A hundredth of a percent: 1000 is 10%.", verbose_name="commission (basis points)"
            ),
        ),
        migrations.AlterField(
            model_name="orderline",
            name="store",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="order_lines",
                to="shop.store",
                verbose_name="store",
            ),
        ),
        migrations.AddConstraint(
            model_name="orderline",
            constraint=models.CheckConstraint(
                condition=models.Q(("commission_rate__lte", 10000)), name="line_commission_rate_in_range"
            ),
        ),
        migrations.RunPython(freeze, thaw),
    ]
