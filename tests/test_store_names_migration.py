"""A shop in which two stores bear the same name is migrated; who saw every store goes on doing so."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.environment import DATABASE, mariadb_server
from tests.support.server import ROOT

SCRIPT = """
import django, json, os
os.environ["DJANGO_SETTINGS_MODULE"] = "yousinsa.settings"
django.setup()
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

call_command("migrate", verbosity=0)
call_command("migrate", "shop", "0006", verbosity=0)
apps = MigrationExecutor(connection).loader.project_state([("shop", "0006_option_on_sale")]).apps
User, Store = apps.get_model("shop", "User"), apps.get_model("shop", "Store")
Group = apps.get_model("auth", "Group")
people = [User.objects.create(email=f"p{i}@example.com", is_staff=True, role=role)
          for i, role in enumerate(["store_owner", "store_owner", "buyer", "buyer"])]
people[3].groups.add(Group.objects.get(name="Store owner"))
for i, name in enumerate(["Seoul", "SEOUL", "Seoul (2)"]):
    Store.objects.create(owner=people[i], name=name, name_key=name.casefold())
call_command("migrate", verbosity=0)
from shop.models import Store, User
from shop.desk.access.owners import sees_own_only
print("\\n" + json.dumps({
    "names": list(Store.objects.order_by("id").values_list("name", flat=True)),
    "keys": list(Store.objects.order_by("id").values_list("name_key", flat=True)),
    "limited": [sees_own_only(user) for user in User.objects.order_by("id")],
}))
"""


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    address = f"sqlite:///{folder}/old.sqlite3"
    if DATABASE == "mariadb":
        address = mariadb_server().create_database(f"yousinsa_names_{os.getpid()}")
    settings = {
        "DATABASE_URL": address,
        "VAR_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "yousinsa.settings",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=os.environ | settings,
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"said": done.stdout}


def test_the_later_store_gets_a_number_that_no_other_one_has(migrated):
    assert migrated["names"] == ["Seoul", "SEOUL (3)", "Seoul (2)"]
    assert migrated["keys"] == ["seoul", "seoul (3)", "seoul (2)"]
    assert "another store is called 'SEOUL'" in migrated["said"]


def test_who_saw_every_store_goes_on_doing_so(migrated):
    assert migrated["limited"] == [True, True, False, True]
