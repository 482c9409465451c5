from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0007_store_names_and_see_all_stores")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="sign_in_version",
            field=models.PositiveIntegerField(default=0, editable=False),
        ),
    ]
