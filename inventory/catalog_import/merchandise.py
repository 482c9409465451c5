"""What the file does not say of a style: sizes, price, SKU, units. Plain functions of the row.

Whatever varies is drawn from a hash of the style's id, so that every import of a style gives the same.
"""

from functools import lru_cache
from hashlib import blake2b

from inventory.catalog_import.reader import Style
from yousinsa.text.romanising import slug

_slug = lru_cache(maxsize=1000)(slug)

MAX_UNITS = 40

ONE_SIZE = ("FREE",)
_LETTERS = ("S", "M", "L", "XL", "XXL")
_KIDS_HEIGHTS = ("110", "120", "130", "140", "150")
# Worn by anybody, though the file files them under Apparel.
_DRAPED = frozenset({"sarees", "dupatta", "suspenders", "stockings", "belts", "booties"})


def _numbers(first: int, last: int, step: int) -> tuple[str, ...]:
    return tuple(str(n) for n in range(first, last + 1, step))


# Korean shoe sizes: the foot's length in millimetres.
_SHOES = {
    "men": _numbers(250, 290, 5),
    "women": _numbers(230, 260, 5),
    "boys": _numbers(170, 220, 10),
    "girls": _numbers(170, 220, 10),
}
_SHOES_UNISEX = _numbers(230, 290, 10)

# Thousands of won, lowest and highest, by the lower-case name of an article type, else of the category above
# it, else of the one on top.
_PRICES = {
    "apparel": (19, 69), "footwear": (39, 129), "accessories": (15, 59), "personal care": (10, 39),
    "sporting goods": (19, 49), "home": (12, 29), "free items": (10, 10),
    "tshirts": (15, 49), "lounge tshirts": (15, 35), "tops": (19, 59), "shirts": (29, 79), "tunics": (29, 69),
    "sweatshirts": (39, 89), "sweaters": (39, 99), "jackets": (69, 249), "rain jacket": (59, 149),
    "nehru jackets": (69, 149), "blazers": (99, 269), "suits": (149, 299), "waistcoat": (39, 99),
    "jeans": (39, 119), "trousers": (35, 99), "track pants": (29, 79), "tracksuits": (59, 149),
    "shorts": (19, 59), "leggings": (12, 35), "skirts": (25, 79), "dresses": (39, 149), "jumpsuit": (45, 129),
    "sarees": (39, 199), "lehenga choli": (99, 299), "kurtas": (29, 89), "kurta sets": (49, 149),
    "innerwear": (10, 29), "bra": (15, 45), "socks": (10, 15), "loungewear and nightwear": (19, 59),
    "sports shoes": (59, 199), "casual shoes": (45, 149), "formal shoes": (69, 219), "heels": (49, 159),
    "flats": (29, 89), "sandal": (29, 89), "flip flops": (12, 39),
    "watches": (49, 299), "sunglasses": (29, 199), "handbags": (39, 259), "backpacks": (35, 139),
    "laptop bag": (39, 149), "duffel bag": (39, 129), "trolley bag": (89, 269), "clutches": (19, 79),
    "wallets": (19, 89), "belts": (15, 69), "ties": (15, 49), "cufflinks": (19, 59), "caps": (15, 45),
    "jewellery": (12, 89), "ring": (15, 129), "necklace and chains": (19, 149),
    "perfume and body mist": (29, 149), "deodorant": (10, 19), "fragrance gift set": (39, 129),
    "lips": (10, 35), "nails": (10, 15), "makeup": (12, 45), "skin care": (12, 49),
}  # fmt: skip
_PRICE_OF_ANYTHING = (19, 59)


def _draw(style: Style, what: str, below: int) -> int:
    """A number from 0 to `below` - 1, always the same for this style and purpose."""
    digest = blake2b(f"{style.id}:{what}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % below


def sizes(style: Style) -> tuple[str, ...]:
    """The sizes that a style is sold in: letters, heights (cm) for children, feet (mm) for shoes, or one."""
    top, _, article = (name.lower() for name in style.category)
    gender = style.gender.lower()
    if top == "footwear":
        return _SHOES.get(gender, _SHOES_UNISEX)
    if top != "apparel" or article in _DRAPED:
        return ONE_SIZE
    return _KIDS_HEIGHTS if gender in ("boys", "girls") else _LETTERS


def price(style: Style) -> int:
    """Won, from 9,900 to 299,000, ending in 900 or 000 as shop prices do."""
    names = [name.lower() for name in reversed(style.category)]
    low, high = next((_PRICES[name] for name in names if name in _PRICES), _PRICE_OF_ANYTHING)
    thousands = low + _draw(style, "price", high - low + 1)
    return thousands * 1000 - (0 if _draw(style, "ending", 4) == 0 and thousands > low else 100)


def sku(style: Style, size: str) -> str:
    """Such as `TSHIRTS-1163-NAVY-BLUE-XL`: at most 64 characters, unique by the style's id."""
    parts = (_slug(style.category[2])[:20], str(style.id), _slug(style.color)[:18], size)
    return "-".join(part.strip("-") for part in parts if part).upper()


def units(style: Style, size: str) -> int:
    """How many there are of one size, from 0 (sold out) to `MAX_UNITS`."""
    return _draw(style, f"units:{size}", MAX_UNITS + 1)
