"""Compare the stock with its ledger and with the orders, and correct it if asked to."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, InterfaceError, OperationalError

from inventory.reconciliation import CHUNK, Scope
from inventory.reconciliation.report import run_and_report
from inventory.reconciliation.runs import NotThere, check_scope
from orders.order_book import ORDERS
from yousinsa.commands.arguments import day_argument, whole_number
from yousinsa.months import day_start

COULD_NOT_RUN = 2


class Command(BaseCommand):
    help = (
        "Compares every stock row with the sum of its movements and with the orders, and prints each "
        "difference; the run and its differences are kept and shown in the admin. Orders may flow meanwhile: "
        "they wait for nothing and raise no false alarm. With --fix, "
        "a movement of the kind `correct` sets right what differed and says what that was; on hand then is "
        "what the ledger says, so count the units where movements were missing or altered. Of drops on "
        "Redis, counters, streams and orders are compared with the allotment as well. Exit status: 0, "
        "no difference; 1, this run found differences, corrected or not (run it again to see that none is "
        "left); 2, it could not run."
    )
    # They would need a database, and fail in other words and with another status where there is none.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--fix", action="store_true", help="Correct what differs, by movements.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object and nothing else.")
        scope = parser.add_mutually_exclusive_group()
        scope.add_argument("--option", type=whole_number(), metavar="ID", help="Check one option only.")
        scope.add_argument(
            "--store", type=whole_number(), metavar="ID", help="Check one store's options only."
        )
        parser.add_argument(
            "--since", type=day_argument, metavar="DATE",
            help="Check only what moved since that day began (2026-03-01). Quick, and blind to a counter "
            "that was overwritten, or an order that was changed by hand, where nothing moved since.",
        )  # fmt: skip
        parser.add_argument(
            "--full", action="store_true",
            help="Read the whole ledger. Otherwise the first look begins at the last closed month, whose "
            "sealed balances are believed (verify_ledger checks them), where there is one.",
        )  # fmt: skip
        parser.add_argument(
            "--chunk", type=whole_number(1, CHUNK), default=CHUNK, metavar="N",
            help=f"Stock rows to read at a time ({CHUNK:,}).",
        )  # fmt: skip

    def handle(self, *args: Any, fix: bool, json: bool, chunk: int, **options: Any) -> None:
        since = options["since"]
        scope = Scope(
            options["option"], options["store"], day_start(since) if since else None, options["full"]
        )
        try:
            check_scope(scope)
            found = run_and_report(
                ORDERS, scope, chunk=chunk, fix=fix, as_json=json, stdout=self.stdout, stderr=self.stderr
            )
        except NotThere as exc:
            raise CommandError(str(exc), returncode=COULD_NOT_RUN) from exc
        except Error as exc:
            away = isinstance(exc, OperationalError | InterfaceError)
            said = "does not answer" if away else "refused to answer (is it migrated?)"
            raise CommandError(f"The database {said}: {exc}", returncode=COULD_NOT_RUN) from exc
        except KeyboardInterrupt as exc:
            raise CommandError("Interrupted.", returncode=130) from exc
        if found:
            sys.exit(1)
