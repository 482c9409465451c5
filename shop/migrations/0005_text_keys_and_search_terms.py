"""Text as it is let in now: composed, and without what cannot be seen; keys that tell it apart; search terms.

Rows whose text another row would then have stay as they are, and are named: `manage.py check_text` names them
again at any time.
"""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import CharField, Value
from django.db.models.functions import Cast, Concat

import yousinsa.db.fields
from shop.tidying import unfound, untidy


def stand_apart(apps, schema_editor):
    # Each row its own key, until the text gives it one: rows whose texts are the same keep it.
    own = Concat(Value("#"), Cast("id", CharField()))
    apps.get_model("shop", "Option").objects.update(look_key=own)
    apps.get_model("shop", "Store").objects.update(name_key=own)


def tidy(apps, schema_editor):
    def model_named(name):
        return apps.get_model("shop", name)

    for row in untidy(model_named, write=True):
        if row.stays:
            print(f"\n    stays as it is, as another row would be the same: {row}", end="")
    for _product in unfound(model_named, write=True):
        pass


def drop_fulltext_index(apps, schema_editor):
    if schema_editor.connection.vendor == "mysql":
        schema_editor.execute("DROP INDEX product_name_fulltext ON shop_product")


def create_fulltext_index(apps, schema_editor):
    if schema_editor.connection.vendor == "mysql":
        schema_editor.execute("CREATE FULLTEXT INDEX product_name_fulltext ON shop_product (name)")


class Migration(migrations.Migration):
    dependencies = [("shop", "0004_store_commission")]

    operations = [
        migrations.AddField(
            "option", "look_key",
            yousinsa.db.fields.ExactCharField(default="", editable=False, max_length=250), preserve_default=False,
        ),
        migrations.AddField(
            "option", "sku_key",
            yousinsa.db.fields.ExactCharField(db_index=True, default="", editable=False, max_length=200),
            preserve_default=False,
        ),
        migrations.AddField(
            "product", "name_key",
            yousinsa.db.fields.ExactCharField(default="", editable=False, max_length=600), preserve_default=False,
        ),
        migrations.AddField(
            "store", "name_key",
            yousinsa.db.fields.ExactCharField(default="", editable=False, max_length=300), preserve_default=False,
        ),
        migrations.CreateModel(
            "SearchTerm",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("term", yousinsa.db.fields.ExactCharField(max_length=100, verbose_name="term")),
                (
                    "product",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="search_terms",
                        to="shop.product", verbose_name="product",
                    ),
                ),
            ],
            options={
                "verbose_name": "search term",
                "verbose_name_plural": "search terms",
                "default_permissions": (),
                "indexes": [models.Index(fields=["term", "product"], name="search_term_product")],
                "constraints": [
                    models.UniqueConstraint(fields=("product", "term"), name="search_product_term_unique")
                ],
            },
        ),
        migrations.RunPython(stand_apart, migrations.RunPython.noop),
        migrations.AddConstraint(
            "option", models.UniqueConstraint(fields=("product", "look_key"), name="option_look_unique", violation_error_message="The product has an option of this size and colour already.")
        ),
        migrations.AddConstraint(
            "store", models.UniqueConstraint(fields=("owner", "name_key"), name="store_owner_name_key_unique", violation_error_message="The owner has a store of this name already.")
        ),
        # The foreign keys have the new constraints' indexes to lean on.
        migrations.RemoveConstraint("option", "option_size_color_unique"),
        migrations.RemoveConstraint("store", "store_owner_name_unique"),
        migrations.RunPython(tidy, migrations.RunPython.noop),
        migrations.RemoveIndex("product", "product_name_id"),
        migrations.AddIndex("product", models.Index(fields=["name_key", "id"], name="product_name_key_id")),
        # MariaDB commits at every change of a table: there is nothing to roll back.
        migrations.RunPython(drop_fulltext_index, create_fulltext_index, atomic=False),
    ]  # fmt: skip
