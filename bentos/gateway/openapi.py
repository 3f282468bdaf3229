"""The OpenAPI document of the gateway, from the models that validate its requests."""

from typing import Any

from bentos.gateway.protocol import ChatRequest, SearchBody
from forebay import __version__

__all__ = ["describe_api"]

_ERROR = {"$ref": "#/components/schemas/Error"}
_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def describe_api() -> dict[str, Any]:
    """Build the document (OpenAPI 3.1)."""
    schemas: dict[str, Any] = {"Error": _ERROR_SCHEMA}
    for model in (ChatRequest, SearchBody):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    chat = _operation("Answer a question from the indexed documents", "ChatRequest", [400, 404, 413, 503, 504])
    chat["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Forebay", "version": __version__},
        "paths": {
            "/v1/chat/completions": {"post": chat},
            "/v1/search": {"post": _operation("Search the current release", "SearchBody", [400, 413, 503])},
            "/v1/models": {"get": _operation("List the models", None, [])},
            "/v1/models/{model}": {"get": _with_model(_operation("Describe a model", None, [404]))},
            "/health": {"get": _operation("Tell what works", None, [503])},
        },
        "components": {"schemas": schemas},
    }


def _operation(summary: str, body: str | None, errors: list[int]) -> dict[str, Any]:
    document = {"application/json": {"schema": {"type": "object"}}}
    responses: dict[str, Any] = {"200": {"description": "Success", "content": document}}
    for status in errors:
        responses[str(status)] = {
            "description": "Refused",
            "content": {"application/json": {"schema": _ERROR}},
        }
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if body:
        schema = {"$ref": f"#/components/schemas/{body}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _with_model(operation: dict[str, Any]) -> dict[str, Any]:
    parameter = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    return {**operation, "parameters": [parameter]}
