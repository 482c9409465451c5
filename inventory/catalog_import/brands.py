"""Which brand a product is of: the words that its name begins with, where many names begin with them."""

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from yousinsa.text.romanising import slug

_slug = lru_cache(maxsize=20_000)(slug)

MIN_PRODUCTS = 20
MAX_WORDS = 4
MAX_SLUG = 50
MAX_NAME = 100
# A further word belongs to the brand where this share of its names go on with it ("Lino Perros").
SHARE = 0.85

# These follow every brand and belong to none.
_WEARERS = frozenset(
    [
        "men",
        "mens",
        "man",
        "women",
        "womens",
        "woman",
        "boy",
        "boys",
        "girl",
        "girls",
        "kid",
        "kids",
        "unisex",
    ]
)


class Brand(NamedTuple):
    slug: str
    name: str


SELECT_SHOP = Brand("select-shop", "Select Shop")
"""The store for products of brands with few products."""


class Brands:
    """Counts how names begin (`add`, for every name), and then tells a name's brand (`of`).

    Spellings that give the same slug (`Levis`, `Levi's`; `CASIO`, `Casio`) are one brand.
    """

    def __init__(self) -> None:
        self._spellings: Counter[str] = Counter()
        self._by_first_word: dict[str, tuple[int, Brand]] = {}

    def add(self, name: str) -> None:
        spelled = ""
        for word in name.split()[:MAX_WORDS]:
            if not _slug(word):
                break
            spelled = f"{spelled} {word}".lstrip()
            self._spellings[spelled] += 1

    def decide(self) -> None:
        """Decide on the brands, once all names are counted; forgets the counts."""
        counts: Counter[str] = Counter()
        spelling: dict[str, str] = {}
        longer: dict[str, set[str]] = {}
        for text, count in self._spellings.items():
            slug = _slug(text)
            counts[slug] += count
            if slug not in spelling or count > self._spellings[spelling[slug]]:
                spelling[slug] = text
            if " " in text:
                longer.setdefault(_slug(text.rpartition(" ")[0]), set()).add(slug)
        for first, text in spelling.items():
            if " " in text or counts[first] < MIN_PRODUCTS:
                continue
            words, slug = 1, first
            while follower := max(longer.get(slug, ()), key=lambda s: (counts[s], s), default=""):
                if counts[follower] < SHARE * counts[slug] or follower.rpartition("-")[2] in _WEARERS:
                    break
                words, slug = words + 1, follower
            self._by_first_word[first] = (words, Brand(slug[:MAX_SLUG], spelling[slug][:MAX_NAME]))
        self._spellings.clear()

    def of(self, name: str) -> Brand:
        """The brand of a product with this name, `SELECT_SHOP` where it has none."""
        words = name.split()
        count, brand = self._by_first_word.get(_slug(words[0]), (0, SELECT_SHOP))
        return brand if _slug(" ".join(words[:count]))[:MAX_SLUG] == brand.slug else SELECT_SHOP
