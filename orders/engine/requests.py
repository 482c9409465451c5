"""What the engine knows of a request."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

Row = tuple[str, int]
"""A row that a request needs: ("buyer", id), ("option", id), ("order", id); a drop's items: ("drop", id)."""


class Request(Protocol):
    """Something that is to be decided and written in a transaction, with others of its kind."""

    @property
    def ticket(self) -> Hashable:
        """Tells it from every other request; the same through all attempts."""

    @property
    def needs(self) -> Iterable[Row]:
        """The rows that it waits for where somebody else keeps them locked, as far as they are known."""

    @property
    def asks(self) -> Hashable:
        """What is asked for and by whom: who fails with it is not tried again at once with the same."""

    @property
    def twin(self) -> Hashable:
        """Two that wait at the same time with the same one are for the same thing; None: none is."""

    @property
    def always_tried(self) -> bool:
        """Whether it was promised already: then no failure before is a reason not to try."""

    def unknown(self) -> Exception:
        """What to answer where nobody can say whether it took effect."""


R = TypeVar("R", bound=Request)
Outcomes = dict[Any, Any]
"""By ticket: what became of a request, or the exception that says why nothing did."""
Apply = Callable[[Sequence[R]], Sequence[Any]]
"""Carries requests out and says of each what became of it, in the same order."""
Foresee = Callable[[Sequence[R]], object]
"""Looks up what requests need, where they do not know it by themselves; asked where rows are locked."""


class Work(Protocol[R]):
    """How requests of one kind are carried out.

    `splits`: a batch that runs into locks again and again is split.
    """

    splits: bool

    def prepare(self, requests: Sequence[R]) -> tuple[Sequence[R], Outcomes]:
        """Before any lock: those that are to be written, and the outcomes of the others."""

    def write(self, requests: Sequence[R], *, again: bool) -> Callable[[], Outcomes]:
        """Lock, decide and write, inside the transaction; what it returns is called once that is committed.

        `again`: an attempt before this one may have been committed.
        """

    def mends(self, exc: Exception, requests: Sequence[R]) -> bool:
        """Whether another attempt may go better after this failure; what is in its way is changed here."""
