from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0002_drops"),
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
                ],
                "verbose_name": "order",
                "verbose_name_plural": "orders",
            },
        ),
        migrations.AlterModelOptions(
            name="refund",
            options={
                "ordering": ["-id"],
                "permissions": [("pay_out_refund", "Can mark refund as paid out")],
                "verbose_name": "refund",
                "verbose_name_plural": "refunds",
            },
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["status", "decided_at", "amount"], name="payment_status_decided"),
        ),
    ]
