"""Orders over HTTP. Each endpoint reads, calls one service, shows.

Whose order it is not is told so first: before the body is read.
"""

import re
from collections.abc import Iterable
from functools import partial
from typing import Annotated

import msgspec
from django.conf import settings
from django.http.response import HttpResponseBase
from django.utils.translation import gettext
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from orders import lifecycle, selectors
from orders.drops.admission import door, waiting_room
from orders.drops.admission.pending import find_unwritten, refuse_unwritten
from orders.errors import OrderNotFound
from orders.models import MAX_LINES, MAX_QUANTITY, MAX_TOTAL
from orders.payments.providers import PROVIDERS, offered
from orders.payments.services import pay
from orders.placement.lanes import begin_order
from orders.placement.requests import Placed, PlaceRequest
from orders.schemas import OrderPage, OrderView
from shop.schemas import Address, Id, PageQuery
from yousinsa import limits
from yousinsa.auth import caller
from yousinsa.errors import Invalid, Problem
from yousinsa.http.bodies import Body, read_body, read_query
from yousinsa.http.body_text import AS_SENT
from yousinsa.http.endpoint import Endpoint
from yousinsa.http.paging import keyset_page
from yousinsa.http.schema import LOCATION, operation
from yousinsa.limits import OrderThrottle, PingThrottle

Quantity = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER, pattern=r"^[\x21-\x7E]{1,255}$",
    description="Names this purchase: sent again with the same body it answers with the order it made.",
)  # fmt: skip
REPLAYED = OpenApiParameter(
    "Idempotent-Replayed", OpenApiTypes.STR, OpenApiParameter.HEADER, response=[201],
    description="`true` where the order had been placed before.",
)  # fmt: skip
QUEUE_TICKET = OpenApiParameter(
    waiting_room.HEADER, OpenApiTypes.STR, OpenApiParameter.HEADER,
    description="The `ticket` of a drop's queue (429 `queued`): keeps your place.",
)  # fmt: skip
_TICKET = f"HTTP_{waiting_room.HEADER.upper().replace('-', '_')}"
_KEY = re.compile(r"[\x21-\x7E]{1,255}")


class LineBody(Body, frozen=True):
    option: Id
    quantity: Quantity


class NewOrder(Body, frozen=True):
    """What to buy. The same option on two lines is summed. `drop` names the drop that it is bought from.

    `expected_total` is the price in won that the buyer saw: for another one nothing is placed.
    """

    lines: Annotated[list[LineBody], Meta(min_length=1, max_length=MAX_LINES)]
    drop: Id | None = None
    expected_total: Annotated[int, Meta(ge=0, le=MAX_TOTAL)] | None = None


class PaymentBody(Body, frozen=True):
    """`token` is the card token of the sandbox; `shipping` defaults to the saved address."""

    provider: Annotated[str, Meta(max_length=20, extra_json_schema={"enum": sorted(PROVIDERS)})]
    token: Annotated[str, Meta(max_length=100, pattern=r"^[^\x00]*$"), AS_SENT] = ""
    shipping: Address | None = None


class CancelBody(Body, frozen=True):
    """`{}`: the whole order."""


class ReturnBody(Body, frozen=True):
    """`lines` names what comes back; left out, as in `{}`: everything."""

    lines: Annotated[list[LineBody], Meta(min_length=1, max_length=MAX_LINES)] | None = None


class PingView(Endpoint):
    """The no-op that speeds are compared with: a token, a throttle, the API's middleware, nothing else."""

    throttle_classes = [PingThrottle]

    @operation("The cost of a request that does nothing", status=204, errors=(429,))
    def get(self, request: Request) -> HttpResponseBase:
        return self.answer(None, status=204)


