"""Who sells what: users, stores, the category tree, products and their options."""

from __future__ import annotations

import logging
from binascii import unhexlify
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import PermissionsMixin
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_totp.models import TOTPDevice
from treebeard.mp_tree import MP_Node

from yousinsa.db.fields import ExactCharField
from yousinsa.db.rows import insert_rows
from yousinsa.security.sealing import Unreadable, seal, unseal
from yousinsa.text.cleaning import tidied_email
from yousinsa.text.fields import EmailField, Keyed, KeyField, LineField, SkuField, SlugField
from yousinsa.text.keys import MAX_TERM, search_terms

logger = logging.getLogger(__name__)

MAX_PRICE = 1_000_000_000
MAX_OPTIONS = 200


class UserManager(BaseUserManager["User"]):
    use_in_migrations = True

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A user with a hashed password; the e-mail address is stored in lower case."""
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        return tidied_email(email or "")


class Role(models.TextChoices):
    BUYER = "buyer", _("buyer")
    STORE_OWNER = "store_owner", _("store owner")


OWNER_AND_SUPERUSER = _(
    "A store owner sees what is their own, a superuser everything: choose one of the two."
)


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in by e-mail. Operators are users with `is_staff`."""

    email = EmailField(_("e-mail address"), unique=True)
    name = LineField(_("name"), max_length=100, blank=True)
    role = models.CharField(_("role"), max_length=20, choices=Role.choices, default=Role.BUYER)
    is_staff = models.BooleanField(_("operator"), default=False, help_text=_("May sign in to the admin."))
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("Take this away instead of deleting an account.")
    )
    date_joined = models.DateTimeField(_("joined"), default=timezone.now)
    withdrawn_at = models.DateTimeField(_("withdrawn"), null=True, blank=True)
    sign_in_version = models.PositiveIntegerField(default=0, editable=False)

    recipient = LineField(_("recipient"), max_length=100, blank=True)
    phone = LineField(_("phone"), max_length=30, blank=True)
    postal_code = LineField(_("postal code"), max_length=10, blank=True)
    address1 = LineField(_("address"), max_length=200, blank=True)
    address2 = LineField(_("address, second line"), max_length=200, blank=True)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = ["name"]

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        ordering = ["-id"]
        permissions = [
            ("deactivate_user", _("Can deactivate user")),
            ("remove_second_factor", _("Can remove the second factor of user")),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="user_role_known"),
            models.CheckConstraint(
                condition=~models.Q(role=Role.STORE_OWNER, is_superuser=True),
                name="user_store_owner_is_no_superuser",
                violation_error_message=OWNER_AND_SUPERUSER,
            ),
            models.CheckConstraint(
                condition=models.Q(is_superuser=False) | models.Q(is_staff=True),
                name="user_superuser_is_operator",
                violation_error_message=_("A superuser is an operator as well."),
            ),
        ]

    def __str__(self) -> str:
        return self.email

    def _get_session_auth_hash(self, secret: Any = None) -> str:
        """What a session must agree on to go on: it ends with its password and when rights change."""
        rights = f"{self.role}.{self.is_staff:d}.{self.is_superuser:d}.{self.sign_in_version}"
        salt = "shop.models.User.get_session_auth_hash"
        return salted_hmac(salt, f"{self.password}.{rights}", secret=secret, algorithm="sha256").hexdigest()

    def check_password(self, raw_password: str | None) -> bool:
        """Whether it is this one; a hash by older parameters is replaced. Raises `Busy`."""
        return check_password(raw_password, self.password, lambda raw: self.upgrade_hash(make_password(raw)))

    def upgrade_hash(self, upgraded: str) -> bool:
        """Store a newer hash of the same password, which ends no token.

        False, and nothing is done, where another one is stored by now: a new password is not undone.
        """
        stored = User.objects.filter(pk=self.pk, password=self.password).update(password=upgraded)
        if stored:
            self.password = upgraded
        return bool(stored)

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.get_full_name()


