"""Load a catalogue of styles from a CSV file."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError

from inventory.catalog_import.loader import SKIPPED_ROWS_NAMED, Loader, Report, survey
from inventory.catalog_import.reader import charset
from yousinsa.commands.arguments import counted, file_argument, whole_number
from yousinsa.commands.progress import progress
from yousinsa.errors import Busy

# A file of which less than this share can be used is not what it was meant to be.
LEAST_USED = 0.1


class Command(BaseCommand):
    help = (
        "Loads products from a CSV file of styles (.csv or .csv.gz), with sizes, prices and first stock, and "
        "opens stores for their brands. Products that were loaded before are left as they are, so a second "
        "run changes nothing and an interrupted one goes on. Rows that cannot be used are skipped "
        "and named; where less than a tenth can be used, the status is 1. UTF-8, UTF-16 and CP949 are read, "
        "with commas, semicolons or tabs between the columns."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", type=file_argument, help="The file of styles.")
        parser.add_argument("--limit", type=whole_number(), metavar="N", help="Read only the first N rows.")

    def handle(self, *args: Any, file: Path, limit: int | None, **options: Any) -> None:
        started = time.monotonic()
        found = survey(file)
        loader = Loader(file, found)
        total = min(limit or found.rows, found.rows)
        try:
            self.stdout.write(f"read as {charset(file)}")
            with progress("Importing", total, self.stderr) as advance:
                loader.load(limit=limit, advance=advance)
        except (Busy, IntegrityError) as exc:
            self._report(loader.report, started)
            raise CommandError(
                f"Somebody else is writing the same data ({exc}). Run the import again once they are done: "
                "it goes on where it stopped."
            ) from exc
        except KeyboardInterrupt as exc:
            self._report(loader.report, started)
            raise CommandError("Interrupted. Run the import again: it goes on here.", returncode=130) from exc
        self._report(loader.report, started)
        self._judge(loader.report, file)

    @staticmethod
    def _judge(report: Report, file: Path) -> None:
        """Whoever started the import may look at nothing but its exit status."""
        used, rows = report.loaded + report.unchanged, report.skipped.total()
        if used < (used + rows) * LEAST_USED or not used:
            raise CommandError(
                f"Only {used:,} of {used + rows:,} rows of {file} could be used, read as {charset(file)}. "
                "Look at the reasons above, put the file right, and import it again."
            )

    def _report(self, report: Report, started: float) -> None:
        for reason, count in report.skipped.most_common():
            rows = ", ".join(map(str, report.skipped_rows[reason]))
            more = ", …" if count > SKIPPED_ROWS_NAMED else ""
            self.stdout.write(f"skipped {count:,}: {reason} (row {rows}{more})")
        if report.mended:
            verb = "was" if report.mended == 1 else "were"
            self.stdout.write(
                f"{counted(report.mended, 'name')} with an unquoted comma {verb} put together again"
            )
        self.stdout.write(
            f"{counted(report.loaded, 'product')} loaded ({counted(report.options, 'option')}, "
            f"{counted(report.units, 'unit')}), "
            f"{report.unchanged:,} unchanged, {report.skipped.total():,} skipped "
            f"in {time.monotonic() - started:.1f} s"
        )
