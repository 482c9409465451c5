"""What every endpoint shares: bodies in, bodies out, both described by msgspec structs.

A request body is a `Body` subclass: decoding checks types, ranges and unknown fields in one pass. An
answer is a struct too, so the OpenAPI page (yousinsa/schema.py) shows exactly what goes over the wire.
"""

import re
from collections.abc import Mapping
from typing import IO, Any, TypeVar

import msgspec
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import QueryDict
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from yousinsa.errors import Invalid, MalformedBody, TooLarge


class Body(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A request body. Unknown fields are an error: a typo must not be ignored silently."""


class Query(msgspec.Struct, frozen=True):
    """Query parameters; all of them optional."""


B = TypeVar("B", bound=msgspec.Struct)

_PATH = re.compile(r"\s*- at `(?:key in )?\$?\.?([^`]*)`$")
_FIELD = re.compile(r"(?:required field|unknown field) `([^`]+)`")
_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def field_error(exc: msgspec.ValidationError) -> Invalid:
    """A msgspec error as a problem that names the field by its path, as in `lines.0.quantity`."""
    text = str(exc)
    path = ""
    if found := _PATH.search(text):
        path = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", found.group(1)).strip(".")
        text = text[: found.start()]
    if found := _FIELD.search(text):
        path = f"{path}.{found.group(1)}" if path else found.group(1)
    return Invalid(errors={path or "body": text.replace("Object ", "This object ", 1)})


def read_body(request: Request, kind: type[B]) -> B:
    """The request's JSON body as a `kind`.

    Raises `Invalid` naming the field, `MalformedBody`, `TooLarge`, or DRF's UnsupportedMediaType (415).
    """
    content_type = request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        from rest_framework.exceptions import UnsupportedMediaType

        raise UnsupportedMediaType(content_type or "(none)")
    try:
        raw = request._request.body
    except RequestDataTooBig as exc:
        raise TooLarge(f"At most {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes.") from exc
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as exc:
        raise field_error(exc) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise MalformedBody(str(exc)) from exc


def read_query(params: QueryDict | Mapping[str, str], kind: type[B]) -> B:
    """Query parameters as a `kind`; an empty value counts as absent. Raises `Invalid` naming the parameter."""
    try:
        return msgspec.convert({k: v for k, v in params.items() if v != ""}, kind, strict=False)
    except msgspec.ValidationError as exc:
        raise field_error(exc) from exc


class JSONParser(BaseParser):
    """Names the media type to DRF and OpenAPI; endpoints read their body with `read_body`."""

    media_type = "application/json"

    def parse(self, stream: IO[Any], media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            return msgspec.json.decode(stream.read())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise MalformedBody(str(exc)) from exc


class JSONRenderer(BaseRenderer):
    """Encodes structs, dicts, lists, datetimes."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else msgspec.json.encode(data)
