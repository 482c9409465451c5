"""Tickets of a drop's queue: they prove a place, for one shopper in one drop.

The queue itself is a sorted set in Redis (lua/waiting_room.lua): a shopper has one place, however many
requests, devices and restarts. The ticket says the same under a signature, so that a Redis that forgot its
queue gives the place back to whoever had it.
"""

from django.core import signing
from django.utils.translation import gettext

from orders.drops.errors import Queued
from yousinsa.errors import Invalid

HEADER = "Queue-Ticket"
_signer = signing.Signer(salt="yousinsa.drop-queue")


def issue(*, drop_id: int, buyer_id: int, slot: str) -> str:
    """A ticket for the place whose time is `slot` (ms, as Redis wrote it)."""
    return _signer.sign(f"{drop_id}.{buyer_id}.{slot.partition('.')[0]}")


def slot_on(ticket: str | None, *, drop_id: int, buyer_id: int) -> str:
    """The time on a ticket, '' without one.

    Raises `Invalid` naming the header for a ticket that was not issued here, to this shopper, for this drop.
    """
    if not ticket:
        return ""
    try:
        drop, buyer, slot = _signer.unsign(ticket).split(".")
    except (signing.BadSignature, ValueError) as exc:
        raise Invalid(errors={HEADER: gettext("This is no ticket of ours: ask again without it.")}) from exc
    if (drop, buyer) != (str(drop_id), str(buyer_id)):
        raise Invalid(errors={HEADER: gettext("This ticket is somebody else's, or of another drop.")})
    return slot


def queued(*, drop_id: int, buyer_id: int, slot: str, place: int, wait_ms: int) -> Queued:
    """The answer to a shopper whose turn it is not."""
    ticket = issue(drop_id=drop_id, buyer_id=buyer_id, slot=slot)
    return Queued(position=int(place), wait_seconds=int(wait_ms) / 1000, ticket=ticket)
