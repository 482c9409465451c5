"""Every address of the shop."""

from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.urls import include, path, re_path, register_converter, resolve
from django.urls.converters import IntConverter
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from yousinsa import content_policy, error_handlers, health


class Int63Converter(IntConverter):
    """An id that fits the database's integers: a longer one is no address, not an error."""

    regex = "[0-9]{1,18}"


register_converter(Int63Converter, "int63")


class KeepMethod(HttpResponsePermanentRedirect):
    """308: to be followed with the same method and body, where 301 turns a POST into a GET."""

    status_code = 308


class DocsView(SpectacularSwaggerSplitView):
    """Swagger's page of the API, without anything inline."""

    template_name = "docs.html"

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response.headers[content_policy.HEADER] = content_policy.DOCS
        return super().finalize_response(request, response, *args, **kwargs)


@csrf_exempt
def no_such_call(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    """What no address of the API matches, in DEBUG as well: a forgotten slash, or nothing."""
    path_info = request.path_info
    if not path_info.endswith("/") and resolve(f"{path_info}/").func is not no_such_call:
        return KeepMethod(request.get_full_path(force_append_slash=True))
    return error_handlers.not_found(request, Http404())


# Patterns are tried from the top: the busiest come first.
urlpatterns = [
    path("api/v1/", include("orders.urls")),
    path("api/v1/", include("shop.urls")),
    path("api/v1/", include("inventory.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", DocsView.as_view(url_name="schema"), name="docs"),
    re_path(r"^api/", no_such_call),
    path("", RedirectView.as_view(pattern_name="docs"), name="home"),
    path("admin/", admin.site.urls),
    path("language/", include("django.conf.urls.i18n")),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
]

handler400 = "yousinsa.error_handlers.bad_request"
handler403 = "yousinsa.error_handlers.permission_denied"
handler404 = "yousinsa.error_handlers.not_found"
handler500 = "yousinsa.error_handlers.server_error"
