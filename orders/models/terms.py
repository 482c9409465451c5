"""By what the desk finds an order besides its number: in a table of its own, so that placing writes none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy as _

from orders.models.orders import Order
from yousinsa.db.fields import ExactCharField
from yousinsa.db.rows import insert_rows
from yousinsa.text.keys import key

MAX_TERM = 100
_NO_DIGITS = re.compile(r"[^0-9]+")
_BETWEEN = re.compile(r"[\s\-.·_/]+")
_PHONE = re.compile(r"\+?[0-9\s().\-]+")
_KOREA = re.compile(r"^(?:\+|00)82\D*0?")


class Findable(NamedTuple):
    """What an order is found by."""

    order_id: int
    recipient: str
    phone: str
    tracking_number: str


def recipient_term(name: str) -> str:
    """A name as it is compared: in no case, by code points."""
    return key(name)[:MAX_TERM]


def phone_term(phone: str) -> str:
    """The digits from the last to the first, however they were grouped: the last ones of a number begin it.

    `010-1234-5678`, `01012345678` and `+82 10 1234 5678` are one.
    """
    text = _KOREA.sub("0", unicodedata.normalize("NFKC", phone).strip())
    return _NO_DIGITS.sub("", text)[::-1][:MAX_TERM]


def is_phone(text: str) -> bool:
    """Whether this is how people write a phone number, or its last four digits at least."""
    return bool(_PHONE.fullmatch(unicodedata.normalize("NFKC", text))) and len(phone_term(text)) >= 4


def tracking_term(number: str) -> str:
    """A carrier's number without what people put between its parts."""
    return _BETWEEN.sub("", key(number))[:MAX_TERM]


class TermKind(models.TextChoices):
    RECIPIENT = "recipient", _("recipient")
    PHONE = "phone", _("phone")
    TRACKING = "tracking", _("tracking number")


class OrderTerms(models.Manager["OrderTerm"]):
    def note(self, orders: Iterable[Findable | Order]) -> None:
        """Write down what finds these orders now, inside the transaction that changes it."""
        found: dict[int, dict[str, str]] = {}
        for order in orders:
            id = order.pk if isinstance(order, Order) else order.order_id
            found[id] = {
                TermKind.RECIPIENT: recipient_term(order.recipient),
                TermKind.PHONE: phone_term(order.phone),
                TermKind.TRACKING: tracking_term(order.tracking_number),
            }
        wanted = {(id, kind, term) for id, terms in found.items() for kind, term in terms.items() if term}
        rows = self.filter(order__in=found).values_list("pk", "order_id", "kind", "term")
        known = {(id, kind, term): pk for pk, id, kind, term in rows}
        if gone := [pk for row, pk in known.items() if row not in wanted]:
            self.filter(pk__in=gone).delete()
        insert_rows(OrderTerm, ("order", "kind", "term"), sorted(wanted - known.keys()))

    def forget(self, order_ids: Iterable[int]) -> None:
        """These orders are not found by what says who their buyer is any more."""
        self.filter(order__in=list(order_ids)).exclude(kind=TermKind.TRACKING).delete()


class OrderTerm(models.Model):
    """What finds an order, by its beginning. Derived from the order, and kept by whatever writes that."""

    order = models.ForeignKey(
        Order, models.CASCADE, related_name="terms", db_index=False, verbose_name=_("order")
    )
    kind = models.CharField(_("what"), max_length=10, choices=TermKind.choices)
    # Compared by code points, as the index is read in ranges.
    term = ExactCharField(_("term"), max_length=MAX_TERM)

    objects: ClassVar[Any] = OrderTerms()

    class Meta:
        verbose_name = _("order's search term")
        verbose_name_plural = _("orders' search terms")
        default_permissions = ()
        indexes = [models.Index(fields=["kind", "term", "order"], name="order_term_kind_term")]
        constraints = [
            models.UniqueConstraint(fields=["order", "kind"], name="order_term_unique"),
            models.CheckConstraint(condition=~models.Q(term=""), name="order_term_given"),
        ]

    def __str__(self) -> str:
        return self.term
