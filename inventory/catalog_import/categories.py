"""The categories of a file as branches of the shop's tree, created as products need them."""

from collections import Counter
from collections.abc import Iterable

from shop.models import Category
from shop.services import lock_tree
from yousinsa.db.transactions import transact
from yousinsa.text.romanising import slug as slug_of

Names = tuple[str, ...]
"""A category's names from the root down to it."""

MAX_SLUG = 100


def _key(names: Names) -> Names:
    return tuple(name.casefold() for name in names)


class CategoryTree:
    """The tree as it is in the database, and the slugs that the file's other categories will get.

    A slug is a name's in Latin letters (`tshirts`, `cheongbaji`). Where two categories want the same, the one
    nearer to the root has it, then the one with more products; the other one is called after its parent as
    well (`belts-tshirts`). Slugs depend on the file and the tree alone, so an interrupted import goes on with
    the same ones.
    """

    def __init__(self, products: Counter[Names]) -> None:
        """`products`: how many products of the file each category holds, by its names."""
        self._ids, taken = _existing()
        self._slugs: dict[Names, str] = {}
        counts: Counter[Names] = Counter()
        for names, count in products.items():
            for depth in range(1, len(names) + 1):
                counts[_key(names[:depth])] += count
        for key in sorted(counts, key=lambda key: (len(key), -counts[key], key)):
            if key not in self._ids:
                self._slugs[key] = _free_slug(key, taken)
                taken.add(self._slugs[key])

    def ensure(self, categories: Iterable[Names]) -> None:
        """Create those of `categories` that are missing, in a transaction of its own."""
        missing = {_key(names): names for names in categories if _key(names) not in self._ids}
        if missing:
            self._ids.update(transact(lambda: self._create(sorted(missing.values()))))

    def id(self, names: Names) -> int:
        """The id of a category that `ensure` was asked for."""
        return self._ids[_key(names)]

    def _create(self, categories: list[Names]) -> dict[Names, int]:
        lock_tree()
        created: dict[Names, int] = {}
        for names in categories:
            for depth in range(1, len(names) + 1):
                key = _key(names[:depth])
                if key not in self._ids and key not in created:
                    fields = {"name": names[depth - 1], "slug": self._slugs[key]}
                    if depth == 1:
                        node = Category.objects.add_root(fields)
                    else:
                        # Asked for anew each time: adding a node may have moved its neighbours' paths.
                        parent_id = created.get(key[:-1]) or self._ids[key[:-1]]
                        node = Category.objects.add_child(Category.objects.get(pk=parent_id), fields)
                    created[key] = node.pk
        return created


def _existing() -> tuple[dict[Names, int], set[str]]:
    """Ids by names from the root, and all slugs."""
    ids: dict[Names, int] = {}
    slugs: set[str] = set()
    names_at: dict[str, Names] = {}
    for id, path, name, slug in Category.objects.order_by("path").values_list("id", "path", "name", "slug"):
        names_at[path] = (*names_at.get(path[: -Category.steplen], ()), name)
        ids[_key(names_at[path])] = id
        slugs.add(slug)
    return ids, slugs


def _free_slug(names: Names, taken: set[str]) -> str:
    for start in reversed(range(len(names))):
        slug = slug_of(" ".join(names[start:]))[:MAX_SLUG]
        if slug and slug not in taken:
            return slug
    stem = slug_of(" ".join(names))[: MAX_SLUG - 10] or "category"
    number = 2
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"
