"""A sold line shows what was sold, wherever it is shown: a later change of the option alters no old order."""

import csv
import io

import pytest
from django.core.management import call_command

from orders.models import Hold, Order, OrderLine, Status
from shop.models import Option
from tests.support.desk import signed_in, text, url
from tests.support.factories import make_options, make_order
from tests.support.orders import make_order_at as at

pytestmark = pytest.mark.django_db

SOLD = ("SOLD-1", "M", "Ecru")
NOW = ("NOW-9", "XXL", "Navy")


def look(option, sku, size, color):
    Option.objects.filter(pk=option.pk).update(sku=sku, sku_key=sku.lower(), size=size, color=color)


@pytest.fixture
def sold(buyer):
    """A paid order of an option that has another SKU, size and colour by now."""
    (option,) = make_options([5], name="Linen shirt")
    look(option, *SOLD)
    order = at(Status.PAID, buyer, (option, 1))
    look(option, *NOW)
    return order


def assert_shows_what_was_sold(words):
    assert [name for name in SOLD if name not in words] == []
    assert [name for name in NOW if name in words] == []


def test_the_line_keeps_what_was_sold(sold):
    line = sold.lines.get()
    assert (line.sku, line.size, line.color) == SOLD


def test_the_api_shows_what_was_sold(sold, buyer, api):
    client = api(buyer)
    for body in (client.get(f"orders/{sold.number}/").json(), client.get("orders/").json()["results"][0]):
        (line,) = body["lines"]
        assert (line["sku"], line["size"], line["color"]) == SOLD


def test_the_desk_shows_what_was_sold(sold, operator):
    desk = signed_in(operator)
    assert "M · Ecru" in text(desk.get(url(Order)))
    for page in ("change", "packing-list"):
        assert_shows_what_was_sold(text(desk.get(url(Order, page, sold.pk))))
    for page in ("ship", "cancel"):
        assert "(SOLD-1)" in text(desk.get(url(Order, page, sold.pk)))
    assert "SOLD-1" in text(desk.get(url(OrderLine)))
    line = text(desk.get(url(OrderLine, "change", sold.lines.get().pk)))
    assert [name for name in SOLD if name not in line] == []


def test_what_comes_back_is_named_as_it_was_sold(sold, operator):
    Order.objects.filter(pk=sold.pk).update(status=Status.DELIVERED)
    page = text(signed_in(operator).get(url(Order, "return", sold.pk)))
    assert "Linen shirt · M · Ecru · SOLD-1" in page


def test_holds_name_what_is_held(buyer, operator):
    (option,) = make_options([5])
    look(option, *SOLD)
    held = make_order(buyer, (option, 2))
    look(option, *NOW)
    assert "2 × SOLD-1" in text(signed_in(operator).get(url(Hold, "change", held.pk)))


def test_an_export_has_what_was_sold(sold, operator):
    answer = signed_in(operator).get(f"{url(OrderLine)}export/csv/")
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    (row,) = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    assert (row["sku"], row["size"], row["colour"]) == SOLD


def test_demo_history_has_it_too():
    call_command("seed_demo", products=2, buyers=2, stock=5, orders=5, verbosity=0)
    lines = OrderLine.objects.select_related("option")
    assert lines
    assert [(line.sku, line.size, line.color) for line in lines] == [
        (line.option.sku, line.option.size, line.option.color) for line in lines
    ]
    assert all(line.sku for line in lines)
