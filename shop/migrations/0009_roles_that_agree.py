"""Roles that contradict each other, which the database refuses from now on, are made one.

Each account keeps what it could do at the desk and gets nothing that it could not: a superuser who is a
store owner too stays a superuser, and a superuser who may not sign in to the desk stays away from it. Those
accounts are named, and their tokens, which say otherwise, end.
"""

from django.db import migrations, models


def make_one(apps, schema_editor):
    User = apps.get_model("shop", "User")
    owners = list(User.objects.filter(role="store_owner", is_superuser=True, is_staff=True))
    no_operators = list(User.objects.filter(is_superuser=True, is_staff=False))
    strangers = list(User.objects.exclude(role__in=["buyer", "store_owner"]))
    for user in (*owners, *strangers):
        _change(apps, user, role="buyer")
        user.groups.remove(*user.groups.filter(name="Store owner"))
    for user in no_operators:
        _change(apps, user, is_superuser=False)


def _change(apps, user, **changes):
    apps.get_model("shop", "User").objects.filter(pk=user.pk).update(**changes)
    apps.get_model("shop", "TokenRevocation").objects.create(user_id=user.pk, token_id="")
    said = ", ".join(f"{name} is {value!r} now" for name, value in changes.items())
    print(f"\n    roles that contradict each other: account {user.pk} ({user.email}): {said}", end="")


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("shop", "0008_sessions_end_with_rights"),
    ]

    operations = [
        migrations.RunPython(make_one, migrations.RunPython.noop, elidable=True),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("role__in", ["buyer", "store_owner"])), name="user_role_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("is_superuser", True), ("role", "store_owner"), _negated=True),
                name="user_store_owner_is_no_superuser",
                violation_error_message="A store owner sees what is their own, a superuser everything: choose one of the two.",
            ),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("is_superuser", False), ("is_staff", True), _connector="OR"),
                name="user_superuser_is_operator",
                violation_error_message="A superuser is an operator as well.",
            ),
        ),
    ]
