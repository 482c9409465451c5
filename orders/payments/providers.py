"""Payment providers behind one small interface. Nothing here touches the database."""

from dataclasses import dataclass
from typing import Protocol

from django.conf import settings
from django.utils.translation import gettext_lazy, gettext_noop

from yousinsa.language import recordable

# Recorded, for whoever reads it.
TRANSFER = recordable(gettext_noop("Transfer the amount with the order number as reference."))
CARD_DECLINED = recordable(gettext_noop("The card was declined."))
NO_CHARGE = recordable(gettext_noop("The provider has no such charge."))

APPROVED, DECLINED, WAITING, UNKNOWN = "approved", "declined", "waiting", "unknown"


class ProviderTimeout(Exception):
    """The provider did not answer: the money may or may not have been taken. Ask `lookup` later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider says of an attempt: approved, declined, waiting (for a transfer); unknown: nothing."""

    status: str
    detail: str = ""


class Provider(Protocol):
    """Money is in won. Every call is idempotent by its `reference`.

    `answers_at_once`: nobody else is asked, so a call takes no time.
    """

    name: str
    answers_at_once: bool

    def charge(self, *, reference: str, amount: int, token: str) -> Answer:
        """Take the money. Raises `ProviderTimeout`."""

    def lookup(self, *, reference: str, token: str) -> Answer:
        """What became of an attempt that was never answered. Raises `ProviderTimeout`."""

    def refund(self, *, reference: str, payment_reference: str, amount: int) -> bool:
        """Give money back: True when it is done, False when a person has to. Raises `ProviderTimeout`."""


class Manual:
    """Bank transfer: the buyer transfers, an operator sees it on the account and confirms it in admin."""

    name = "manual"
    answers_at_once = True

    def charge(self, *, reference: str, amount: int, token: str) -> Answer:
        return Answer(WAITING, TRANSFER)

    def lookup(self, *, reference: str, token: str) -> Answer:
        return Answer(WAITING)

    def refund(self, *, reference: str, payment_reference: str, amount: int) -> bool:
        return False


class Sandbox:
    """For demo and tests: the card token decides. No money moves.

    A token with `decline` in it is declined. One with `timeout` is never answered: with `timeout-charged`
    the money was taken all the same (`lookup` says so), otherwise it was not. Any other is approved.
    """

    name = "sandbox"
    answers_at_once = True

    def charge(self, *, reference: str, amount: int, token: str) -> Answer:
        if "timeout" in token:
            raise ProviderTimeout
        return self.lookup(reference=reference, token=token)

    def lookup(self, *, reference: str, token: str) -> Answer:
        if "decline" in token:
            return Answer(DECLINED, CARD_DECLINED)
        if "timeout" in token and "charged" not in token:
            return Answer(DECLINED, NO_CHARGE)
        return Answer(APPROVED)

    def refund(self, *, reference: str, payment_reference: str, amount: int) -> bool:
        return True


class Imported(Manual):
    """Paid elsewhere, before the order came into this shop's books (`replay_orders`).

    Nobody pays with it here; what goes back is transferred by hand.
    """

    name = "imported"


def offered() -> list[str]:
    """The providers that a buyer may choose."""
    return [name for name in take_payments() if name != Sandbox.name or settings.PAYMENT_SANDBOX]


def take_payments() -> list[str]:
    """The providers that somebody can pay with, where they are offered."""
    return sorted(PROVIDERS.keys() - {Imported.name})


def label(name: str) -> str:
    """What a provider is called at the desk, in the reader's language; one without a label, its name."""
    return str(_LABELS.get(name, name))


_LABELS = {Imported.name: gettext_lazy("imported (paid before, elsewhere)")}
PROVIDERS: dict[str, Provider] = {provider.name: provider for provider in (Imported(), Manual(), Sandbox())}
# Their refunds wait for a person.
BY_HAND = frozenset({Imported.name, Manual.name})
