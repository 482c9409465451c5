"""Secrets of second factors are sealed where they were in the clear; backwards, in the clear again."""

import re
from binascii import hexlify, unhexlify

from django.db import migrations

from yousinsa.security.sealing import seal, unseal

# The column is 80 characters wide: room for the seal of so many bytes. The shop's own secrets have 20.
MOST_BYTES = 32


def in_the_clear(key):
    return re.fullmatch(r"(?:[0-9a-fA-F]{2})*", key) is not None


def seal_secrets(apps, schema_editor):
    for device in apps.get_model("otp_totp", "TOTPDevice").objects.select_for_update().order_by("pk"):
        if not in_the_clear(device.key):
            continue
        secret = unhexlify(device.key)
        if len(secret) > MOST_BYTES:
            raise ValueError(
                f"The second factor {device.pk} of user {device.user_id} has a secret of {len(secret)} bytes, of "
                f"which at most {MOST_BYTES} can be sealed: delete it (its user sets up another one), then go on."
            )
        device.key = seal(secret, f"totp:{device.user_id}")
        device.save(update_fields=["key"])


def unseal_secrets(apps, schema_editor):
    for device in apps.get_model("otp_totp", "TOTPDevice").objects.select_for_update().order_by("pk"):
        if not in_the_clear(device.key):
            device.key = hexlify(unseal(device.key, f"totp:{device.user_id}")).decode()
            device.save(update_fields=["key"])


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0009_roles_that_agree"),
        ("otp_totp", "0003_add_timestamps"),
    ]

    operations = [
        migrations.CreateModel(
            name="Authenticator",
            fields=[],
            options={"proxy": True, "default_permissions": (), "indexes": [], "constraints": []},
            bases=("otp_totp.totpdevice",),
        ),
        migrations.RunPython(seal_secrets, unseal_secrets),
    ]
