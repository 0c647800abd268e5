"""OpenAPI 3.1, made of what the application's routes say of themselves: no route can be left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import attrs
from quart import Quart
from werkzeug.routing import Rule

import invorto
from invorto.api.problems import CODES, ProblemAnswer
from invorto.api.routing import JSON, Operation, operation_of, path_names
from invorto.api.schema import Schema, Schemas
from invorto.convert import camel

_UNSAID = frozenset({"HEAD", "OPTIONS"})
_ALWAYS = ("internal_error", "store_unavailable")
_WITH_BODY = ("bad_request", "request_timeout", "payload_too_large", "unsupported_media_type", "validation_failed")
_LATER = frozenset({429, 503})
_PLACE = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")

_IDEMPOTENCY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same again within a day is answered again and not done again; with another body it is 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


def declared(app: Quart) -> Iterator[tuple[Rule, str, Operation | None]]:
    """Give every route of the application, each method of it, and what it says of itself."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        for method in sorted((rule.methods or set()) - _UNSAID):
            yield rule, method, operation_of(app.view_functions[rule.endpoint])


def path_of(rule: Rule) -> str:
    """Write a route's path as OpenAPI does."""
    return _PLACE.sub(lambda found: f"{{{camel(found[1])}}}", rule.rule)


def document(app: Quart) -> Schema:
    """Write the document; `TypeError` for a route that says nothing of itself."""
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, operation in declared(app):
        if operation is None:
            raise TypeError(f"{method} {rule.rule} is not declared by `Routes`")
        paths.setdefault(path_of(rule), {})[method.lower()] = _operation(rule, method, operation, schemas)
    _link(paths)
    tags = sorted({one["tags"][0] for path in paths.values() for one in path.values()})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Invorto",
            "version": invorto.__version__,
            "description": "Voice agents over REST. Errors are `{code, message, requestId, details?}`;"
            " times are ISO 8601 in UTC. The voice socket is described at `/v1/asyncapi.json`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, or an RS256 token."},
                "keyHeader": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _operation(rule: Rule, method: str, operation: Operation, schemas: Schemas) -> Schema:
    made: Schema = {
        "operationId": f"{operation.tag}.{operation.name}",
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": _description(operation),
        "security": [{"key": []}, {"keyHeader": []}] if operation.needs else [],
        "parameters": [
            *_path_parameters(rule),
            *_query_parameters(operation, schemas),
            *([_IDEMPOTENCY] if method == "POST" and operation.needs else []),
        ],
        "responses": _responses(rule, method, operation, schemas),
    }
    if operation.needs:
        made["x-role"] = operation.needs
    if operation.body is not None:
        schema = schemas.of(operation.body, "request")
        whole = schemas.components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        made["requestBody"] = {  # nothing at all is an empty object
            "required": "required" in whole or schema == {"type": "string"},
            "content": {kind: {"schema": schema if kind == JSON else {"type": "string"}} for kind in operation.reads},
        }
    if not made["parameters"]:
        del made["parameters"]
    return made


def _description(operation: Operation) -> str:
    role = f"Needs a key of the role `{operation.needs}` or above." if operation.needs else "Needs no key."
    return f"{operation.description}\n\n{role}" if operation.description else role


def _path_parameters(rule: Rule) -> Iterator[Schema]:
    for name in path_names(rule.rule):
        yield {"name": camel(name), "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameters(operation: Operation, schemas: Schemas) -> Iterator[Schema]:
    if operation.query is None:
        return
    told = schemas.object(operation.query, "request")["properties"]
    for field in attrs.fields(attrs.resolve_types(operation.query)):
        schema = dict(told[camel(field.name)])
        words = schema.pop("description", None)
        if isinstance(schema.get("type"), list):  # a parameter is left out, it is never null
            (schema["type"],) = [one for one in schema["type"] if one != "null"]
        if "anyOf" in schema:
            others = [one for one in schema["anyOf"] if one != {"type": "null"}]
            schema = others[0] if len(others) == 1 else {**schema, "anyOf": others}
        parameter: Schema = {
            "name": camel(field.name),
            "in": "query",
            "required": field.default is attrs.NOTHING,
            "allowEmptyValue": True,  # is the same as leaving it out
            "schema": schema,
        }
        if schema.get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        yield parameter | ({"description": words} if words else {})


def refusals(rule: Rule, method: str, operation: Operation) -> dict[int, list[str]]:
    """Give the codes with which a route may refuse, by status."""
    codes = [*_ALWAYS, *operation.errors, "bad_request"]
    if operation.needs:
        codes += ["invalid_api_key", "forbidden", "rate_limit_exceeded"]
        if method == "POST":
            codes += ["idempotency_conflict", *(["secret_already_shown"] if operation.secret else [])]
    if path_names(rule.rule):
        codes.append("not_found")
    if operation.query is not None:
        codes.append("validation_failed")
    if operation.body is not None:
        codes += _WITH_BODY
    found: dict[int, list[str]] = {}
    for code in sorted(set(codes)):
        found.setdefault(CODES.get(code, 409), []).append(code)
    return dict(sorted(found.items()))


def _responses(rule: Rule, method: str, operation: Operation, schemas: Schemas) -> Schema:
    schema = None if operation.gives is None else schemas.of(operation.gives, "answer")
    good: Schema = {}
    if schema is not None:
        good["content"] = {
            kind: {"schema": schema if kind == JSON or len(operation.kinds) == 1 else {"type": "string"}}
            for kind in operation.kinds
        }
    responses: dict[str, Schema] = {}
    for status in (operation.status, *operation.also):
        responses[str(status)] = {"description": HTTPStatus(status).phrase, **good}
    if operation.status == HTTPStatus.CREATED:
        responses["201"]["headers"] = {"Location": {"schema": {"type": "string"}, "description": "Where it is."}}
    problem = schemas.of(ProblemAnswer, "answer")
    for status, codes in refusals(rule, method, operation).items():
        later = {"Retry-After": {"schema": {"type": "integer", "minimum": 0}, "description": "Seconds."}}
        responses[str(status)] = {
            "description": " or ".join(f"`{code}`" for code in codes),
            "content": {JSON: {"schema": problem}},
            **({"headers": later} if status in _LATER else {}),
        }
    return responses


def _link(paths: dict[str, dict[str, Any]]) -> None:
    """Say where what was made can be asked for: a POST that answers 201 leads to the paths below it."""
    for path, methods in paths.items():
        made = methods.get("post", {}).get("responses", {}).get("201")
        if made is None:
            continue
        below = re.compile(re.escape(path) + r"/\{(\w+)\}(/[\w-]+)?$")
        links: Schema = {}
        for other, operations in paths.items():
            if not (found := below.match(other)):
                continue
            for operation in operations.values():
                links[operation["operationId"].replace(".", "-")] = {
                    "operationId": operation["operationId"],
                    "parameters": {found[1]: "$response.body#/id"},
                }
        if links:
            made["links"] = links
