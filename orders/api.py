"""Orders over HTTP. Each endpoint reads, calls one service, shows.

Whose order it is not is told so first: before the body is read.
"""

from collections.abc import Iterable
from functools import partial
from typing import Annotated, TypeVar

import msgspec
from django.conf import settings
from django.http.response import HttpResponseBase
from django.utils.translation import gettext
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from msgspec import Meta
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from orders import selectors
from orders.changes.commands import Changed
from orders.drops.admission import door, waiting_room
from orders.drops.admission.pending import find_unwritten, refuse_unwritten
from orders.drops.errors import OrderNotWritten
from orders.errors import OrderNotFound
from orders.lifecycle import begin_cancel, begin_return
from orders.models import MAX_LINES, MAX_QUANTITY, MAX_TOTAL, Order
from orders.payments.providers import offered, take_payments
from orders.payments.services import begin_pay
from orders.placement.lanes import begin_order
from orders.placement.requests import Placed, PlaceRequest
from orders.schemas import OrderPage, OrderView
from shop.schemas import Address, Id, PageQuery
from yousinsa import limits
from yousinsa.auth import caller
from yousinsa.errors import Invalid, Problem
from yousinsa.http.bodies import Body, read_body, read_query
from yousinsa.http.body_text import AS_SENT
from yousinsa.http.deferred import Deferred
from yousinsa.http.endpoint import Endpoint
from yousinsa.http.paging import keyset_page
from yousinsa.http.schema import LOCATION, operation
from yousinsa.idempotency import idempotency_key, key_header, replayed_header
from yousinsa.limits import OrderThrottle, PingThrottle

T = TypeVar("T", bound=Body)
Quantity = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]

IDEMPOTENCY_KEY = key_header(
    "Names this purchase: sent again with the same body it answers with the order it made."
)
REPLAYED = replayed_header(201, "`true` where the order had been placed before.")
QUEUE_TICKET = OpenApiParameter(
    waiting_room.HEADER, OpenApiTypes.STR, OpenApiParameter.HEADER,
    description="The `ticket` of a drop's queue (429 `queued`): keeps your place.",
)  # fmt: skip
_TICKET = f"HTTP_{waiting_room.HEADER.upper().replace('-', '_')}"


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

    provider: Annotated[str, Meta(max_length=20, extra_json_schema={"enum": take_payments()})]
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


def _unwritten(exc: Exception, number: str, buyer_id: int) -> Exception:
    """What to say where an order is not in the database: it may be on its way there."""
    if isinstance(exc, OrderNotFound):
        refuse_unwritten(number, buyer_id)
        # It may have been written between the two questions.
        if Order.objects.filter(number=number, buyer_id=buyer_id).exists():
            return OrderNotWritten()
    return exc


def _is_not_found(outcome: object) -> bool:
    return isinstance(outcome, OrderNotFound)


class ChangeView(Endpoint):
    """Changes one of the caller's orders; answers with the order as it is then."""

    def changed(self, changed: Deferred[Changed], number: str) -> HttpResponseBase:
        buyer_id = caller(self.request).id
        return self.answer_later(
            changed.map(
                self._shown, lambda exc: _refused(_unwritten(exc, number, buyer_id)), takes_long=_is_not_found
            )
        )

    def _shown(self, changed: Changed) -> HttpResponseBase:
        return self.answer(selectors.as_read(changed.order))

    def body(self, request: Request, number: str, wanted: type[T]) -> T:
        """The body; whose order it is not is told so first."""
        try:
            return read_body(request, wanted)
        except (Problem, APIException) as exc:
            if not Order.objects.filter(number=number, buyer_id=caller(request).id).exists():
                raise _unwritten(OrderNotFound(), number, caller(request).id) from exc
            raise


def limit_payments(request: Request, number: str) -> None:
    """PAYMENT_RATE for the order, and more for its buyer and the address: cards are not tried out here.

    Raises `TooManyRequests`.
    """
    rate = limits.Rate.parse(settings.PAYMENT_RATE)
    buyer_id = caller(request).id
    budgets = [
        (f"pay:{name}", limits.Rate(rate.count * times, rate.seconds, rate.burst * times))
        for name, times in (
            (f"order:{buyer_id}:{number}", 1),
            (f"buyer:{buyer_id}", 3),
            (f"address:{limits.client_address(request)}", 30),
        )
    ]
    limits.check(budgets, everywhere=True)


class PayView(ChangeView):
    @operation("Pay", request=PaymentBody, response=OrderView, errors=(402, 404, 409, 429))
    def post(self, request: Request, number: str) -> HttpResponseBase:
        body = self.body(request, number, PaymentBody)
        if body.provider not in offered():
            raise Invalid(errors={"provider": gettext("Must be one of: %s.") % ", ".join(offered())})
        limit_payments(request, number)
        shipping = msgspec.structs.asdict(body.shipping) if body.shipping else None
        paid = begin_pay(
            number=number, buyer_id=caller(request).id, provider=body.provider, token=body.token,
            shipping=shipping,
        )  # fmt: skip
        return self.changed(paid, number)


class CancelView(ChangeView):
    @operation("Cancel: what was paid goes back", request=CancelBody, response=OrderView, errors=(404, 409))
    def post(self, request: Request, number: str) -> HttpResponseBase:
        self.body(request, number, CancelBody)
        return self.changed(begin_cancel(number=number, buyer_id=caller(request).id), number)


class ReturnView(ChangeView):
    @operation("Return all or some units", request=ReturnBody, response=OrderView, errors=(404, 409))
    def post(self, request: Request, number: str) -> HttpResponseBase:
        body = self.body(request, number, ReturnBody)
        units = None if body.lines is None else units_of(body.lines)
        returned = begin_return(number=number, buyer_id=caller(request).id, units=units)
        return self.changed(returned, number)
