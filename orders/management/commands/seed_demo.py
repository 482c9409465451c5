"""Fill the shop with demo data: logins, products, buyers, and a history of orders."""

import os
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError

from inventory.models import MAX_UNITS
from orders.demo.catalog import OPTIONS_PER_PRODUCT
from orders.demo.people import DOMAIN
from orders.demo.plan import DAYS
from orders.demo.seeding import seed
from shop.models import Product
from yousinsa.commands.arguments import counted, whole_number
from yousinsa.errors import Busy

DEFAULT_PASSWORD = "demo-yousinsa"  # noqa: S105


class Command(BaseCommand):
    help = (
        f"Makes demo data: logins buyer@, owner@ and operator@{DOMAIN} (the password is in the "
        f"environment variable DEMO_PASSWORD, {DEFAULT_PASSWORD} where it is unset), a store with products "
        f"of {OPTIONS_PER_PRODUCT} options each, buyers with the same password, and a history of orders in "
        f"every status, with its ledger, that began {DAYS} days ago and ends now. Run again, it adds what is "
        "missing up to the numbers given (new orders are dated after those that are there), and sets the "
        "stock of the demo products to --stock again, by movements. Nothing is ever deleted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        count, units = whole_number(0, 10_000_000), whole_number(0, MAX_UNITS // 2)
        parser.add_argument("--products", type=count, default=60, metavar="N", help="Demo products (60).")
        parser.add_argument("--buyers", type=count, default=20, metavar="N", help="Buyers: buyer1@… (20).")
        said = "Units of each option that can be bought once the command is done (50)."
        parser.add_argument("--stock", type=units, default=50, metavar="N", help=said)
        parser.add_argument("--orders", type=count, default=0, metavar="N", help="Orders in the history (0).")
        said = "Do nothing where the shop has any product already."
        parser.add_argument("--if-empty", action="store_true", help=said)

    def handle(self, *args: Any, if_empty: bool, **options: Any) -> None:
        if if_empty and Product.objects.exists():
            self.stdout.write("The shop has products: no demo data was added.")
            return
        started = time.monotonic()
        numbers = {name: options[name] for name in ("products", "buyers", "stock", "orders")}
        try:
            added = seed(**numbers, password=self._password(), out=self.stderr)
        except (Busy, IntegrityError) as exc:
            raise CommandError(
                f"Somebody else is writing the same data ({exc}). Run seed_demo again once they are done: "
                "it goes on where it stopped."
            ) from exc
        except KeyboardInterrupt as exc:
            raise CommandError("Interrupted. Run seed_demo again: it goes on here.", returncode=130) from exc
        self.stdout.write(
            f"{counted(added.products, 'product')}, {counted(added.buyers, 'buyer')} and "
            f"{counted(added.orders, 'order')} added, the stock of {counted(added.stocks, 'option')} set to "
            f"{numbers['stock']:,} in {time.monotonic() - started:.1f} s"
        )

    def _password(self) -> str:
        password = os.environ.get("DEMO_PASSWORD", "")
        if not password and not settings.DEBUG:
            self.stderr.write(
                f"Note: operator@{DOMAIN} may do everything, and its password is the well-known one. "
                "On a shop that others can reach, set DEMO_PASSWORD before the first run."
            )
        # One hash for all: a good one takes a tenth of a second to make.
        return make_password(password or DEFAULT_PASSWORD)
