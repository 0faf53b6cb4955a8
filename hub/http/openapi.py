"""What the HTTP port offers, as an OpenAPI document made from the types that requests are checked against."""

from importlib.metadata import version
from typing import Any

import msgspec

from hub.http.admin import ReloadRequest
from hub.http.evaluate import EXAMPLE, Evaluation, Query, Question
from hub.http.trades import PageQuery

Json = dict[str, Any]
REF = "#/components/schemas/{name}"
TEXT: Json = {"type": "string"}
EVALUATED = {name: {"schema": TEXT} for name in ("X-Arbhub-Reason", "X-Arbhub-Config-Version")}
READINESS: Json = {
    "type": "object",
    "required": ["ready", "reasons", "details"],
    "properties": {
        "ready": {"type": "boolean"},
        "reasons": {"type": "array", "items": TEXT},
        "details": {"type": "array", "items": TEXT},
    },
}
TRADES: Json = {
    "type": "object",
    "required": ["trades", "next"],
    "properties": {
        "trades": {"type": "array", "items": {"type": "object", "required": ["id"]}},
        "next": {"type": ["string", "null"]},
    },
}
PROBLEM: Json = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": TEXT,
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "reasons": {"type": "array", "items": TEXT},
    },
}


def document() -> Json:
    """OpenAPI 3.1."""
    _, schemas = msgspec.json.schema_components((Question, Evaluation, ReloadRequest), ref_template=REF)
    return {
        "openapi": "3.1.0",
        "info": {"title": "arbhub", "version": version("arbhub"), "description": "The hub's HTTP port."},
        "paths": {
            "/health": {"get": _route("Whether the process is alive.", {"200": _json({"type": "object"})})},
            "/ready": {"get": _route("Whether ticks can be approved.", _either("200", "503", READINESS))},
            "/metrics": {"get": _route("Metrics.", {"200": {"description": "Yes.", "content": {"text/plain": {}}}})},
            "/openapi.json": {"get": _route("This document.", {"200": _json({"type": "object"})})},
            "/v1/evaluate": {"get": _evaluate_query(), "post": _evaluate_body()},
            "/api/logs/trades": {"get": _trades()},
            "/admin/reload-config": {"post": _reload()},
        },
        "components": {
            "schemas": {**schemas, "Problem": PROBLEM},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _evaluate_body() -> Json:
    answers = {"200": _json(_ref("Evaluation"), EVALUATED), **_problems("400", "404", "413", "415")}
    return _route("The decision on a tick.", answers, {"requestBody": _body("Question", EXAMPLE)})


def _evaluate_query() -> Json:
    answers = {**_either("200", "403", _ref("Evaluation"), EVALUATED), **_problems("400", "404")}
    return _route(
        "The decision on a tick of one level a side: 200 approved, 403 rejected.",
        answers,
        {"parameters": _parameters(Query)},
    )


def _trades() -> Json:
    answers = {"200": _json(TRADES), **_problems("400", "503")}
    return _route("The ledger's trades, newest first.", answers, {"parameters": _parameters(PageQuery), **_closed()})


def _reload() -> Json:
    answers = {"200": _json({"type": "object"}), **_problems("400", "409", "413", "415", "503", "504")}
    return _route(
        "Put a configuration into force.",
        answers,
        {"requestBody": _body("ReloadRequest", {"dry_run": True}), **_closed()},
    )


def _route(summary: str, answers: Json, more: Json | None = None) -> Json:
    return {"summary": summary, "responses": {**answers, **_problems("401", "429")}, **(more or {})}


def _closed() -> Json:
    return {"security": [{"bearer": []}, {}]}  # a hub that only its own machine reaches may do without


def _ref(name: str) -> Json:
    return {"$ref": REF.format(name=name)}


def _json(schema: Json, headers: Json | None = None) -> Json:
    return {
        "description": "The answer.",
        "content": {"application/json": {"schema": schema}},
        "headers": headers or {},
    }


def _either(yes: str, no: str, schema: Json, headers: Json | None = None) -> Json:
    return {status: _json(schema, headers) for status in (yes, no)}


def _problems(*statuses: str) -> Json:
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    return {status: {"description": "Why not.", "content": content} for status in statuses}


def _body(name: str, example: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": _ref(name), "example": example}}}


def _parameters(query: type[msgspec.Struct]) -> list[Json]:
    _, schemas = msgspec.json.schema_components((query,), ref_template=REF)
    schema = schemas[query.__name__]
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": property_}
        for name, property_ in schema["properties"].items()
    ]
