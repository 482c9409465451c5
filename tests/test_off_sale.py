"""A store, a product or one option that is taken off sale sells nothing more."""

import pytest

from inventory.selectors import in_stock, sold_out_products
from shop.models import Option
from tests.support.factories import make_options


def take_off_sale(option: Option) -> None:
    Option.objects.filter(pk=option.pk).update(is_active=False)


def test_an_option_off_sale_is_neither_shown_nor_sold(api, buyer):
    small, large = make_options([5, 5])
    take_off_sale(small)
    shown = api().get(f"/api/v1/products/{small.product_id}/").json()["options"]
    assert [option["id"] for option in shown] == [large.pk]
    body = {"lines": [{"option": small.pk, "quantity": 1}]}
    refused = api(buyer).post("/api/v1/orders/", body)
    assert (refused.status_code, refused.json()["code"]) == (400, "unknown_option")
    body = {"lines": [{"option": large.pk, "quantity": 1}]}
    assert api(buyer).post("/api/v1/orders/", body).status_code == 201


@pytest.mark.django_db
def test_a_product_whose_last_option_goes_off_sale_is_not_in_stock():
    small, _sold_out = make_options([5, 0])
    assert in_stock([small.product_id]) == {small.product_id}
    take_off_sale(small)
    assert in_stock([small.product_id]) == set()
    assert sold_out_products() == {small.product_id}
