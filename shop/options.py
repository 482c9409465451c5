"""A product's options as their owner describes them, and how they are written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import CharField, Value
from django.db.models.functions import Cast, Concat
from django.utils.translation import gettext

from shop.errors import SkuTaken
from shop.models import MAX_OPTIONS, Option, Product
from yousinsa.db.errors import is_duplicate
from yousinsa.errors import Invalid
from yousinsa.text.checking import cleaned
from yousinsa.text.cleaning import clean_sku
from yousinsa.text.keys import key


@dataclass(frozen=True, slots=True)
class OptionDraft:
    """An option as its owner describes it; None leaves what there is (of a new option: nothing)."""

    sku: str
    size: str | None = None
    color: str | None = None
    is_active: bool | None = None


def clean_drafts(options: Sequence[OptionDraft]) -> list[OptionDraft]:
    """The same in the form in which they are stored. Raises `Invalid` naming the field."""
    drafts: list[OptionDraft] = []
    skus: set[str] = set()
    for i, draft in enumerate(options):
        sku = cleaned(draft.sku, f"options.{i}.sku", clean_sku, required=True)
        if sku in skus:
            raise Invalid(errors={f"options.{i}.sku": gettext("This SKU is given twice.")})
        skus.add(sku)
        size, color = (
            None if text is None else cleaned(text, f"options.{i}.{name}")
            for name, text in (("size", draft.size), ("color", draft.color))
        )
        drafts.append(OptionDraft(sku, size, color, draft.is_active))
    return drafts


def write_options(product: Product, drafts: Sequence[OptionDraft]) -> list[Option]:
    """Change the product's options that have a draft's SKU and add the others; returns those added.

    Raises `Invalid`, `SkuTaken`. The product's row is locked.
    """
    present = {option.sku: option for option in Option.objects.filter(product=product)}
    if len(present.keys() | {draft.sku for draft in drafts}) > MAX_OPTIONS:
        raise Invalid(errors={"options": gettext("At most %s options a product.") % MAX_OPTIONS})
    options: list[Option] = []
    changed: list[Option] = []
    added: list[Option] = []
    switched: list[Option] = []
    for draft in drafts:
        option = present.pop(draft.sku, None) or Option(product=product, sku=draft.sku)
        before = (option.size, option.color)
        option.size = option.size if draft.size is None else draft.size
        option.color = option.color if draft.color is None else draft.color
        option.look_key = key(option.size, option.color)
        if draft.is_active is not None and draft.is_active != option.is_active:
            option.is_active = draft.is_active
            switched.append(option)
        options.append(option)
        if option.pk is None:
            added.append(option)
        elif (option.size, option.color) != before:
            changed.append(option)
    _check_looks(options, others=present.values())
    _check_skus(options)
    try:
        with transaction.atomic():
            # Two options may trade their looks: each gets out of the other's way first.
            aside = Concat(Value("#"), Cast("id", CharField()))
            Option.objects.filter(pk__in=[option.pk for option in changed]).update(look_key=aside)
            Option.objects.bulk_update(changed, ["size", "color", "look_key"])
            Option.objects.bulk_create(added)
            for option in switched:
                if option.pk is not None:
                    option.save(update_fields=["is_active"])  # one by one: drops follow what is saved
    except IntegrityError as exc:
        if not is_duplicate(exc):
            raise
        _check_skus(options)
        # Somebody else gave another of the product's options this look meanwhile.
        raise Invalid(errors={"options": gettext("Two of them have the same size and colour.")}) from exc
    # MySQL does not say which ids it gave.
    ids = dict(Option.objects.filter(sku__in=[option.sku for option in added]).values_list("sku", "id"))
    for option in added:
        option.pk = ids[option.sku]
    return added


def _check_looks(options: Sequence[Option], *, others: Iterable[Option]) -> None:
    looks = {option.look_key for option in others}
    for i, option in enumerate(options):
        if option.look_key in looks:
            message = gettext("The product has two options with this size and colour.")
            raise Invalid(errors={f"options.{i}.size": message})
        looks.add(option.look_key)


def _check_skus(options: Sequence[Option]) -> None:
    """Raises `SkuTaken` naming the first new option whose SKU exists."""
    new = {option.sku: i for i, option in enumerate(options) if option.pk is None}
    taken = Option.objects.filter(sku__in=new).values_list("sku", flat=True)
    if found := [new[sku] for sku in taken]:
        raise SkuTaken(errors={f"options.{min(found)}.sku": SkuTaken.title})
