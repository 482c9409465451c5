from django.db import migrations

# Their rights are in shop/rights/groups.py, which grants them once all permissions exist (post_migrate).
NAMES = ("Catalogue editor", "Stock clerk", "Order desk", "Finance", "Store owner")


def make_groups(apps, schema_editor):
    for name in NAMES:
        apps.get_model("auth", "Group").objects.get_or_create(name=name)


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0002_search_and_categories"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="store",
            options={
                "ordering": ["-id"],
                "permissions": [("decide_store", "Can accept, reject and close store")],
                "verbose_name": "store",
                "verbose_name_plural": "stores",
            },
        ),
        migrations.AlterModelOptions(
            name="user",
            options={
                "ordering": ["-id"],
                "permissions": [
                    ("deactivate_user", "Can deactivate user"),
                    ("remove_second_factor", "Can remove the second factor of user"),
                ],
                "verbose_name": "user",
                "verbose_name_plural": "users",
            },
        ),
        migrations.RunPython(make_groups, migrations.RunPython.noop),
    ]
