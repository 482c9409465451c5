"""Create a drop, and open it unless it is to open later."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from inventory.models import MAX_UNITS
from orders.drops.planning import ItemDraft, create_drop
from orders.drops.services import open_drop
from orders.models.drops import Lane
from shop.models import MAX_PRICE
from yousinsa.commands.arguments import moment_argument, whole_number
from yousinsa.errors import Problem

MAX_RATE = 1_000_000


class Command(BaseCommand):
    help = (
        "Creates a drop and prints its id. Without --opens it is open when the command ends. Several "
        "options: repeat --option and --allotment (and --price, or leave it out for all), in the same order."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        units, price = whole_number(1, MAX_UNITS), whole_number(0, MAX_PRICE)
        parser.add_argument("--name", required=True)
        parser.add_argument("--option", type=whole_number(), action="append", required=True, metavar="ID")
        parser.add_argument("--allotment", type=units, action="append", required=True, metavar="N")
        parser.add_argument("--price", type=price, action="append", default=[], metavar="WON")
        parser.add_argument("--limit", type=units, required=True, metavar="N", help="Units a customer.")
        parser.add_argument("--lane", choices=Lane.values, default=Lane.REDIS_LUA.value)
        parser.add_argument("--opens", type=moment_argument, metavar="ISO")
        parser.add_argument("--closes", type=moment_argument, metavar="ISO")
        said = "Shoppers let in a second (default: all)."
        parser.add_argument("--rate", type=whole_number(1, MAX_RATE), metavar="N", help=said)

    def handle(self, *args: Any, **given: Any) -> None:
        ids, allotments, prices = given["option"], given["allotment"], given["price"]
        if len(ids) != len(allotments) or len(prices) not in (0, len(ids)):
            raise CommandError("Give --allotment (and --price, if any) once for each --option.")
        items = [
            ItemDraft(id, allotment, price)
            for id, allotment, price in zip(ids, allotments, prices or [None] * len(ids), strict=True)
        ]
        try:
            drop = create_drop(
                name=given["name"], items=items, limit=given["limit"], lane=given["lane"],
                opens_at=given["opens"], closes_at=given["closes"], admission_rate=given["rate"],
            )  # fmt: skip
        except Problem as problem:
            raise CommandError(_sentence(problem)) from problem
        try:
            if given["opens"] is None:
                open_drop(drop.pk)
        except Problem as problem:
            if drop.orders.exists() or not type(drop).objects.filter(pk=drop.pk, status="scheduled").exists():
                raise CommandError(f"Drop {drop.pk} was not opened: {_sentence(problem)}") from problem
            drop.delete()
            raise CommandError(_sentence(problem)) from problem
        self.stdout.write(str(drop.pk))


def _sentence(problem: Problem) -> str:
    if problem.errors:
        return "; ".join(f"{field}: {text}" for field, text in problem.errors.items())
    return str(problem.detail or problem.title)
