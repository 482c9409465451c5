"""Write bearer tokens for a load test."""

import os
from argparse import ArgumentParser
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from shop.bulk import ensure_users, in_batches
from shop.models import Role, User
from yousinsa.auth import issue_token
from yousinsa.commands.arguments import file_argument, whole_number

LIFETIME = timedelta(hours=24)
DOMAIN = "load.yousinsa.test"
MAX_BUYERS = 10_000_000


class Command(BaseCommand):
    help = (
        f"Writes bearer tokens for load tests, one a line: the buyers load-1@{DOMAIN}, load-2@… in order, "
        "each token valid for 24 hours. Creates the buyers that are missing; they cannot sign in with a "
        "password. Whoever has the file can act as these buyers, so only its owner may read it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        count = whole_number(1, MAX_BUYERS)
        parser.add_argument("--buyers", type=count, required=True, metavar="N", help="How many tokens.")
        parser.add_argument(
            "--out", type=file_argument, required=True, metavar="FILE", help="Where to write them."
        )

    def handle(self, *args: Any, buyers: int, out: Path, **options: Any) -> None:
        # Opened first: a path that cannot be written should not cost a million users.
        try:
            file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as exc:
            raise CommandError(
                f"{out} cannot be written ({exc.strerror}): name a file in a directory that is yours."
            ) from exc
        with os.fdopen(file, "w") as lines:
            os.fchmod(file, 0o600)  # it may have existed, with other permissions
            names = {f"load-{number}@{DOMAIN}": f"Load {number}" for number in range(1, buyers + 1)}
            created = ensure_users(names, role=Role.BUYER)
            for emails in in_batches(names, 1000):
                users = User.objects.in_bulk(emails, field_name="email")
                for email in emails:
                    user = users[email]
                    token = issue_token(
                        user_id=user.pk, role=user.role, is_staff=user.is_staff, lifetime=LIFETIME
                    )
                    lines.write(f"{token}\n")
        self.stdout.write(
            f"{buyers:,} tokens written to {out} ({created:,} buyers created), valid for 24 hours"
        )
