from typing import Any

from django.db import migrations


def forget(apps: Any, schema_editor: Any) -> None:
    """Card tokens of attempts that are decided: from now on none is kept beyond that."""
    payments = apps.get_model("orders", "Payment").objects
    payments.exclude(token="").exclude(status__in=["started", "unknown", "waiting"]).update(token="")


class Migration(migrations.Migration):
    dependencies = [("orders", "0009_bounds_troubles_and_unpaid_index")]

    operations = [migrations.RunPython(forget, migrations.RunPython.noop, elidable=True)]
