"""Find text that is not stored as it would be stored now, and products that a search does not find."""

from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from shop.tidying import unfound, untidy

NAMED = 50


class Command(BaseCommand):
    help = (
        "Names users, stores, categories, products and options whose text is not in the form that is let "
        "in now (composed, without what cannot be seen), and products whose words do not find them: after a "
        "dump was loaded, or rows were written by hand. With --fix both are put right; a row that would "
        "then be the same as another one stays as it is, and is for you to rename. Ends with status 1 while "
        "something is left."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--fix", action="store_true", help="Write what can be written.")

    def handle(self, *args: Any, fix: bool, **options: Any) -> None:
        left = fixed = 0
        for row in untidy(lambda name: apps.get_model("shop", name), write=fix):
            if fix and not row.stays:
                fixed += 1
                continue
            left += 1
            if left <= NAMED:
                why = " (stays: another row would be the same)" if row.stays else ""
                self.stdout.write(f"{row}{why}")
        unfound_products = sum(1 for _ in unfound(lambda name: apps.get_model("shop", name), write=fix))
        if fix:
            self.stdout.write(
                f"{fixed:,} rows written, search terms of {unfound_products:,} products written"
            )
        else:
            self.stdout.write(f"{unfound_products:,} products are not found by all words of their names")
            left += unfound_products
        if left:
            advice = "" if fix else " Run it again with --fix to put right what can be."
            raise CommandError(f"{left:,} left.{advice}")
        self.stdout.write("All text is as it should be.")
