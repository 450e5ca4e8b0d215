"""`/openapi.json` (OpenAPI 3.1), made from the routes and from the very types that validate."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from api import schemas
from api.routes import JSON, ROUTES, Route
from ledger import __version__

_REF = "#/components/schemas/{name}"


def build_openapi() -> dict[str, Any]:
    """The document."""
    types = [t for route in ROUTES for t in (route.takes, route.answers) if t is not None] + [schemas.Problem]
    found, components = msgspec.json.schema_components(types, ref_template=_REF)
    refs = dict(zip(types, found, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Badge ledger",
            "version": __version__,
            "description": "An append-only verification ledger for digital badges. Errors are RFC 9457 documents.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"operator": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, refs: dict[type, Any]) -> dict[str, Any]:
    first_line = (route.handler.__doc__ or "").strip().splitlines()[0]
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": first_line,
        "parameters": _parameters(route),
        "responses": {
            str(route.status): {
                "description": first_line,
                "content": {
                    media: _schema(refs, route.answers if media == JSON else None) for media in route.answers_as
                },
            },
            **{
                str(status): {
                    "description": "a problem document",
                    "content": {"application/problem+json": {"schema": refs[schemas.Problem]}},
                }
                for status in route.problems
                if status not in route.pages
            },
            **{
                str(status): {"description": "a page that says so", "content": {"text/html": {}}}
                for status in route.pages
            },
            **({"304": {"description": "the copy is still good"}} if route.conditional else {}),
        },
    }
    if route.takes is not None:
        content: dict[str, Any] = {JSON: {"schema": refs[route.takes]}}
        if route.takes_also is not None:
            content[route.takes_also] = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"required": True, "content": content}
    if route.operator:
        operation["security"] = [{"operator": []}]
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    for name, (schema, description, required) in route.query.items():
        parameters.append(
            {"name": name, "in": "query", "required": required, "schema": schema, "description": description}
        )
    return parameters


def _schema(refs: dict[type, Any], kind: type | None) -> dict[str, Any]:
    return {"schema": refs[kind]} if kind is not None else {}
