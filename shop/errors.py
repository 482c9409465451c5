"""What the shop refuses, as problems that carry their data."""

from django.utils.translation import gettext_lazy as _

from yousinsa.errors import Conflict, Forbidden, Unauthenticated


class EmailTaken(Conflict):
    code = "email_taken"
    title = _("There is an account with this e-mail address.")


class WrongCredentials(Unauthenticated):
    """401: e-mail or password; the answer does not tell which."""

    code = "wrong_credentials"
    title = _("E-mail address or password is wrong.")


class NotAStoreOwner(Forbidden):
    code = "not_a_store_owner"
    title = _("Only store owners may do this: sign up with the role store_owner.")


class NotYourStore(Forbidden):
    code = "not_your_store"
    title = _("This store belongs to somebody else.")


class StoreNotAccepted(Forbidden):
    code = "store_not_accepted"
    title = _("The store has not been accepted by an operator.")


class StoreNotDecidable(Conflict):
    """409: the store is not what it was when somebody decided this."""

    code = "store_not_decidable"
    title = _("This cannot be decided of the store now.")


class StoreExists(Conflict):
    code = "store_exists"
    title = _("There is a store with this name already.")


class SkuTaken(Conflict):
    """409: the SKU belongs to an option already; `errors` names the line."""

    code = "sku_taken"
    title = _("The SKU is taken.")
