from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0005_text_keys_and_search_terms"),
    ]

    operations = [
        migrations.AddField(
            model_name="option",
            name="is_active",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="Take this away to stop the sale of this size and colour alone, in drops as well.",
                verbose_name="on sale",
            ),
        ),
        migrations.AddIndex(
            model_name="option",
            index=models.Index(fields=["is_active"], name="option_is_active"),
        ),
    ]
