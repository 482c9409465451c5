"""What the demo shop sells: products with believable names, each in two colours and four sizes."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import NamedTuple

from django.db import reset_queries

from inventory.listing import list_in_bulk
from shop.bulk import NewOption, NewProduct, in_batches
from shop.models import Category, Product
from yousinsa.commands.progress import Advance
from yousinsa.db.transactions import transact

OPTIONS_PER_PRODUCT = 8
BATCH = 200
SOURCE = "demo:"


class _Line(NamedTuple):
    """A kind of garment: its category, its sizes, prices from `low` up to `high` thousand won, its words."""

    category: str
    sizes: tuple[str, ...]
    low: int
    high: int
    fabrics: tuple[str, ...]
    items: tuple[str, ...]


_LETTERS = ("S", "M", "L", "XL")
_LINES = (
    _Line(
        "top", _LETTERS, 19, 79,
        ("Heavy Cotton", "Waffle", "Pigment-Dyed", "Striped", "Ribbed", "Mesh", "Linen-Blend", "Graphic",
         "Brushed", "French Terry"),
        ("Tee", "Hoodie", "Long-Sleeve Tee", "Sweatshirt", "Polo", "Shirt", "Henley", "Cardigan", "Knit Vest",
         "Half-Zip"),
    ),
    _Line(
        "outer", _LETTERS, 69, 259,
        ("Nylon", "Wool-Blend", "Denim", "Quilted", "Corduroy", "Fleece", "Canvas", "Ripstop",
         "Vegan-Leather", "Down"),
        ("Bomber", "Coach Jacket", "Trucker Jacket", "Puffer", "Anorak", "Parka", "Blazer", "Balmacaan Coat",
         "Varsity Jacket", "Windbreaker"),
    ),
    _Line(
        "pants", ("28", "30", "32", "34"), 35, 109,
        ("Selvedge-Denim", "Twill", "Ripstop", "Corduroy", "Wool-Blend", "Nylon", "Canvas", "Heavy-Terry",
         "Linen-Blend", "Pinstripe"),
        ("Cargo Pants", "Wide Slacks", "Joggers", "Chinos", "Carpenter Pants", "Track Pants", "Balloon Pants",
         "Pleated Trousers", "Work Pants", "Bermuda Shorts"),
    ),
)  # fmt: skip
_FITS = (
    "Oversized", "Relaxed", "Boxy", "Cropped", "Washed", "Minimal", "Vintage", "Essential", "Drop-Shoulder",
    "Everyday",
)  # fmt: skip
_DISTRICTS = (
    "Seongsu", "Hongdae", "Hannam", "Itaewon", "Mangwon", "Yeonnam", "Apgujeong", "Euljiro", "Ikseon",
    "Haebangchon", "Seochon", "Bukchon", "Garosu", "Jamsil", "Mullae", "Sinsa", "Gwanghwa", "Haeundae",
    "Jeonpo",
)  # fmt: skip
_COLORS = (
    "Black", "Ivory", "Charcoal", "Navy", "Olive", "Sand", "Burgundy", "Sky Blue", "Sage", "Brown",
)  # fmt: skip
_NAMES = len(_FITS) * 10 * 10


def _product(number: int, store_id: int, category_ids: Mapping[str, int]) -> NewProduct:
    """The demo product of this number, from 1: the same one each time."""
    line = _LINES[number % len(_LINES)]
    nth = number // len(_LINES)
    # 337 has no factor in common with the number of names: all of them come, neighbours look different.
    pick = nth * 337 % _NAMES
    fit, fabric, item = _FITS[pick // 100], line.fabrics[pick // 10 % 10], line.items[pick % 10]
    if fit == "Drop-Shoulder" and line.category == "pants":
        fit = "Low-Rise"
    words = [fit, fabric, item]
    series, district = divmod(nth // _NAMES, len(_DISTRICTS) + 1)
    if district:
        words.insert(0, _DISTRICTS[district - 1])
    if series:
        words.append(f"{series + 1}")
    colors = (_COLORS[nth % 10], _COLORS[(nth + 3) % 10])
    return NewProduct(
        source_id=f"{SOURCE}{number:06d}",
        store_id=store_id,
        category_id=category_ids[line.category],
        name=" ".join(words),
        price=(line.low + pick % (line.high - line.low + 1)) * 1000 - 100,
        options=[
            NewOption(f"DEMO-{number:06d}-{color.replace(' ', '').upper()}-{size}", size, color)
            for color in colors
            for size in line.sizes
        ],
    )


def ensure_products(count: int, *, store_id: int, created_at: datetime, advance: Advance) -> int:
    """Create what is missing of the first `count` demo products, with empty stock; returns how many."""
    category_ids = transact(_ensure_categories)
    created = 0
    for numbers in in_batches(range(1, count + 1), BATCH):
        products = {p.source_id: p for p in (_product(n, store_id, category_ids) for n in numbers)}
        present = Product.objects.filter(source_id__in=list(products)).order_by()
        for source_id in present.values_list("source_id", flat=True):
            del products[str(source_id)]
        if products:
            transact(partial(list_in_bulk, list(products.values()), created_at=created_at))
        created += len(products)
        advance(len(numbers))
        reset_queries()  # with DEBUG on, Django would keep the text of these long statements
    return created


def _ensure_categories() -> dict[str, int]:
    ids = {}
    for line in _LINES:
        category = Category.objects.filter(slug=line.category).first()
        if category is None:
            category = Category.objects.add_root({"slug": line.category, "name": line.category.title()})
        ids[line.category] = category.pk
    return ids
