"""A caller who holds every answer against the OpenAPI description."""

import re
from typing import Any

from jsonschema import Draft202012Validator

from shop.models import User
from tests.support.wire import Answer, Wire

# Headers of some answers only: of an order placed before, of a page that is the same for many.
NOT_ALWAYS = ("Idempotent-Replayed", "ETag")


class Checked(Wire):
    """A caller who looks each answer up in the schema."""

    def __init__(self, schema: dict[str, Any], user: User | None = None) -> None:
        super().__init__(user)
        self.schema = schema

    def __call__(self, method: str, path: str, *args: Any, **headers: Any) -> Answer:
        answer = super().__call__(method, path, *args, **headers)
        template = re.sub(r"^drops/\d+/", "drops/{id}/", path.partition("?")[0])
        template = re.sub(r"^products/\d+/", "products/{id}/", template)
        template = re.sub(r"^options/\d+/", "options/{id}/", template)
        template = re.sub(r"^orders/[^/]+/", "orders/{number}/", template)
        operation = self.schema["paths"][f"/api/v1/{template}"][method.lower()]
        response = operation["responses"].get(str(answer.status_code))
        assert response, f"{method} {path}: {answer.status_code} is not described, {answer.content!r}"
        for name in response.get("headers", {}):
            assert name in answer or name in NOT_ALWAYS, f"{method} {path}: no {name}"
        if "content" not in response:
            assert answer.content == b""
            return answer
        ((media_type, content),) = response["content"].items()
        assert answer["Content-Type"] == media_type
        whole = {**content["schema"], "components": self.schema["components"]}
        Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
            answer.json()
        )
        return answer
