"""Accounts, stores and the catalogue: what changes them."""

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext

from shop.errors import (
    EmailTaken,
    NotAStoreOwner,
    NotYourStore,
    StoreExists,
    StoreNotAccepted,
    StoreNotDecidable,
    WrongCredentials,
)
from shop.models import Category, Option, Product, Role, Store, TokenRevocation, User
from shop.options import OptionDraft, clean_drafts, write_options
from yousinsa.auth import Revocation, issue_token, revocations
from yousinsa.db.errors import is_duplicate
from yousinsa.db.transactions import transact
from yousinsa.errors import Busy, Conflict, Forbidden, Invalid, Unauthenticated
from yousinsa.http.deferred import Deferred, asks_the_database
from yousinsa.http.page_cache import pages_changed
from yousinsa.security import passwords
from yousinsa.security.passwords import Checked
from yousinsa.text.checking import cleaned

# --- Accounts -----------------------------------------------------------------------------------------


def sign_up(*, email: str, name: str, password: str, role: str) -> Deferred[User]:
    """Create a buyer's or a store owner's account, once the password is hashed.

    Raises `Invalid` (e-mail address, password by Django's validators), `EmailTaken`, `Busy`.
    """
    email = User.objects.normalize_email(email)
    errors: dict[str, str] = {}
    try:
        # Again the length: lower case can be longer than what was sent.
        User._meta.get_field("email").run_validators(email)
    except ValidationError as exc:
        errors["email"] = " ".join(exc.messages)
    try:
        name = cleaned(name, "name", required=True)
    except Invalid as exc:
        errors |= dict(exc.errors or {})
    user = User(email=email, name=name, role=role)
    errors |= _password_errors(password, user)
    if errors:
        raise Invalid(errors=errors)
    if User.objects.filter(email=email).exists():
        raise EmailTaken(errors={"email": EmailTaken.title})
    return passwords.hashed(password).map(partial(_create, user), takes_long=asks_the_database)


def _create(user: User, hashed: str) -> User:
    user.password = hashed
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError as exc:
        if not is_duplicate(exc):
            raise
        raise EmailTaken(errors={"email": EmailTaken.title}) from exc
    return user


def _password_errors(password: str, user: User, field: str = "password") -> dict[str, str]:
    try:
        validate_password(password, user)
    except ValidationError as exc:
        return {field: " ".join(exc.messages)}
    return {}


def sign_in(*, email: str, password: str) -> Deferred[User]:
    """The user with these credentials, once the password is checked; a hash by older parameters is replaced.

    Raises `Busy`, `WrongCredentials`; neither the latter nor the time taken tells which of the two is wrong.
    """
    user = User.objects.filter(email=User.objects.normalize_email(email)).first()
    checked = passwords.check(password, user.password if user else passwords.NOBODYS)
    return checked.map(partial(_signed_in, user, password), takes_long=asks_the_database)


def _signed_in(user: User | None, password: str, checked: Checked) -> User:
    if user is None or not checked.is_correct or not user.is_active:
        raise WrongCredentials
    if checked.upgraded and not user.upgrade_hash(checked.upgraded):
        # It was replaced just now, by who signed in beside this one or by a new password: rare, so it waits.
        user.refresh_from_db(fields=["password"])
        if not passwords.check(password, user.password).result().is_correct:
            raise WrongCredentials
    return user


def new_token(*, user: User) -> str:
    """A bearer token for a user as `sign_in` found them.

    Raises `WrongCredentials` where the password, the rights or the account have changed since: checked under
    the lock that whoever changes them takes, so that no token outlives the change.
    """

    def work() -> str:
        row = User.objects.select_for_update().filter(pk=user.pk, is_active=True).first()
        if row is None or row.get_session_auth_hash() != user.get_session_auth_hash():
            raise WrongCredentials
        User.objects.filter(pk=row.pk).update(last_login=timezone.now())
        revoked = TokenRevocation.objects.filter(user=row, token_id="").order_by("-revoked_at").first()
        return issue_token(
            user_id=row.pk, role=row.role, is_staff=row.is_staff,
            not_before=revoked.revoked_at if revoked else None,
        )  # fmt: skip

    return transact(work)


def revoke_token(*, user_id: int, token_id: str) -> None:
    """Sign one bearer token out, here at once and in every process within seconds."""
    _revoke(user_id, token_id)


def revoke_all_tokens(*, user_id: int) -> None:
    """End every bearer token and session of a user: new password, other rights, withdrawal, deactivation.

    To be called in the transaction that makes the change, so that nobody signs in between the two.
    """
    with transaction.atomic():
        # The row's lock first: who signs in meanwhile was there before, and the revocation is later.
        User.objects.filter(pk=user_id).update(sign_in_version=F("sign_in_version") + 1)
        _revoke(user_id, "")


def _revoke(user_id: int, token_id: str) -> None:
    row = TokenRevocation.objects.create(user_id=user_id, token_id=token_id)
    revocation = Revocation(user_id, token_id, row.revoked_at.timestamp())
    transaction.on_commit(lambda: revocations.add([revocation]))


