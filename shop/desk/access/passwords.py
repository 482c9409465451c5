"""New passwords at the desk: one's own, and one that an operator gives somebody."""

from typing import Any

from unfold.forms import AdminOwnPasswordChangeForm, AdminPasswordChangeForm

from shop import services


class EndsSignIns:
    """For a form that sets a password: every token and every session that the old one opened ends."""

    def save(self, commit: bool = True) -> Any:
        user: Any = super().save(commit=False)  # type: ignore[misc]
        services.store_password(user=user)
        return user


class OwnPasswordForm(EndsSignIns, AdminOwnPasswordChangeForm):
    pass


class PasswordForm(EndsSignIns, AdminPasswordChangeForm):
    pass
