"""Compute a drop's counters in Redis anew, and sell on."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orders.drops.audit.rebuild import rebuild
from yousinsa.commands.arguments import whole_number
from yousinsa.errors import Problem


class Command(BaseCommand):
    help = (
        "After Redis lost or restarted: shuts the drop, writes what its stream still holds into the "
        "database, computes counters and customers' limits from there, and opens it again. Units that were "
        "acknowledged and lost are counted, told, and for sale again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("drop", type=whole_number(), metavar="ID", help="The drop's id.")

    def handle(self, *args: Any, drop: int, **options: Any) -> None:
        try:
            rebuilt = rebuild(drop)
        except Problem as problem:
            raise CommandError(str(problem.detail or problem.title)) from problem
        left = ", ".join(f"option {option}: {units} left" for option, units in rebuilt.left.items())
        self.stdout.write(
            f"drop {drop} is open again in epoch {rebuilt.epoch} ({left}); "
            f"{rebuilt.unaccounted} units unaccounted for"
        )
