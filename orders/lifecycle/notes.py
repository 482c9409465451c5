"""What operators write down about an order, for each other."""

from django.utils.translation import gettext

from orders.errors import OrderNotFound
from orders.models import MAX_NOTE, Order, OrderNote
from yousinsa.errors import Invalid


def add_note(*, order_id: int, author_id: int, text: str) -> OrderNote:
    """Keep an operator's note on an order, for other operators. Raises `Invalid`, `OrderNotFound`."""
    text = text.strip()
    if not text or len(text) > MAX_NOTE:
        raise Invalid(errors={"text": gettext("Write something, of at most %d characters.") % MAX_NOTE})
    if not Order.objects.filter(pk=order_id).exists():
        raise OrderNotFound
    return OrderNote.objects.create(order_id=order_id, author_id=author_id, text=text)
