"""What `migrate` leaves ready: the full-text index of product names (MariaDB) and the first categories."""

from django.db import migrations


def create_fulltext_index(apps, schema_editor):
    if schema_editor.connection.vendor == "mysql":
        schema_editor.execute("CREATE FULLTEXT INDEX product_name_fulltext ON shop_product (name)")


def drop_fulltext_index(apps, schema_editor):
    if schema_editor.connection.vendor == "mysql":
        schema_editor.execute("DROP INDEX product_name_fulltext ON shop_product")


def create_categories(apps, schema_editor):
    # Siblings are ordered by slug and numbered in base 36, four digits a level (treebeard's MP_Node).
    Category = apps.get_model("shop", "Category")
    for number, (slug, name) in enumerate([("outer", "Outer"), ("pants", "Pants"), ("top", "Top")], start=1):
        Category.objects.create(slug=slug, name=name, path=f"{number:04d}", depth=1, numchild=0)


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]

    operations = [
        # MariaDB commits at every change of a table: there is nothing to roll back.
        migrations.RunPython(create_fulltext_index, drop_fulltext_index, atomic=False),
        migrations.RunPython(create_categories, migrations.RunPython.noop),
    ]
