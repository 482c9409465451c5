from django.db import migrations, models

from yousinsa.text.keys import key

OPERATORS = ("Catalogue editor", "Stock clerk", "Order desk", "Finance")
STORE_OWNER = "Store owner"


def tell_apart(apps, schema_editor):
    """The oldest store keeps its name; further ones of the same name get a number, which is said."""
    Store = apps.get_model("shop", "Store")
    stores = list(Store.objects.order_by("id").values_list("id", "name"))
    wanted, taken = {key(name) for _id, name in stores}, set()
    for store_id, name in stores:
        new, number = name, 1
        while key(new) in taken or (new != name and key(new) in wanted):
            number += 1
            new = f"{name[: 100 - len(f' ({number})')]} ({number})"
        taken.add(key(new))
        if new != name:
            print(f"\n    another store is called {name!r}: store {store_id} is {new!r} now", end="")
        Store.objects.filter(pk=store_id).update(name=new, name_key=key(new))


def keep_what_is_seen(apps, schema_editor):
    """Whoever sees every store's records today goes on seeing them; the groups are granted after migrate."""
    content_type, _made = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label="shop", model="store"
    )
    permission, _made = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename="see_all_stores",
        defaults={"name": "Can see what belongs to any store"},
    )  # fmt: skip
    seeing = apps.get_model("shop", "User").objects.filter(is_staff=True, is_superuser=False)
    for user in seeing.exclude(role="store_owner").exclude(groups__name=STORE_OWNER):
        if not user.groups.filter(name__in=OPERATORS).exists():
            user.user_permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0006_option_on_sale"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="store",
            options={
                "ordering": ["-id"],
                "permissions": [
                    ("decide_store", "Can accept, reject and close store"),
                    ("see_all_stores", "Can see what belongs to any store"),
                ],
                "verbose_name": "store",
                "verbose_name_plural": "stores",
            },
        ),
        # MariaDB keeps an index that a foreign key leans on: it has its own before the shared one goes.
        migrations.AddIndex(
            model_name="store", index=models.Index(fields=["owner", "id"], name="store_owner_id")
        ),
        migrations.RunPython(tell_apart, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="store",
            constraint=models.UniqueConstraint(
                fields=["name_key"], name="store_name_key_unique",
                violation_error_message="There is a store with this name already.",
            ),
        ),
        migrations.RemoveConstraint(model_name="store", name="store_owner_name_key_unique"),
        migrations.RunPython(keep_what_is_seen, migrations.RunPython.noop),
    ]  # fmt: skip