def rights_changed(
    *, instance: Any, action: str, reverse: bool, pk_set: set[int] | None, **_signal: Any
) -> None:
    """A signal's receiver: whose groups or permissions are different signs in anew."""
    if action == "pre_clear" and reverse:
        users = set(instance.user_set.values_list("pk", flat=True))
    elif action in ("post_add", "post_remove") and pk_set:
        users = pk_set if reverse else {instance.pk}
    elif action == "post_clear" and not reverse:
        users = {instance.pk}
    else:
        return
    for user_id in sorted(users):
        revoke_all_tokens(user_id=user_id)
    if not reverse:
        instance.refresh_from_db(fields=["sign_in_version"])


PROFILE_FIELDS = ("name", "recipient", "phone", "postal_code", "address1", "address2")


def update_profile(*, user: User, changes: Mapping[str, str]) -> User:
    """Change the fields of `PROFILE_FIELDS` that are given.

    Raises `Invalid`, or `Unauthenticated` for a user who withdrew meanwhile: nothing personal comes back.
    """
    for field, value in changes.items():
        setattr(user, field, cleaned(value, field))
    if not user.name:
        raise Invalid(errors={"name": gettext("Must not be empty.")})
    values = {field: getattr(user, field) for field in changes}
    if not User.objects.filter(pk=user.pk, withdrawn_at__isnull=True).update(**values):
        raise Unauthenticated
    return user


def confirm_password(*, user: User, password: str, field: str) -> Deferred[None]:
    """Nothing, once that is checked. Raises `Busy`, or `Invalid` naming `field` for another password."""

    def conclude(checked: Checked) -> None:
        if not checked.is_correct:
            raise Invalid(errors={field: gettext("This is not your present password.")})

    return passwords.check(password, user.password).map(conclude, takes_long=asks_the_database)


def change_password(
    *, user: User, current: str, new: str, profile: Mapping[str, str] | None = None
) -> Deferred[User]:
    """Set a new password, and change the profile with it, once it is hashed; every token and session ends.

    Raises `Invalid` naming `current_password`, `new_password` or a field of the profile, `Busy`.
    """
    if errors := _password_errors(new, user, "new_password"):
        raise Invalid(errors=errors)
    replaced = passwords.replaced(current, user.password, new)
    return replaced.map(partial(_change_password, user, profile or {}), takes_long=asks_the_database)


def _change_password(user: User, profile: Mapping[str, str], hashed: str | None) -> User:
    if hashed is None:
        raise Invalid(errors={"current_password": gettext("This is not your present password.")})
    with transaction.atomic():
        # Only if what was checked is still the password: of two who change it at once, one comes again.
        if not User.objects.filter(pk=user.pk, password=user.password).update(password=hashed):
            raise Busy
        if profile:
            update_profile(user=user, changes=profile)
        revoke_all_tokens(user_id=user.pk)
        # Here, so that whoever changes it next ends what is given to this one.
        user.refresh_from_db(fields=["password", "sign_in_version"])
    return user


def store_password(*, user: User) -> None:
    """Keep the password that was set on `user`: every token and session that the old one opened ends.

    `user` is up to date then, so that `update_session_auth_hash` may keep the session of who changed it.
    """
    with transaction.atomic():
        user.save(update_fields=["password"])
        revoke_all_tokens(user_id=user.pk)
        user.refresh_from_db(fields=["sign_in_version"])


def withdraw(*, user: User) -> None:
    """Close an account for good: personal data is replaced, its stores close, tokens and sessions end.

    Part of a buyer's withdrawal (`orders.lifecycle.withdrawal`), which sees to their orders as well.
    """
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        # Not to be guessed: whoever signs up under it first could keep this user from leaving.
        user.email = f"withdrawn-{user.pk}-{secrets.token_hex(8)}@withdrawn.invalid"
        for field in PROFILE_FIELDS:
            setattr(user, field, "")
        user.is_active = user.is_staff = user.is_superuser = False
        user.withdrawn_at = timezone.now()
        user.set_unusable_password()
        user.save()
        Store.objects.filter(owner=user).update(status=Store.Status.CLOSED, decided_at=timezone.now())
        pages_changed()
        revoke_all_tokens(user_id=user.pk)


def deactivate(*, user_id: int, actor_id: int) -> None:
    """An operator takes an account out of use: it is signed out everywhere and cannot sign in any more.

    Raises `Forbidden` for one's own account, `Conflict` for one that is not in use.
    """
    if user_id == actor_id:
        raise Forbidden(gettext("You cannot deactivate your own account."))
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=user_id)
        if not user.is_active:
            raise Conflict(gettext("The account was deactivated before."))
        user.is_active = False
        user.save(update_fields=["is_active"])
        revoke_all_tokens(user_id=user_id)


# --- Stores -------------------------------------------------------------------------------------------


