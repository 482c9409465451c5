"""Accounts, stores and the catalogue: what changes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import authenticate, update_session_auth_hash
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from shop.errors import (
    EmailTaken,
    NotAStoreOwner,
    NotYourStore,
    SkuTaken,
    StoreExists,
    StoreNotAccepted,
    WrongCredentials,
)
from shop.models import MAX_OPTIONS, Category, Option, Product, Role, Store, TokenRevocation, User
from yousinsa.auth import Revocation, revocations
from yousinsa.errors import Invalid

# --- Accounts -----------------------------------------------------------------------------------------


def sign_up(*, email: str, name: str, password: str, role: str) -> User:
    """Create a buyer's or a store owner's account.

    Raises `Invalid` (e-mail address, password by Django's validators), `EmailTaken`.
    """
    email = User.objects.normalize_email(email)
    errors: dict[str, str] = {}
    try:
        validate_email(email)
    except ValidationError as exc:
        errors["email"] = " ".join(exc.messages)
    if not name.strip():
        errors["name"] = _("Must not be empty.")
    user = User(email=email, name=name.strip(), role=role)
    errors |= _password_errors(password, user)
    if errors:
        raise Invalid(errors=errors)
    if User.objects.filter(email=email).exists():
        raise EmailTaken(errors={"email": EmailTaken.title})
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError as exc:
        raise EmailTaken(errors={"email": EmailTaken.title}) from exc
    return user


def _password_errors(password: str, user: User, field: str = "password") -> dict[str, str]:
    try:
        validate_password(password, user)
    except ValidationError as exc:
        return {field: " ".join(exc.messages)}
    return {}


def sign_in(*, email: str, password: str, request: HttpRequest | None = None) -> User:
    """The user with these credentials. Raises `WrongCredentials`; the time taken does not tell which is wrong."""
    user = authenticate(request, username=User.objects.normalize_email(email), password=password)
    if not isinstance(user, User):
        raise WrongCredentials
    return user


def revoke_token(*, user_id: int, token_id: str) -> None:
    """Sign one bearer token out, here at once and in every process within seconds."""
    _revoke(user_id, token_id)


def revoke_all_tokens(*, user_id: int) -> None:
    """End every bearer token that a user holds: new password, withdrawal, deactivation."""
    _revoke(user_id, "")


def _revoke(user_id: int, token_id: str) -> None:
    row = TokenRevocation.objects.create(user_id=user_id, token_id=token_id)
    revocation = Revocation(user_id, token_id, row.revoked_at.timestamp())
    transaction.on_commit(lambda: revocations.add([revocation]))


PROFILE_FIELDS = ("name", "recipient", "phone", "postal_code", "address1", "address2")


def update_profile(*, user: User, changes: Mapping[str, str]) -> User:
    """Change the fields of `PROFILE_FIELDS` that are given."""
    for field, value in changes.items():
        setattr(user, field, value.strip())
    if not user.name:
        raise Invalid(errors={"name": _("Must not be empty.")})
    user.save(update_fields=list(changes))
    return user


def change_password(*, user: User, current: str, new: str, request: HttpRequest | None = None) -> None:
    """Set a new password; every token ends, and so does every session but the one of `request`.

    Raises `Invalid` naming `current_password` or `new_password`.
    """
    if not user.check_password(current):
        raise Invalid(errors={"current_password": _("This is not your present password.")})
    if errors := _password_errors(new, user, "new_password"):
        raise Invalid(errors=errors)
    with transaction.atomic():
        user.set_password(new)
        user.save(update_fields=["password"])
        revoke_all_tokens(user_id=user.pk)
    if request is not None and hasattr(request, "session"):
        update_session_auth_hash(request, user)


def withdraw(*, user: User) -> None:
    """Close an account for good: personal data is replaced, its stores close, tokens and sessions end.

    Orders stay (see `orders.services.forget_buyer` for the addresses on them).
    """
    with transaction.atomic():
        user.email = f"withdrawn-{user.pk}@withdrawn.invalid"
        for field in PROFILE_FIELDS:
            setattr(user, field, "")
        user.is_active = user.is_staff = user.is_superuser = False
        user.withdrawn_at = timezone.now()
        user.set_unusable_password()
        user.save()
        Store.objects.filter(owner=user).update(status=Store.Status.CLOSED, decided_at=timezone.now())
        revoke_all_tokens(user_id=user.pk)


# --- Stores -------------------------------------------------------------------------------------------


def apply_for_store(*, owner_id: int, role: str, name: str) -> Store:
    """A store owner asks for a store. Raises `NotAStoreOwner`, `Invalid`, `StoreExists`."""
    if role != Role.STORE_OWNER:
        raise NotAStoreOwner
    if not name.strip():
        raise Invalid(errors={"name": _("Must not be empty.")})
    try:
        with transaction.atomic():
            return Store.objects.create(owner_id=owner_id, name=name.strip())
    except IntegrityError as exc:
        raise StoreExists(errors={"name": StoreExists.title}) from exc


def decide_store(*, store: Store, status: str) -> None:
    """An operator accepts, rejects or closes a store."""
    store.status = Store.Status(status)
    store.decided_at = timezone.now()
    store.save(update_fields=["status", "decided_at"])


# --- Products -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OptionDraft:
    """An option as its owner describes it."""

    sku: str
    size: str = ""
    color: str = ""


def store_for_sale(*, store_id: int, owner_id: int) -> Store:
    """A store that this owner may list products in. Raises `Invalid`, `NotYourStore`, `StoreNotAccepted`."""
    store = Store.objects.filter(pk=store_id).first()
    if store is None:
        raise Invalid(errors={"store": _("There is no store %s.") % store_id})
    if store.owner_id != owner_id:
        raise NotYourStore
    if store.status != Store.Status.ACCEPTED:
        raise StoreNotAccepted(store_status=store.status)
    return store


def category_by_slug(slug: str) -> Category:
    """Raises `Invalid` naming `category`."""
    category = Category.objects.filter(slug=slug).first()
    if category is None:
        raise Invalid(errors={"category": _("There is no category with the slug %s.") % slug})
    return category


def create_product(
    *, store: Store, category: Category, name: str, price: int, options: Sequence[OptionDraft]
) -> tuple[Product, list[Option]]:
    """A product with its options, in the order given. Raises `Invalid` naming the option, `SkuTaken`."""
    _check_drafts(options)
    product = Product(store=store, category=category, name=_clean_name(name), price=price)
    with transaction.atomic():
        product.save(force_insert=True)
        return product, [_save_option(product, draft, i) for i, draft in enumerate(options)]


def update_product(
    *, product: Product, changes: Mapping[str, Any], options: Sequence[OptionDraft] = ()
) -> list[Option]:
    """Change a product's name, category or price; options are recognised by SKU, changed or added.

    Options that are not named stay as they are. Returns the options that were added.
    Raises `Invalid`, `SkuTaken`.
    """
    _check_drafts(options)
    with transaction.atomic():
        for field, value in changes.items():
            setattr(product, field, _clean_name(value) if field == "name" else value)
        if changes:
            product.save(update_fields=list(changes))
        present = {option.sku: option for option in product.options.all()}
        if len(present.keys() | {draft.sku for draft in options}) > MAX_OPTIONS:
            raise Invalid(errors={"options": _("At most %s options a product.") % MAX_OPTIONS})
        return [
            _save_option(product, draft, i)
            for i, draft in enumerate(options)
            if not _update_option(present.get(draft.sku.strip()), draft, i)
        ]


def _clean_name(name: str) -> str:
    if not name.strip():
        raise Invalid(errors={"name": _("Must not be empty.")})
    return name.strip()


def _check_drafts(options: Sequence[OptionDraft]) -> None:
    skus: set[str] = set()
    looks: set[tuple[str, str]] = set()
    for i, draft in enumerate(options):
        sku, look = draft.sku.strip(), (draft.size.strip().lower(), draft.color.strip().lower())
        if not sku:
            raise Invalid(errors={f"options.{i}.sku": _("Must not be empty.")})
        if sku in skus:
            raise Invalid(errors={f"options.{i}.sku": _("This SKU is given twice.")})
        if look in looks:
            raise Invalid(errors={f"options.{i}.size": _("This size and colour is given twice.")})
        skus.add(sku)
        looks.add(look)


def _save_option(product: Product, draft: OptionDraft, index: int) -> Option:
    if Option.objects.filter(sku=draft.sku.strip()).exists():
        raise SkuTaken(errors={f"options.{index}.sku": SkuTaken.title})
    option = Option(
        product=product, sku=draft.sku.strip(), size=draft.size.strip(), color=draft.color.strip()
    )
    _write_option(option, index, force_insert=True)
    return option


def _update_option(option: Option | None, draft: OptionDraft, index: int) -> bool:
    if option is None:
        return False
    option.size, option.color = draft.size.strip(), draft.color.strip()
    _write_option(option, index, update_fields=["size", "color"])
    return True


def _write_option(option: Option, index: int, **how: Any) -> None:
    try:
        with transaction.atomic():
            option.save(**how)
    except IntegrityError as exc:
        if "sku" in str(exc):
            raise SkuTaken(errors={f"options.{index}.sku": SkuTaken.title}) from exc
        message = _("The product has an option with this size and colour.")
        raise Invalid(errors={f"options.{index}.size": message}) from exc
