"""Drops over HTTP: what is sold, and buying it by the orders' own address."""

from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from orders.drops.admission import waiting_room
from orders.drops.admission.door import Accepted, Asked, Waiting, begin
from orders.drops.schemas import DropList, DropView
from orders.drops.selectors import board
from orders.placement.requests import Placed, PlaceRequest
from yousinsa.errors import Problem
from yousinsa.http.deferred import Deferred
from yousinsa.http.endpoint import Endpoint
from yousinsa.http.schema import operation

_TICKET = f"HTTP_{waiting_room.HEADER.upper().replace('-', '_')}"


class DropsView(Endpoint):
    permission_classes = [AllowAny]

    @operation("Open and coming drops", response=DropList, public=True)
    def get(self, request: Request) -> HttpResponseBase:
        return self.answer(DropList(timezone.now(), board.coming()))


class DropDetailView(Endpoint):
    permission_classes = [AllowAny]

    @operation("One drop: what remains, and when it opens", response=DropView, errors=(404,), public=True)
    def get(self, request: Request, id: int) -> HttpResponseBase:
        return self.answer(board.one(id))


def answer_purchase(view: Endpoint, request: Request, wish: PlaceRequest) -> HttpResponseBase:
    """Buy what `wish` names from its drop, and answer: 201 once it is written, 202 while it is accepted."""
    try:
        bought = begin(wish, ticket=request.META.get(_TICKET))
    except Problem as refusal:
        # Nearly everybody is refused: what DRF does with an exception costs more than the refusal.
        return refusal.response()
    if isinstance(bought, Waiting | Asked):
        known: Deferred[None] = Deferred()
        bought.then(lambda: known.decide(None))
        later = known.map(
            lambda _: _later(view, request, bought),
            takes_long=lambda _: bool(getattr(bought, "takes_long", False)),
        )
        return view.answer_later(later)
    return _answer(view, request, bought)


def _later(view: Endpoint, request: Request, bought: Waiting | Asked) -> HttpResponseBase:
    try:
        return _answer(view, request, bought.result())
    except Problem as refusal:
        return refusal.response()


def _answer(view: Endpoint, request: Request, bought: Placed | Accepted) -> HttpResponseBase:
    headers = {"Location": f"{request.path}{bought.order.number}/"}
    if bought.replayed:
        headers["Idempotent-Replayed"] = "true"
    return view.answer(bought.order, status=202 if isinstance(bought, Accepted) else 201, headers=headers)
