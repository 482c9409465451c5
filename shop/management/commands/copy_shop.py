"""Move a shop from one database to another."""

import time
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from yousinsa.commands.arguments import counted
from yousinsa.commands.progress import progress
from yousinsa.db import copying
from yousinsa.process.addresses import database_config
from yousinsa.settings import database_settings


def _address(text: str) -> dict[str, Any]:
    try:
        if text.startswith(("sqlite:///", "mysql://")):
            config = database_settings(database_config(text, "the address"))
            if config["NAME"]:
                return config
    except ImproperlyConfigured as exc:
        raise ArgumentTypeError(str(exc)) from exc
    except ValueError:
        pass
    raise ArgumentTypeError("must be sqlite:///… or mysql://user:password@host:port/name")


class Command(BaseCommand):
    help = (
        "Copies every row of the shop in the database --from into the one that DATABASE_URL names, which "
        "must be new: `manage.py migrate` has been run on it, and nothing else. SQLite and MariaDB, either "
        "way. It is one transaction, read and written in the order of the ids, and ends by comparing every "
        "table value by value: all of it or nothing. Close the shop first (web server and worker). Then "
        "`verify_ledger` and `reconcile_stock` say of the new database what they said of the old one."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from", dest="source", metavar="URL", type=_address, required=True,
            help="The database that the shop is in now, as DATABASE_URL names it.",
        )  # fmt: skip

    def handle(self, *args: Any, source: dict[str, Any], **options: Any) -> None:
        started = time.monotonic()
        try:
            with copying.opened(source), progress("Copying", copying.total(), self.stderr) as advance:
                copied = copying.copy_all(advance)
        except copying.CannotCopy as exc:
            raise CommandError(f"Nothing was copied. {exc}") from exc
        except DatabaseError as exc:
            raise CommandError(f"Nothing was copied: a database does not answer ({exc}).") from exc
        except KeyboardInterrupt as exc:
            raise CommandError("Interrupted: nothing was copied.", returncode=130) from exc
        for table in copied:
            if table.rows:
                self.stdout.write(f"{table.table}: {counted(table.rows, 'row')}, {table.digest[:16]}")
        rows = sum(table.rows for table in copied)
        self.stdout.write(
            f"{counted(rows, 'row')} of {counted(len(copied), 'table')} copied and compared "
            f"in {time.monotonic() - started:.1f} s"
        )
