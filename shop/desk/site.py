"""The admin site of the desk: the theme's site, with the shop's own door."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import django_otp
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.safestring import mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from unfold.sites import UnfoldAdminSite

from shop.desk.access import idle, second_factor
from shop.desk.access.sign_in import CodeForm, SignInForm
from shop.limits import remember_device
from shop.models import User
from shop.services import revoke_all_tokens


class DeskSite(UnfoldAdminSite):
    index_title = _("Today")
    index_template = "desk/front_page.html"
    login_template = "desk/sign_in.html"
    login_form = SignInForm
    empty_value_display = "–"

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Devices and backup codes have no lists: their secrets are for their owner's eyes."""
        one = isinstance(model_or_iterable, type) and issubclass(model_or_iterable, Model)
        models = [model_or_iterable] if one else list(model_or_iterable)
        shown = [model for model in models if not model._meta.app_label.startswith("otp_")]
        if shown:
            super().register(shown, admin_class, **options)

    # --- Who gets in ----------------------------------------------------------------------------------

    def has_permission(self, request: HttpRequest) -> bool:
        """An operator, who gave a code where one is needed."""
        return super().has_permission(request) and second_factor.is_passed(request)

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., Any]:
        inner = super().admin_view(view, cacheable)

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            idle.end_or_note(request)
            if second_factor.must_enrol(request):
                if request.path == reverse("admin:logout"):
                    return csrf_protect(self.logout)(request)
                return redirect("admin:second_factor")
            return inner(request, *args, **kwargs)

        return update_wrapper(guarded, inner)

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response = super().login(request, extra_context)
        if request.method == "POST" and isinstance(request.user, User) and response.status_code == 302:
            remember_device(response, request.user.email)
        form = (getattr(response, "context_data", None) or {}).get("form")
        if form is not None and getattr(form, "retry_after", None):
            response.status_code = 429
            response["Retry-After"] = str(form.retry_after)
        return response

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """One's own: every token and every other session ends, this one goes on."""
        with transaction.atomic():
            response: HttpResponse = super().password_change(request, extra_context)
            if request.method == "POST" and response.status_code == 302 and isinstance(request.user, User):
                revoke_all_tokens(user_id=request.user.pk)
                request.user.refresh_from_db(fields=["sign_in_version"])
                update_session_auth_hash(request, request.user)
        return response

    # --- The second factor ----------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        page = never_cache(csrf_protect(self.second_factor))
        return [path("second-factor/", page, name="second_factor"), *super().get_urls()]

    def second_factor(self, request: HttpRequest) -> HttpResponse:
        """One's own second factor: set up a device, make new backup codes, turn it off."""
        if not (self.has_permission(request) or second_factor.must_enrol(request)):
            return HttpResponseRedirect(f"{reverse('admin:login')}?next={request.path}")
        user = User.objects.get(pk=int(request.user.pk or 0))
        enrolled = second_factor.is_enrolled(user)
        sent = request.POST if request.method == "POST" else None
        form = CodeForm(sent, request=request, user=user, enrolled=enrolled)
        codes: list[str] = []
        if request.method == "POST" and form.is_valid():
            code = form.cleaned_data["code"]
            wanted = request.POST.get("do", "")
            if wanted == "confirm" and not enrolled:
                codes = self._confirm(request, user, code)
            elif enrolled and wanted in ("codes", "remove") and second_factor.verify(user, code):
                if wanted == "remove":
                    return self._remove(request, user)
                codes = second_factor.new_backup_codes(user)
                self._log(request, user, _("made new backup codes"))
            if not codes:
                form.refuse()
        return self._page(request, user, form, codes)

    def _confirm(self, request: HttpRequest, user: User, code: str) -> list[str]:
        confirmed = second_factor.confirm(user, code)
        if confirmed is None:
            return []
        device, codes = confirmed
        django_otp.login(request, device)
        self._log(request, user, _("turned the second factor on"))
        return codes

    def _remove(self, request: HttpRequest, user: User) -> HttpResponse:
        second_factor.remove(user)
        self._log(request, user, _("turned the second factor off"))
        messages.success(request, gettext("The second factor is off: you sign in by password alone."))
        return redirect("admin:second_factor")

    def _log(self, request: HttpRequest, user: User, message: Any) -> None:
        self._registry[User].log_change(request, user, message)

    def _page(self, request: HttpRequest, user: User, form: CodeForm, codes: list[str]) -> HttpResponse:
        enrolled = second_factor.is_enrolled(user)
        context: dict[str, Any] = {
            **self.each_context(request),
            "title": gettext("Second factor"),
            "form": form,
            "codes": codes,
            "enrolled": enrolled,
            "required": second_factor.is_required(),
            "codes_left": second_factor.backup_codes_left(user),
        }
        if not enrolled:
            device = second_factor.new_device(user)
            context["picture"] = mark_safe(second_factor.picture(device))  # noqa: S308 (our own SVG)
            context["secret"] = second_factor.secret(device)
        request.current_app = self.name
        return TemplateResponse(request, "desk/second_factor.html", context)