class OrdersView(Endpoint):
    def get_throttles(self) -> list[BaseThrottle]:
        return [OrderThrottle()] if self.request.method == "POST" else []

    @operation("My orders, newest first", response=OrderPage, query=PageQuery)
    def get(self, request: Request) -> HttpResponseBase:
        query = read_query(request.query_params, PageQuery)
        page = keyset_page(
            partial(selectors.own_orders, caller(request).id), selectors.NEWEST,
            cursor=query.cursor, page_size=query.page_size, request=request._request,
        )  # fmt: skip
        return self.answer(OrderPage(page.next, page.previous, selectors.order_views(page.rows)))

    @operation(
        "Place an order", request=NewOrder, response=OrderView, status=201, errors=(409, 422, 429),
        headers=[IDEMPOTENCY_KEY, QUEUE_TICKET, LOCATION, REPLAYED], accepted=OrderView,
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponseBase:
        key = idempotency_key(request)
        body = read_body(request, NewOrder)
        purchase = PlaceRequest.build(
            buyer_id=caller(request).id,
            lines=units_of(body.lines).items(),
            idempotency_key=key,
            drop_id=body.drop,
            expected_total=body.expected_total,
        )
        if body.drop is None:
            return self.answer_later(begin_order(purchase).map(self._bought, _refused))
        admission = door.begin(purchase, ticket=request.META.get(_TICKET))
        return self.answer_later(admission.map(self._bought, _refused))

    def _bought(self, bought: Placed | door.Accepted) -> HttpResponseBase:
        """201 once it is written, 202 while a drop's order is accepted."""
        headers = {"Location": f"{self.request.path}{bought.order.number}/"}
        if bought.replayed:
            headers["Idempotent-Replayed"] = "true"
        return self.answer(bought.order, status=201 if isinstance(bought, Placed) else 202, headers=headers)


def _refused(exc: Exception) -> HttpResponseBase | Exception:
    """On a hot option nearly everybody is: what DRF does with an exception costs more than the refusal."""
    return exc.response() if isinstance(exc, Problem) else exc


def units_of(lines: Iterable[LineBody]) -> dict[int, int]:
    """Units by option id, lines of one option summed. Raises `Invalid` for more than a line can hold."""
    units: dict[int, int] = {}
    for i, line in enumerate(lines):
        total = units[line.option] = units.get(line.option, 0) + line.quantity
        if total > MAX_QUANTITY:
            message = gettext("At most %s units of one option in an order.") % MAX_QUANTITY
            raise Invalid(errors={f"lines.{i}.quantity": message})
    return units


def idempotency_key(request: Request) -> str | None:
    """The header's value, None where there is none. Raises `Invalid` for one of other form."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        message = gettext("Must be given once: 1 to 255 characters of printable ASCII without spaces.")
        raise Invalid(errors={"Idempotency-Key": message})
    return key


class OrderDetailView(Endpoint):
    @operation("One of my orders", response=OrderView, errors=(404,))
    def get(self, request: Request, number: str) -> HttpResponseBase:
        return self.answer(own_order(request, number))


def own_order(request: Request, number: str) -> OrderView:
    """One of the caller's orders, in the database or (of a drop) on its way there."""
    buyer_id = caller(request).id
    try:
        return selectors.own_order(buyer_id=buyer_id, number=number)
    except OrderNotFound:
        if view := find_unwritten(number, buyer_id):
            return view
    # It may have been written between the two questions.
    return selectors.own_order(buyer_id=buyer_id, number=number)


def written_order(request: Request, number: str) -> int:
    """The id of an order of the caller's to pay, cancel or return; one on its way there cannot be yet."""
    buyer_id = caller(request).id
    try:
        return selectors.own_order_id(buyer_id=buyer_id, number=number)
    except OrderNotFound:
        refuse_unwritten(number, buyer_id)
    return selectors.own_order_id(buyer_id=buyer_id, number=number)


def limit_payments(request: Request, order_id: int) -> None:
    """PAYMENT_RATE for the order, and more for its buyer and the address: cards are not tried out here.

    Raises `TooManyRequests`.
    """
    rate = limits.Rate.parse(settings.PAYMENT_RATE)
    budgets = [
        (f"pay:{name}", limits.Rate(rate.count * times, rate.seconds, rate.burst * times))
        for name, times in (
            (f"order:{order_id}", 1),
            (f"buyer:{caller(request).id}", 3),
            (f"address:{limits.client_address(request)}", 30),
        )
    ]
    limits.check(budgets, everywhere=True)


class PayView(Endpoint):
    @operation("Pay", request=PaymentBody, response=OrderView, errors=(402, 404, 409, 429))
    def post(self, request: Request, number: str) -> HttpResponseBase:
        order_id = written_order(request, number)
        body = read_body(request, PaymentBody)
        if body.provider not in offered():
            raise Invalid(errors={"provider": gettext("Must be one of: %s.") % ", ".join(offered())})
        limit_payments(request, order_id)
        pay(
            order_id=order_id, provider=body.provider, token=body.token, actor_id=caller(request).id,
            shipping=msgspec.structs.asdict(body.shipping) if body.shipping else None,
        )  # fmt: skip
        return self.answer(own_order(request, number))


class CancelView(Endpoint):
    @operation("Cancel: what was paid goes back", request=CancelBody, response=OrderView, errors=(404, 409))
    def post(self, request: Request, number: str) -> HttpResponseBase:
        order_id = written_order(request, number)
        read_body(request, CancelBody)
        lifecycle.cancel_order(order_id=order_id, actor_id=caller(request).id)
        return self.answer(own_order(request, number))


class ReturnView(Endpoint):
    @operation("Return all or some units", request=ReturnBody, response=OrderView, errors=(404, 409))
    def post(self, request: Request, number: str) -> HttpResponseBase:
        order_id = written_order(request, number)
        body = read_body(request, ReturnBody)
        units = None if body.lines is None else units_of(body.lines)
        lifecycle.return_order(order_id=order_id, units=units, actor_id=caller(request).id)
        return self.answer(own_order(request, number))
