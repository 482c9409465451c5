"""Signing in to the desk: e-mail address, password, and a code from those who have a second factor."""

from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.forms import AuthenticationForm

from shop.desk.access import second_factor
from shop.desk.widgets import style_field
from shop.limits import limit_sign_in
from yousinsa.errors import TooManyRequests


def code_field(**options: Any) -> forms.CharField:
    attrs = {"autocomplete": "one-time-code", "inputmode": "text", "spellcheck": "false"}
    return forms.CharField(max_length=20, widget=forms.TextInput(attrs=attrs), **options)


class SignInForm(AuthenticationForm):
    """Counts an attempt before it looks at the password. `retry_after` is set when there were too many."""

    code = code_field(
        label=_("Code"),
        required=False,
        help_text=_("Only if you have set up a second factor: six digits, or a backup code."),
    )
    retry_after: float | None = None

    def __init__(self, request: HttpRequest | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        style_field(self.fields["code"])

    def clean(self) -> dict[str, Any]:
        try:
            limit_sign_in(self.request, self.cleaned_data.get("username", ""))
        except TooManyRequests as exc:
            self.retry_after = exc.retry_after
            seconds = exc.retry_after or 1
            text = ngettext(
                "Too many attempts to sign in. Try again in %(seconds)d second.",
                "Too many attempts to sign in. Try again in %(seconds)d seconds.",
                seconds,
            )
            raise forms.ValidationError(text, code="throttled", params={"seconds": seconds}) from exc
        cleaned: dict[str, Any] = super().clean()
        return cleaned

    def confirm_login_allowed(self, user: Any) -> None:
        """After the password: those who have a second factor need its code as well."""
        super().confirm_login_allowed(user)
        if not second_factor.is_enrolled(user):
            return
        code = self.cleaned_data.get("code", "")
        if not code:
            raise forms.ValidationError(
                _("Enter the code of your second factor as well."), code="code_missing"
            )
        device = second_factor.verify(user, code)
        if device is None:
            raise forms.ValidationError(
                _("This code is not right, or was used before. Wait for the next one."), code="wrong_code"
            )
        user.otp_device = device  # django_otp notes it in the session when the user is signed in


class CodeForm(forms.Form):
    """A code that shows that the person at the keyboard has the device."""

    code = code_field(label=_("Code"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        style_field(self.fields["code"])

    def refuse(self) -> None:
        self.add_error("code", _("This code is not right, or was used before. Wait for the next one."))
