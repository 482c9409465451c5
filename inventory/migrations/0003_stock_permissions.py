from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("inventory", "0002_sold_out"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="stock",
            options={
                "ordering": ["id"],
                "permissions": [
                    ("receive_stock", "Can receive stock"),
                    ("adjust_stock", "Can adjust stock"),
                    ("transfer_stock", "Can move stock between options"),
                    ("count_stock", "Can count stock"),
                ],
                "verbose_name": "stock",
                "verbose_name_plural": "stock",
            },
        ),
    ]