def check_store_owner(*, role: str) -> None:
    """Raises `NotAStoreOwner` for any other role."""
    if role != Role.STORE_OWNER:
        raise NotAStoreOwner


def apply_for_store(*, owner_id: int, role: str, name: str) -> Store:
    """A store owner asks for a store. Raises `NotAStoreOwner`, `Invalid`, `StoreExists`."""
    check_store_owner(role=role)
    name = cleaned(name, "name", required=True)
    try:
        with transaction.atomic():
            return Store.objects.create(owner_id=owner_id, name=name)
    except IntegrityError as exc:
        if not is_duplicate(exc):
            raise
        raise StoreExists(errors={"name": StoreExists.title}) from exc


# What a store may be before it becomes what is decided.
DECIDED_FROM = {
    Store.Status.ACCEPTED: {Store.Status.REQUESTED, Store.Status.REJECTED, Store.Status.CLOSED},
    Store.Status.REJECTED: {Store.Status.REQUESTED},
    Store.Status.CLOSED: {Store.Status.ACCEPTED},
}


def may_become(store: Store, status: str) -> bool:
    """Whether an operator may decide so. The store of an owner who withdrew is sold by nobody."""
    left = status == Store.Status.ACCEPTED and store.owner.withdrawn_at is not None
    return store.status in DECIDED_FROM[Store.Status(status)] and not left


def decide_store(*, store: Store, status: str) -> None:
    """An operator accepts, rejects or closes a store, as it is by now. Raises `StoreNotDecidable`."""
    with transaction.atomic():
        # The owner first, as in `withdraw`: whichever comes second sees what the first one did.
        User.objects.select_for_update().get(pk=store.owner_id)
        now = Store.objects.select_for_update().get(pk=store.pk)
        if not may_become(now, status):
            if now.owner.withdrawn_at is not None and status == Store.Status.ACCEPTED:
                raise StoreNotDecidable(gettext("Its owner has withdrawn: nobody would answer for it."))
            text = gettext("It is %s by now: this is not possible any more.") % now.get_status_display()
            raise StoreNotDecidable(text)
        now.status = store.status = Store.Status(status)
        now.decided_at = store.decided_at = timezone.now()
        now.save(update_fields=["status", "decided_at"])
        pages_changed()


# --- Categories ---------------------------------------------------------------------------------------


def lock_tree() -> None:
    """Whoever changes the category tree takes their turn, to the end of the transaction.

    A node's place is computed from its neighbours': two at once would compute the same. The oldest node
    stands for the whole tree.
    """
    list(Category.objects.select_for_update().order_by("pk").values_list("pk")[:1])


# --- Products -----------------------------------------------------------------------------------------


def check_seller(*, owner_id: int) -> None:
    """Whether a user may list products at all, in whichever store.

    Raises `NotYourStore` for who has none, `StoreNotAccepted` where none is accepted.
    """
    statuses = list(Store.objects.filter(owner=owner_id).order_by("-pk").values_list("status", flat=True))
    if not statuses:
        raise NotYourStore(gettext("You have no store yet: apply for one first."))
    if Store.Status.ACCEPTED not in statuses:
        raise StoreNotAccepted(store_status=statuses[0])


def store_for_sale(*, store_id: int, owner_id: int) -> Store:
    """A store that this owner may list products in. Raises `Invalid`, `NotYourStore`, `StoreNotAccepted`."""
    store = Store.objects.filter(pk=store_id).first()
    if store is None:
        raise Invalid(errors={"store": gettext("There is no store %s.") % store_id})
    if store.owner_id != owner_id:
        raise NotYourStore
    if store.status != Store.Status.ACCEPTED:
        raise StoreNotAccepted(store_status=store.status)
    return store


def create_product(
    *, store: Store, category: Category, name: str, price: int, options: Sequence[OptionDraft]
) -> tuple[Product, list[Option]]:
    """A product with its options, in the order given. Raises `Invalid` naming the option, `SkuTaken`."""
    drafts = clean_drafts(options)
    product = Product(store=store, category=category, name=cleaned(name, "name", required=True), price=price)
    with transaction.atomic():
        product.save(force_insert=True)
        pages_changed()
        return product, write_options(product, drafts)


def update_product(
    *, product: Product, changes: Mapping[str, Any], options: Sequence[OptionDraft] = ()
) -> list[Option]:
    """Change a product's name, category, price or whether it is on sale.

    Options are recognised by SKU, changed or added; those that are not named stay as they are.
    Returns the options that were added.
    Raises `Invalid`, `SkuTaken`.
    """
    drafts = clean_drafts(options)
    with transaction.atomic():
        # One change of a product at a time: its options are checked against each other.
        Product.objects.select_for_update().get(pk=product.pk)
        for field, value in changes.items():
            setattr(product, field, cleaned(value, field, required=True) if field == "name" else value)
        if changes:
            product.save(update_fields=list(changes))
        pages_changed()
        return write_options(product, drafts) if drafts else []
