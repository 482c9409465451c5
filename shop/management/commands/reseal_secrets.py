"""Seal every second factor under the present SECRET_KEY."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from shop.models import Authenticator
from yousinsa.security.sealing import Unreadable


class Command(BaseCommand):
    help = (
        "Seals the secrets of all second factors under SECRET_KEY, also those that were sealed under a key "
        "of SECRET_KEY_FALLBACKS, which nothing needs any more to read them then. Those that no key opens "
        "are named: their users sign in with a backup code, or have the second factor removed, and set up "
        "another one."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        sealed, unreadable = 0, []
        for pk in list(Authenticator.objects.order_by("pk").values_list("pk", flat=True)):
            with transaction.atomic():
                # Locked: a code that is checked meanwhile must not be forgotten.
                device = Authenticator.objects.select_for_update().filter(pk=pk).first()
                if device is None:
                    continue
                try:
                    device.save(update_fields=["key"])
                except Unreadable:
                    unreadable.append(device.user_id)
                else:
                    sealed += 1
        self.stdout.write(f"{sealed} second factors are sealed under the present SECRET_KEY.")
        if unreadable:
            raise CommandError(f"No key opens the second factors of users {', '.join(map(str, unreadable))}.")
