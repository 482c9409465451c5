"""Stock over HTTP: store owners receive what arrives of their own products."""

from django.http import Http404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inventory import ledger
from inventory.schemas import Receipt, StockView
from shop.models import Option
from shop.services import store_for_sale
from yousinsa.auth import caller
from yousinsa.http.bodies import read_body
from yousinsa.http.schema import operation
from yousinsa.idempotency import idempotency_key, key_header, replayed_header
from yousinsa.limits import ReceiptThrottle

IDEMPOTENCY_KEY = key_header(
    "Names this receipt of this option: sent again with the same body it receives nothing more."
)
REPLAYED = replayed_header(200, "`true` where the units had been received before.")


class OptionReceiveView(APIView):
    throttle_classes = [ReceiptThrottle]

    @operation(
        "Receive units of an option of mine", request=Receipt, response=StockView,
        errors=(403, 404, 422, 429), headers=[IDEMPOTENCY_KEY, REPLAYED],
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        option = Option.objects.select_related("product").filter(pk=pk).first()
        if option is None:
            raise Http404
        owner_id = caller(request).id
        store_for_sale(store_id=option.product.store_id, owner_id=owner_id)
        key = idempotency_key(request)
        body = read_body(request, Receipt)
        replayed = False
        if key is None:
            row = ledger.receive(option_id=pk, quantity=body.quantity, actor_id=owner_id, reason=body.reason)
        else:
            row, replayed = ledger.receive_once(
                option_id=pk, quantity=body.quantity, actor_id=owner_id, key=key, reason=body.reason
            )
        view = StockView(pk, option.sku, row.on_hand, row.reserved, row.available)
        return Response(view, headers={"Idempotent-Replayed": "true"} if replayed else None)
