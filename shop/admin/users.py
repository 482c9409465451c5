"""People: accounts, and the tokens that were taken from them."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _
from unfold.forms import UserChangeForm, UserCreationForm

from shop import services
from shop.desk.access import second_factor
from shop.desk.access.passwords import PasswordForm
from shop.desk.access.permission_names import NamesPermissions
from shop.desk.base import DateFilter, ReadOnlyAdmin
from shop.desk.columns import moment
from shop.desk.links import related_links
from shop.desk.operations import OperatedAdmin, Operation, OperationForm
from shop.models import TokenRevocation, User
from shop.rights.groups import contradiction
from shop.selectors import begins, find_users
from yousinsa.errors import Conflict

# What a bearer token states of its user, or stands on: changing it ends the tokens that say otherwise.
STATED_BY_TOKENS = {"role", "is_staff", "is_superuser"}


class NewUserForm(UserCreationForm):
    class Meta:
        model = User
        fields = ("email", "name", "role")


class ChangedUserForm(UserChangeForm):
    """Roles and groups that contradict each other are refused, whichever of the two is changed."""

    class Meta:
        model = User
        fields = "__all__"

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        groups = values["groups"] if "groups" in values else self.instance.groups.all()
        rank = {name: values.get(name, getattr(self.instance, name)) for name in ("role", "is_superuser")}
        if wrong := contradiction(rank["role"], groups, is_superuser=rank["is_superuser"]):
            self.add_error("role" if "role" in self.fields else None, wrong)
        return values


class DeactivateForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        services.deactivate(user_id=self.record.pk, actor_id=actor_id)


DEACTIVATE = Operation(
    name="deactivate",
    permission="shop.deactivate_user",
    label=_("deactivate"),
    explanation=_("The user is signed out everywhere and cannot sign in any more. Orders and stores stay."),
    done=_("deactivated, and signed out everywhere."),
    form=DeactivateForm,
    possible=lambda user: user.is_active,
    action=_("Deactivate selected users"),
    done_many=ngettext_lazy("%d user deactivated.", "%d users deactivated."),
)


class RemoveSecondFactorForm(OperationForm):
    def run(self, *, actor_id: int) -> None:
        if not second_factor.remove(self.record):
            raise Conflict(gettext("There is no second factor any more."))


REMOVE_SECOND_FACTOR = Operation(
    name="remove-second-factor",
    permission="shop.remove_second_factor",
    label=_("remove second factor"),
    explanation=_(
        "The user's device is lost: they sign in by password alone until they set up another one. "
        "Make sure that it is really they who ask."
    ),
    done=_("second factor removed."),
    form=RemoveSecondFactorForm,
    possible=second_factor.is_enrolled,
)


@admin.register(User)
class UserAdmin(NamesPermissions, OperatedAdmin, DjangoUserAdmin):
    """Accounts are deactivated, never deleted: orders and the ledger name them."""

    operations = (DEACTIVATE, REMOVE_SECOND_FACTOR)
    exported = {
        "id": "id", "email": "email", "name": "name", "role": "role", "active": "is_active",
        "staff": "is_staff", "joined at": "date_joined", "withdrawn at": "withdrawn_at",
    }  # fmt: skip
    form = ChangedUserForm
    add_form = NewUserForm
    change_password_form = PasswordForm
    list_display = ("email", "name", "role", "is_active", "is_staff", "joined", "withdrawn")
    list_filter = ("role", "is_active", "is_staff", "is_superuser", "groups")
    search_fields = ("email",)
    search_help_text = _("Beginning of the e-mail address or of the name.")
    ordering = ("-id",)
    readonly_fields = ("last_login", "date_joined", "withdrawn_at", "elsewhere")
    fieldsets = (
        (None, {"fields": ("email", "password", "name", "role", "elsewhere")}),
        (_("Saved address"), {"fields": ("recipient", "phone", "postal_code", "address1", "address2")}),
        (
            _("Permissions"),
            {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")},
        ),
        (_("Important dates"), {"fields": ("last_login", "date_joined", "withdrawn_at")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": ("email", "name", "role", "usable_password", "password1", "password2"),
            },
        ),
    )

    joined = moment("date_joined", _("joined"))
    withdrawn = moment("withdrawn_at", _("withdrawn"))

    @admin.display(description=_("belongs to"))
    def elsewhere(self, user: User) -> SafeString:
        return related_links(user)

    def find(self, queryset: QuerySet[User], term: str) -> QuerySet[User]:
        by_email = begins("email", User.objects.normalize_email(term))
        return queryset.filter(by_email if "@" in term else by_email | Q(name__istartswith=term))

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        """Only superusers give rights, and nobody locks themselves out."""
        fields = [*super().get_readonly_fields(request, obj)]
        if not request.user.is_superuser:
            fields += ["is_staff", "is_superuser", "groups", "user_permissions"]
        if obj is not None and obj.pk == request.user.pk:
            fields += ["is_active", "is_staff", "is_superuser"]
        return fields

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Not of who has withdrawn either: a form opened before would bring their data back."""
        withdrawn = obj is not None and obj.withdrawn_at is not None
        return super().has_change_permission(request, obj) and _may_touch(request, obj) and not withdrawn

    def may_operate(self, request: HttpRequest, operation: Operation, obj: User | None = None) -> bool:
        return super().may_operate(request, operation, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        deactivated = "is_active" in form.changed_data and not obj.is_active
        if change and (deactivated or STATED_BY_TOKENS & set(form.changed_data)):
            services.revoke_all_tokens(user_id=obj.pk)


def _may_touch(request: HttpRequest, user: User | None) -> bool:
    """Operators' accounts are a superuser's business: a password set here would be a way to their rights."""
    if user is None or not (user.is_staff or user.is_superuser):
        return True
    return bool(request.user.is_superuser) or user.pk == request.user.pk


@admin.register(TokenRevocation)
class TokenRevocationAdmin(ReadOnlyAdmin):
    """Why a bearer token stopped working. Written by signing out, new passwords and deactivation."""

    exported = {"user": "user__email", "token": "token_id", "revoked at": "revoked_at"}
    list_display = ("user", "what", "at")
    list_select_related = ("user",)
    list_filter = (("revoked_at", DateFilter),)
    search_fields = ("user",)
    search_help_text = _("Beginning of the user's e-mail address.")

    at = moment("revoked_at", _("revoked at"))

    @admin.display(description=_("revoked"))
    def what(self, revocation: TokenRevocation) -> Any:
        return revocation.token_id or _("all tokens up to then")

    def find(self, queryset: QuerySet[TokenRevocation], term: str) -> QuerySet[TokenRevocation]:
        return queryset.filter(user__in=find_users(term))
