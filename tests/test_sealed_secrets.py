"""Secrets of second factors: sealed in the database, read after another SECRET_KEY, migrated both ways."""

import os
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django_otp.plugins.otp_totp.models import TOTPDevice
from hypothesis import given
from hypothesis import strategies as st

from shop.desk.access import second_factor
from shop.models import Authenticator, User
from tests.support.environment import DATABASE, mariadb_server
from tests.support.factories import PASSWORD, make_user
from tests.support.server import ROOT
from tests.test_admin_sign_in import code_of, is_in, sign_in, unlock
from yousinsa.security.sealing import Unreadable, seal, unseal

OLD, NEW = "old-" + "o" * 60, "new-" + "n" * 60
SECRET = bytes(range(20))


@pytest.fixture
def operator(db) -> User:
    return make_user("operator@example.com", staff=True, password=PASSWORD)


@pytest.fixture
def device(operator) -> Authenticator:
    return Authenticator.objects.create(user=operator, name="desk", key=SECRET.hex(), confirmed=True)


def stored(device) -> str:
    return TOTPDevice.objects.values_list("key", flat=True).get(pk=device.pk)


# --- The seal -----------------------------------------------------------------------------------------------


@given(st.binary(max_size=64), st.text(max_size=20))
def test_what_is_sealed_comes_out_again_for_whom_it_was_sealed_only(secret, owner):
    sealed = seal(secret, owner)
    assert unseal(sealed, owner) == secret
    with pytest.raises(Unreadable):
        unseal(sealed, f"{owner}.")


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=63))
def test_not_one_character_of_it_can_be_changed(position, step):
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    sealed = seal(SECRET, "x")
    at = position % len(sealed)
    other = alphabet[(alphabet.index(sealed[at]) + step) % 64]
    with pytest.raises(Unreadable):
        unseal(sealed[:at] + other + sealed[at + 1 :], "x")


@pytest.mark.parametrize("text", ["", "x", "ab" * 20, "not base64 at all", "%%%%", "é", "A" * 4])
def test_what_was_never_sealed_is_unreadable(text):
    with pytest.raises(Unreadable):
        unseal(text, "x")


def test_two_seals_of_one_secret_are_not_alike():
    assert seal(SECRET, "x") != seal(SECRET, "x")


# --- In the database ----------------------------------------------------------------------------------------


def test_the_database_does_not_have_the_secret(operator, device):
    kept = stored(device)
    assert SECRET.hex() not in kept
    assert len(kept) == 64
    assert Authenticator.objects.get().bin_key == SECRET
    second_factor.new_device(operator)
    assert all(len(key) == 64 for key in TOTPDevice.objects.values_list("key", flat=True))


def test_a_secret_that_was_copied_to_another_users_row_opens_nothing(operator, device, client):
    thief = make_user("thief@example.com", staff=True, password=PASSWORD)
    stolen = Authenticator.objects.create(user=thief, name="desk", confirmed=True)
    TOTPDevice.objects.filter(pk=stolen.pk).update(key=stored(device))
    assert sign_in(client, thief, code=code_of(operator)).status_code == 200
    assert not is_in(client)


# --- Another SECRET_KEY -------------------------------------------------------------------------------------


@pytest.fixture
def sealed_under_the_old_key(settings, operator, device):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    Authenticator.objects.all().delete()
    moved = Authenticator.objects.create(user=operator, name="desk", key=SECRET.hex(), confirmed=True)
    settings.SECRET_KEY = NEW
    return moved


def test_the_key_before_opens_it_and_signing_in_seals_it_under_the_new_one(
    sealed_under_the_old_key, settings, operator, client
):
    settings.SECRET_KEY_FALLBACKS = [OLD]
    assert sign_in(client, operator, code=code_of(operator)).status_code == 302
    assert is_in(client)
    settings.SECRET_KEY_FALLBACKS = []
    assert Authenticator.objects.get().bin_key == SECRET


def test_one_command_seals_all_under_the_new_one(sealed_under_the_old_key, settings, capsys):
    settings.SECRET_KEY_FALLBACKS = [OLD]
    call_command("reseal_secrets")
    assert "1 second factors are sealed" in capsys.readouterr().out
    settings.SECRET_KEY_FALLBACKS = []
    assert Authenticator.objects.get().bin_key == SECRET


def test_without_the_key_before_its_codes_are_refused_and_nothing_breaks(
    sealed_under_the_old_key, settings, operator, caplog
):
    client = Client()
    assert sign_in(client, operator, code="123456").status_code == 200
    assert not is_in(client)
    assert f"the second factor of user {operator.pk} cannot be read" in caplog.text
    with pytest.raises(CommandError, match=f"users {operator.pk}"):
        call_command("reseal_secrets")
    (backup, *_rest) = second_factor.new_backup_codes(operator)
    unlock(operator)
    assert sign_in(client, operator, code=backup).status_code == 302
    assert is_in(client)


def test_a_device_that_was_being_set_up_under_a_lost_key_is_made_anew(settings, operator):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    before = second_factor.new_device(operator)
    assert second_factor.new_device(operator) == before
    settings.SECRET_KEY = NEW
    after = second_factor.new_device(operator)
    assert second_factor.picture(after)
    assert Authenticator.objects.get() == after != before


# --- The migration ------------------------------------------------------------------------------------------

SCRIPT = """
import django, os
os.environ["DJANGO_SETTINGS_MODULE"] = "yousinsa.settings"
django.setup()
from django.core.management import call_command
from django_otp.plugins.otp_totp.models import TOTPDevice

call_command("migrate", verbosity=0)
call_command("migrate", "shop", "0008", verbosity=0)
from shop.models import Authenticator, User
user = User.objects.create_user("operator@example.com")
secret = bytes(range(20)).hex()
TOTPDevice.objects.create(user=user, key=secret)
keys = lambda: list(TOTPDevice.objects.values_list("key", flat=True))
call_command("migrate", verbosity=0)
assert keys() != [secret], keys()
assert Authenticator.objects.get().bin_key.hex() == secret
call_command("migrate", "shop", "0008", verbosity=0)
assert keys() == [secret], keys()
TOTPDevice.objects.update(key="ab" * 40)
try:
    call_command("migrate", verbosity=0)
except ValueError as exc:
    print(exc)
"""


def test_secrets_in_the_clear_are_sealed_and_unsealed_on_the_way_back(tmp_path):
    address = f"sqlite:///{tmp_path}/old.sqlite3"
    if DATABASE == "mariadb":
        address = mariadb_server().create_database(f"yousinsa_seals_{os.getpid()}")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
        env={
            "PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path), "SECRET_KEY": OLD, "DATABASE_URL": address,
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "has a secret of 40 bytes, of which at most 32 can be sealed: delete it" in done.stdout
