"""The OpenAPI document: what FastAPI finds, real problem details, and the messages of WebSockets, which it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Union

from fastapi import FastAPI
from pydantic import BaseModel, Field, TypeAdapter

from motion_service.diagnostics_schemas import EVENTS
from motion_service.schemas import Problem
from motion_service.stream_schemas import CLIENT_MESSAGES, SERVER_MESSAGES

_REF: Final = "#/components/schemas/{model}"

MESSAGES: Final[dict[str, tuple[str, Sequence[type[BaseModel]]]]] = {
    "StreamRequest": ("What a client sends on WS /v1/motion/stream.", CLIENT_MESSAGES),
    "StreamMessage": ("What the service sends there.", SERVER_MESSAGES),
    "DiagnosticsEvent": ("What the service sends on WS /v1/diagnostics/events.", EVENTS),
}
"""{name in the document: (description, the messages that it may be)}"""


def describe_completely(app: FastAPI) -> None:
    """Make the document of ``app`` tell what errors really look like, instead of FastAPI's own validation errors, and
    hold the messages of WebSockets, which OpenAPI has no place for, among its schemas.
    """
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        schemas = document["components"]["schemas"]
        schemas["Problem"] = Problem.model_json_schema(ref_template=_REF)
        schemas |= schemas["Problem"].pop("$defs", {})
        for name, (description, kinds) in MESSAGES.items():
            mode: Literal["validation", "serialization"] = "validation" if kinds is CLIENT_MESSAGES else "serialization"
            _add_messages(schemas, name, description, kinds, mode)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for operation in [operation for path in document["paths"].values() for operation in path.values()]:
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]  # a text in a path is never invalid, only not found
        document["components"]["schemas"] = dict(sorted(schemas.items()))
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _add_messages(
    schemas: dict[str, Any],
    name: str,
    description: str,
    kinds: Sequence[type[BaseModel]],
    mode: Literal["validation", "serialization"],
) -> None:
    """Add the messages and their union. What routes have described already stays as it is."""
    choice: Any = Union[tuple(kinds)]  # noqa: UP007
    union: TypeAdapter[Any] = TypeAdapter(Annotated[choice, Field(discriminator="type")])
    schema = union.json_schema(ref_template=_REF, mode=mode)
    for part, definition in schema.pop("$defs").items():
        schemas.setdefault(part, definition)
    schemas[name] = {"title": name, "description": description, **schema}
