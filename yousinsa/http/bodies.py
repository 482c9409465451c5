"""What every endpoint shares: bodies in, bodies out, both described by msgspec structs.

A request body is a `Body` subclass: decoding checks types, ranges and unknown fields, and cleans its text
(yousinsa/http/body_text.py). An
answer is a struct too, so the OpenAPI page (yousinsa/http/schema.py) shows exactly what goes over the wire.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import IO, Any, TypeVar

import msgspec
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, QueryDict
from django.http.request import RawPostDataException
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import NotAcceptable, UnsupportedMediaType
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from yousinsa.errors import Invalid, MalformedBody, TooLarge
from yousinsa.http.body_errors import sentence
from yousinsa.http.body_text import clean_body, has_text


class Body(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A request body. Unknown fields are an error: a typo must not be ignored silently."""


class Query(msgspec.Struct, frozen=True):
    """Query parameters; all of them optional."""


B = TypeVar("B", bound=msgspec.Struct)

_PATH = re.compile(r"\s*- at `(?:key in )?\$?\.?([^`]*)`$")
_FIELD = re.compile(r"(?:required field|unknown field) `([^`]+)`")
_MISSING = _("The body is missing: send a JSON object, {} where there is nothing to add.")
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
    return Invalid(errors={path or "body": sentence(text)})


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _value in pairs]
    if len(set(names)) != len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise Invalid(errors={twice: gettext("This field is given twice.")})


# msgspec takes the last of two fields of one name, another parser may take the first: neither is obeyed.
_check_names = json.JSONDecoder(object_pairs_hook=_refuse_twice).decode


def read_body(request: Request, kind: type[B]) -> B:
    """The request's JSON body as a `kind`; one that is missing says nothing, not even "everything".

    Raises `Invalid` naming the field, `MalformedBody`, `CutShort`, `TooLarge`, or DRF's UnsupportedMediaType
    (415).
    """
    content_type = request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        if request.META.get("CONTENT_LENGTH") in (None, "", "0"):
            raise MalformedBody(_MISSING)
        raise UnsupportedMediaType(content_type or "(none)")
    try:
        raw = request._request.body
    except RequestDataTooBig as exc:
        raise TooLarge(gettext("At most %d bytes.") % settings.DATA_UPLOAD_MAX_MEMORY_SIZE) from exc
    except RawPostDataException as exc:
        # The CSRF check of a browser's request has parsed a form from it.
        raise UnsupportedMediaType(content_type) from exc
    if not raw:
        raise MalformedBody(_MISSING)
    try:
        body = _decoded(raw, kind)
        _check_names(raw.decode())
    except msgspec.ValidationError as exc:
        raise field_error(exc) from exc
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        raise MalformedBody(sentence(str(exc))) from exc
    return body


def _decoded(raw: bytes, kind: type[B]) -> B:
    """Text is cleaned before its length is checked; a body without any is decoded in one step."""
    if has_text(kind):
        return msgspec.convert(clean_body(msgspec.json.decode(raw), kind), kind)
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    decoded: B = decoder.decode(raw)
    return decoded


def read_query(params: QueryDict | Mapping[str, str], kind: type[B]) -> B:
    """Query parameters as a `kind`; an empty value counts as absent. Raises `Invalid` naming the field."""
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
            raise MalformedBody(sentence(str(exc))) from exc


class Negotiation(DefaultContentNegotiation):
    """Answers in what there is when a client accepts nothing of it (RFC 9110, 12.5.1): an error that a
    client cannot read helps nobody, and most endpoints speak JSON only.
    """

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        offered = list(renderers)
        if len(offered) > 1:
            try:
                return super().select_renderer(request, offered, format_suffix)
            except (NotAcceptable, Http404):
                pass
        return offered[0], str(offered[0].media_type)


class JSONRenderer(BaseRenderer):
    """Encodes structs, dicts, lists, datetimes."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else msgspec.json.encode(data)
