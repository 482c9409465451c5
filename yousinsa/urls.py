"""Every address of the shop."""

from django.contrib import admin
from django.urls import include, path, register_converter
from django.urls.converters import IntConverter
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from yousinsa import health


class Int63Converter(IntConverter):
    """An id that fits the database's integers: a longer one is no address, not an error."""

    regex = "[0-9]{1,18}"


register_converter(Int63Converter, "int63")

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="docs"), name="home"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("shop.urls")),
    path("api/v1/", include("orders.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
]

handler400 = "yousinsa.errors.bad_request"
handler403 = "yousinsa.errors.permission_denied"
handler404 = "yousinsa.errors.not_found"
handler500 = "yousinsa.errors.server_error"