class Authenticator(TOTPDevice):
    """The device of a second factor. Its secret is sealed in `key`; `bin_key` opens it."""

    class Meta:
        proxy = True
        default_permissions = ()

    def save(self, *args: Any, **options: Any) -> None:
        """Seals the secret, each time anew: so it moves from a key of SECRET_KEY_FALLBACKS to SECRET_KEY."""
        adding = self._state.adding
        secret = unhexlify(self.key) if adding else self.bin_key  # type: ignore[has-type]
        self.key = seal(secret, self._owner)
        super().save(*args, **options)

    @property
    def bin_key(self) -> bytes:
        """The secret. Raises `Unreadable`."""
        return unseal(self.key, self._owner)

    @property
    def _owner(self) -> str:
        return f"totp:{self.user_id}"

    def verify_token(self, token: str) -> bool:
        """Whether this is the device's code. One that cannot be read takes none: backup codes still work."""
        try:
            return bool(super().verify_token(token))
        except Unreadable as exc:
            logger.error("the second factor of user %s cannot be read: %s", self.user_id, exc)  # noqa: TRY400
            return False


class TokenRevocation(models.Model):
    """Ends bearer tokens before they expire: one (`token_id`), or all of a user's up to now (empty)."""

    user = models.ForeignKey(User, models.CASCADE, related_name="token_revocations", verbose_name=_("user"))
    token_id = ExactCharField(_("token"), max_length=32, blank=True)
    revoked_at = models.DateTimeField(_("revoked at"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("token revocation")
        verbose_name_plural = _("token revocations")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.token_id or _('all tokens')}"


class Store(Keyed):
    """A seller's shop. Its status alone decides whether its products are listed and sold."""

    class Status(models.TextChoices):
        REQUESTED = "requested", _("requested")
        ACCEPTED = "accepted", _("accepted")
        REJECTED = "rejected", _("rejected")
        CLOSED = "closed", _("closed")

    owner = models.ForeignKey(User, models.PROTECT, related_name="stores", verbose_name=_("owner"))
    name = LineField(_("name"), max_length=100)
    name_key = KeyField(max_length=300, of=["name"])
    status = models.CharField(_("status"), max_length=20, choices=Status.choices, default=Status.REQUESTED)
    created_at = models.DateTimeField(_("applied at"), default=timezone.now)
    decided_at = models.DateTimeField(_("decided at"), null=True, blank=True)
    commission_rate = models.PositiveSmallIntegerField(
        _("commission (basis points)"),
        null=True,
        blank=True,
        validators=[MaxValueValidator(10_000)],
        help_text=_("A hundredth of a percent of what it sells: 1000 is 10%. Empty: the shop's usual rate."),
    )

    class Meta:
        verbose_name = _("store")
        verbose_name_plural = _("stores")
        ordering = ["-id"]
        permissions = [
            ("decide_store", _("Can accept, reject and close store")),
            ("see_all_stores", _("Can see what belongs to any store")),
        ]
        indexes = [
            models.Index(fields=["status", "id"], name="store_status_id"),
            models.Index(fields=["owner", "id"], name="store_owner_id"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["name_key"],
                name="store_name_key_unique",
                violation_error_message=_("There is a store with this name already."),
            ),
            models.CheckConstraint(
                condition=models.Q(commission_rate__isnull=True) | models.Q(commission_rate__lte=10_000),
                name="store_commission_rate_in_range",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Category(MP_Node):
    """A node of the category tree (materialized path); a filter by a node includes what lies below it."""

    name = LineField(_("name"), max_length=100)
    slug = SlugField(_("slug"), max_length=100, unique=True)

    node_order_by = ["slug"]

    class Meta:
        verbose_name = _("category")
        verbose_name_plural = _("categories")

    def __str__(self) -> str:
        return self.name


class Product(Keyed):
    """Something a store sells, in one or more options."""

    store = models.ForeignKey(Store, models.PROTECT, related_name="products", verbose_name=_("store"))
    category = models.ForeignKey(
        Category, models.PROTECT, related_name="products", verbose_name=_("category")
    )
    name = LineField(_("name"), max_length=200)
    name_key = KeyField(max_length=600, of=["name"])
    price = models.BigIntegerField(
        _("price (won)"), validators=[MinValueValidator(0), MaxValueValidator(MAX_PRICE)]
    )
    is_active = models.BooleanField(
        _("on sale"), default=True, help_text=_("Take this away to hide the product and stop its sale.")
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    source_id = ExactCharField(
        _("source id"),
        max_length=64,
        null=True,
        blank=True,
        unique=True,
        help_text=_("Where an import got this product from, so that a second import finds it."),
    )

    class Meta:
        verbose_name = _("product")
        verbose_name_plural = _("products")
        ordering = ["-id"]
        # Every list is a keyset scan: the filter's columns, then the order's column, then the id.
        indexes = [
            models.Index(fields=["price", "id"], name="product_price_id"),
            models.Index(fields=["name_key", "id"], name="product_name_key_id"),
            models.Index(fields=["category", "price", "id"], name="product_category_price_id"),
            models.Index(fields=["store", "price", "id"], name="product_store_price_id"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(price__gte=0, price__lte=MAX_PRICE), name="product_price_in_range"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """What finds the product is written in the transaction of its name."""
        with transaction.atomic():
            super().save(*args, update_fields=update_fields, **kwargs)
            if update_fields is None or "name" in update_fields:
                SearchTerm.objects.note({self.pk: self.name})


class SearchTermManager(models.Manager["SearchTerm"]):
    def note(self, names: Mapping[int, str]) -> None:
        """Write down what finds these products (id -> name), inside the transaction that names them."""
        wanted = {(term, id) for id, name in names.items() for term in search_terms(name)}
        rows = self.filter(product__in=names).values_list("id", "term", "product_id")
        known = {(term, product_id): id for id, term, product_id in rows}
        if gone := [id for row, id in known.items() if row not in wanted]:
            self.filter(pk__in=gone).delete()
        insert_rows(SearchTerm, ("term", "product"), sorted(wanted - known.keys()))


class SearchTerm(models.Model):
    """What a word that is looked for may begin with to find a product (yousinsa.text.keys.search_terms).

    The words of its name, and those inside of Korean compounds, so that looking inside of words is a range of
    an index on every database. Derived from the name, and kept by whatever writes it.
    """

    # Compared by code points, as the index is read in ranges.
    term = ExactCharField(_("term"), max_length=MAX_TERM)
    product = models.ForeignKey(
        Product, models.CASCADE, related_name="search_terms", db_index=False, verbose_name=_("product")
    )

    objects: ClassVar[SearchTermManager] = SearchTermManager()

    class Meta:
        verbose_name = _("search term")
        verbose_name_plural = _("search terms")
        default_permissions = ()
        indexes = [models.Index(fields=["term", "product"], name="search_term_product")]
        constraints = [
            models.UniqueConstraint(fields=["product", "term"], name="search_product_term_unique"),
        ]

    def __str__(self) -> str:
        return self.term


class Option(Keyed):
    """One size and colour of a product that can be bought."""

    product = models.ForeignKey(Product, models.PROTECT, related_name="options", verbose_name=_("product"))
    sku = SkuField(
        _("SKU"), max_length=64, unique=True, help_text=_("Stock keeping unit; unique in the whole shop.")
    )
    # `Shirt-1` and `shirt-1` are two SKUs; who looks for one may mean either.
    sku_key = KeyField(max_length=200, of=["sku"], db_index=True)
    size = LineField(_("size"), max_length=30, blank=True)
    color = LineField(_("colour"), max_length=50, blank=True)
    # `S` and `s` are one size, `😀` and `😁` are two.
    look_key = KeyField(max_length=250, of=["size", "color"])
    is_active = models.BooleanField(
        _("on sale"),
        default=True,
        db_default=True,
        help_text=_("Take this away to stop the sale of this size and colour alone, in drops as well."),
    )

    class Meta:
        verbose_name = _("option")
        verbose_name_plural = _("options")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["product", "look_key"],
                name="option_look_unique",
                violation_error_message=_("The product has an option of this size and colour already."),
            ),
        ]
        # The few that are off sale, for lists of what is not in stock.
        indexes = [models.Index(fields=["is_active"], name="option_is_active")]

    def __str__(self) -> str:
        return self.sku
