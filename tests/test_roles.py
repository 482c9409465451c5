"""Roles that contradict each other: refused by the form, by the database, and made one by the migration."""

import json
import os
import subprocess
import sys

import pytest
from django.db import IntegrityError, transaction

from shop.models import Role, User
from tests.support.desk import account_form, save
from tests.support.environment import DATABASE, mariadb_server
from tests.support.factories import make_user
from tests.support.problems import nothing_changes
from tests.support.server import ROOT


@pytest.mark.parametrize(
    "changes",
    [
        {"role": Role.STORE_OWNER, "is_superuser": True, "is_staff": True},
        {"is_superuser": True, "is_staff": False},
        {"role": "emperor"},
        {"role": ""},
    ],
)
@pytest.mark.django_db
def test_the_database_refuses_what_contradicts_itself(changes):
    user = make_user()
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=user.pk).update(**changes)


@pytest.mark.parametrize(
    "fields",
    [
        {"role": Role.STORE_OWNER}, {"role": Role.STORE_OWNER, "is_staff": True}, {"is_staff": True},
        {"is_staff": True, "is_superuser": True}, {},
    ],
)  # fmt: skip
@pytest.mark.django_db
def test_what_agrees_is_let_in(fields):
    user = make_user()
    assert User.objects.filter(pk=user.pk).update(**fields) == 1 or not fields


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"role": Role.STORE_OWNER, "is_staff": "on", "is_superuser": "on"}, "choose one of the two"),
        ({"is_superuser": "on"}, "A superuser is an operator as well."),
    ],
)
@pytest.mark.django_db
def test_the_desk_says_why(desk, changes, said):
    user = make_user()
    page = save(desk, user, account_form(user, **changes))
    assert page.status_code == 200
    assert said in page.content.decode()
    user.refresh_from_db()
    assert not user.is_superuser


@pytest.mark.django_db
def test_a_superuser_cannot_become_a_store_owner_by_their_own_hand(desk, operator):
    with nothing_changes():
        page = save(desk, operator, account_form(operator, role=Role.STORE_OWNER))
    assert "choose one of the two" in page.content.decode()


SCRIPT = """
import django, json, os
django.setup()
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

call_command("migrate", verbosity=0)
call_command("migrate", "shop", "0008", verbosity=0)
apps = MigrationExecutor(connection).loader.project_state([("shop", "0008_sessions_end_with_rights")]).apps
User, Group = apps.get_model("shop", "User"), apps.get_model("auth", "Group")
rows = [("both", "store_owner", True, True), ("outside", "buyer", False, True),
        ("owner outside", "store_owner", False, True), ("strange", "emperor", False, False),
        ("owner", "store_owner", True, False), ("operator", "buyer", True, True)]
for email, role, staff, superuser in rows:
    user = User.objects.create(email=email, role=role, is_staff=staff, is_superuser=superuser)
    if role == "store_owner":
        user.groups.add(Group.objects.get(name="Store owner"))
call_command("migrate", verbosity=0)
from shop.models import TokenRevocation, User
print("\\n" + json.dumps({
    "people": {u.email: [u.role, u.is_staff, u.is_superuser, u.groups.count()] for u in User.objects.all()},
    "ended": sorted(TokenRevocation.objects.values_list("user__email", flat=True)),
}))
"""


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    address = f"sqlite:///{folder}/old.sqlite3"
    if DATABASE == "mariadb":
        address = mariadb_server().create_database(f"yousinsa_roles_{os.getpid()}")
    settings = {
        "DATABASE_URL": address, "VAR_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "yousinsa.settings",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=os.environ | settings,
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"said": done.stdout}


def test_the_migration_gives_nobody_more_than_they_had_at_the_desk(migrated):
    assert migrated["people"] == {
        "both": ["buyer", True, True, 0],
        "outside": ["buyer", False, False, 0],
        "owner outside": ["store_owner", False, False, 1],
        "strange": ["buyer", False, False, 0],
        "owner": ["store_owner", True, False, 1],
        "operator": ["buyer", True, True, 0],
    }


def test_it_names_whom_it_changed_and_ends_their_tokens(migrated):
    changed = ["both", "outside", "owner outside", "strange"]
    assert migrated["ended"] == changed
    assert sorted(email for email in migrated["people"] if f"({email})" in migrated["said"]) == changed
