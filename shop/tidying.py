"""Text that was let in before the border was watched: written as it would be stored now, or reported.

What identifies something (an SKU, an address, a slug, the look of an option, a store's name) stays as it is
where another row has what it would become: which of the two is meant is for people to say.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import Manager, Model

from yousinsa.text.cleaning import tidied, tidied_email, tidied_sku, tidied_slug
from yousinsa.text.keys import key, search_terms

Tidy = Callable[[str], str]
ModelNamed = Callable[[str], type[Model]]

COLUMNS: Mapping[str, Mapping[str, Tidy]] = {
    "User": {
        "email": tidied_email, "name": tidied, "recipient": tidied, "phone": tidied, "postal_code": tidied,
        "address1": tidied, "address2": tidied,
    },
    "Store": {"name": tidied},
    "Category": {"name": tidied, "slug": tidied_slug},
    "Product": {"name": tidied},
    "Option": {"sku": tidied_sku, "size": tidied, "color": tidied},
}  # fmt: skip
KEYS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Store": {"name_key": ("name",)},
    "Product": {"name_key": ("name",)},
    "Option": {"sku_key": ("sku",), "look_key": ("size", "color")},
}  # fmt: skip
BATCH = 1_000


class Untidy(NamedTuple):
    """A row's columns that would be written otherwise, as they would be. `stays`: another is in the way."""

    model: str
    pk: int
    values: dict[str, str]
    stays: bool

    def __str__(self) -> str:
        changes = ", ".join(f"{name} as {value!r}" for name, value in self.values.items())
        return f"{self.model} {self.pk}: {changes}"

    @property
    def is_text(self) -> bool:
        """Whether there is more to it than keys, which nobody sees."""
        return not self.values.keys() <= KEYS.get(self.model, {}).keys()


def untidy(model_named: ModelNamed, *, write: bool) -> Iterator[Untidy]:
    """Every row whose text, or whose keys, are not as they would be stored now; written so with `write`.

    `model_named` gives the shop's models by name. Rows are written in batches, each a transaction.
    """
    for name, columns in COLUMNS.items():
        keys = KEYS.get(name, {})
        for batch in _batches(model_named(name)._default_manager, [*columns, *keys]):
            found = [
                Untidy(name, pk, changes, stays=False)
                for pk, row in batch.items()
                if (changes := _changes(row, columns, keys))
            ]
            yield from _written(model_named(name)._default_manager, found) if write else found


def _changes(
    row: Mapping[str, str], columns: Mapping[str, Tidy], keys: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    wanted = {column: tidy(row[column]) for column, tidy in columns.items()}
    wanted |= {column: key(*(wanted[part] for part in parts)) for column, parts in keys.items()}
    return {column: value for column, value in wanted.items() if value != row[column]}


def _written(rows: Manager[Any], found: list[Untidy]) -> Iterator[Untidy]:
    """Write all of these rows; of those that another row is in the way of, the other columns."""
    if _write(rows, found):
        yield from found
        return
    for row in found:
        if _write(rows, [row]):
            yield row
            continue
        each = {column: row._replace(values={column: value}) for column, value in row.values.items()}
        stuck = {column: row.values[column] for column, one in each.items() if not _write(rows, [one])}
        yield row._replace(values=stuck, stays=True)


def _write(rows: Manager[Any], found: list[Untidy]) -> bool:
    try:
        with transaction.atomic():
            for row in found:
                rows.filter(pk=row.pk).update(**row.values)
    except IntegrityError:
        return False
    return True


def _batches(rows: Manager[Any], columns: list[str]) -> Iterator[dict[int, dict[str, str]]]:
    last = 0
    while batch := list(rows.filter(pk__gt=last).order_by("pk").values("pk", *columns)[:BATCH]):
        last = batch[-1]["pk"]
        yield {row.pop("pk"): row for row in batch}


def unfound(model_named: ModelNamed, *, write: bool) -> Iterator[int]:
    """Products that are not found by their names; their search terms are written with `write`."""
    terms = model_named("SearchTerm")._default_manager
    last = 0
    while names := dict(
        model_named("Product")._default_manager.filter(pk__gt=last).order_by("pk")
        .values_list("pk", "name")[:BATCH]
    ):  # fmt: skip
        last = max(names)
        known: dict[int, set[str]] = {}
        for id, term in terms.filter(product__in=names).values_list("product_id", "term"):
            known.setdefault(id, set()).add(term)
        wrong = {id: name for id, name in names.items() if search_terms(name) != known.get(id, set())}
        if write and wrong:
            with transaction.atomic():
                terms.filter(product__in=wrong).delete()
                model = model_named("SearchTerm")
                terms.bulk_create(
                    [
                        model(product_id=id, term=term)
                        for id, name in wrong.items()
                        for term in search_terms(name)
                    ],
                    batch_size=BATCH,
                )
        yield from wrong
