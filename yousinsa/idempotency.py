"""The header Idempotency-Key, with which a request that is sent again is done once."""

import re

from django.utils.translation import gettext
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from yousinsa.errors import Invalid

_KEY = re.compile(r"[\x21-\x7E]{1,255}")


def key_header(description: str) -> OpenApiParameter:
    """The header as OpenAPI describes it."""
    return OpenApiParameter(
        "Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER, pattern=r"^[\x21-\x7E]{1,255}$",
        description=description,
    )  # fmt: skip


def replayed_header(status: int, description: str) -> OpenApiParameter:
    """What the answer to a repeated request bears, as OpenAPI describes it."""
    return OpenApiParameter(
        "Idempotent-Replayed", OpenApiTypes.STR, OpenApiParameter.HEADER, response=[status],
        description=description,
    )  # fmt: skip


def idempotency_key(request: Request) -> str | None:
    """The header's value, None where there is none. Raises `Invalid` for one of other form."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        message = gettext("Must be given once: 1 to 255 characters of printable ASCII without spaces.")
        raise Invalid(errors={"Idempotency-Key": message})
    return key
