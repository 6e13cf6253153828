"""The OpenAPI document, made from the routes and their models: what is mounted is what is documented."""

import copy
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from pydantic_core import to_json

from gateway.document_words import described, example_of, parameter_words
from gateway.openai.errors import ErrorAnswer, openai_code, openai_status, speaks_openai
from gateway.problems import PROBLEM_JSON
from gateway.route import JSON, Body, Call, Header, Reply, Route
from shared.errors import EditStudioError

FORM = "multipart/form-data"
_REF = "#/components/schemas/{model}"
_PATH_NAME = re.compile(r"\{(\w+)\}")
_HEADERS = {
    "X-Request-Id": "the request, as the log and every edit that it made have it",
    "X-Content-Type-Options": "`nosniff`",
    "Cache-Control": "`private, no-store`, but for pictures",
    "RateLimit-Policy": "how many requests of this kind the key may make in how many seconds",
    "RateLimit": "how many of them are left (`r`), and seconds until all are there again (`t`)",
    "Retry-After": "seconds to wait before the same is tried again",
    "WWW-Authenticate": "how to send a key",
}


class FieldProblem(BaseModel):
    """One fault. `pointer`: JSON pointer into the body (RFC 6901), or `/` and a query parameter's name; empty for the whole."""

    model_config = ConfigDict(extra="forbid")

    pointer: str
    code: str
    message: str


class Problem(BaseModel):
    """Why a request was not answered as asked (RFC 9457). `code` is stable; all are listed at `…/errors`."""

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str
    retryable: bool
    request_id: str
    errors: tuple[FieldProblem, ...] | None = None


def openapi_document(routes: Sequence[Route], *, title: str = "Edit Studio") -> dict[str, Any]:
    """OpenAPI 3.1 for these routes."""
    schemas = _Schemas(routes)
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for route in routes:
        paths[route.path][route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version("edit-studio"), "description": "Every image-edit model behind one API."},
        "paths": dict(paths),
        "components": {
            "schemas": schemas.components,
            "headers": {name: {"description": told, "schema": {"type": "string"}} for name, told in _HEADERS.items()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "an API key: es_…"}},
        },
    }


def openapi_route(routes: Iterable[Route]) -> Route:
    """The route that answers the document of `routes` and of itself."""

    async def show(_: Call) -> web.Response:
        return web.Response(body=document, headers={hdrs.CONTENT_TYPE: JSON})

    reply = Reply(200, "OpenAPI 3.1", content_types=(JSON,))
    route = Route("GET", "/openapi.json", "This document", show, scope=None, tag="reference", replies=(reply,))
    document = to_json(openapi_document([*routes, route]))
    return route


class _Schemas:
    """The schemas of all models; bodies as they are taken, replies as they are given."""

    def __init__(self, routes: Sequence[Route]) -> None:
        wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {
            (Problem, "serialization"): None,
            (ErrorAnswer, "serialization"): None,
        }
        for route in routes:
            if route.body is not None and route.body.model is not None:
                wanted[route.body.model, "validation"] = None
            wanted.update({(reply.model, "serialization"): None for reply in route.replies if reply.model is not None})
        self._places, definitions = models_json_schema(list(wanted), ref_template=_REF)
        self.components: dict[str, Any] = {name: described(name, schema) for name, schema in definitions["$defs"].items()}

    def of(self, model: type[BaseModel], mode: JsonSchemaMode) -> dict[str, Any]:
        """A reference to the model's schema."""
        return self._places[model, mode]

    def as_form(self, body: Body, model: type[BaseModel]) -> dict[str, Any]:
        """The model's schema with the body's file parts beside the fields. Text parts hold values as JSON writes them."""
        name = self.of(model, "validation")["$ref"].rsplit("/", 1)[1]
        schema: dict[str, Any] = copy.deepcopy(self.components[name])
        file = {"type": "string", "format": "binary"}
        schema["properties"] |= dict.fromkeys(body.files, file)
        schema["properties"] |= {name: {"type": "array", "items": file} for name in body.repeatable_files}
        schema["properties"]["request"] = {
            "type": "string",
            "contentMediaType": JSON,
            "description": "the fields as one JSON object",
        }
        return schema


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z]+', '_', route.path.rsplit('/edit/', 1)[-1]).strip('_')}",
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *map(_header_parameter, route.headers)],
        "responses": _responses(route, schemas),
    }
    if route.description:
        operation["description"] = route.description
    if route.scope is not None:
        operation["security"] = [{"key": []}]
        operation["x-scope"] = route.scope
    if route.body is not None:
        operation["requestBody"] = _request_body(route, route.body, schemas)
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    schema = {"type": "string", "pattern": route.id_pattern}
    return [
        {"name": name, "in": "path", "required": True, "description": parameter_words(route.path, name), "schema": schema}
        for name in _PATH_NAME.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    schema = route.query.model_json_schema()
    parameters = []
    for name, entry in schema.get("properties", {}).items():
        # An absent parameter is None to us; `null` cannot be written in a query.
        plain = _inlined(entry, schema.get("$defs", {}))
        told = plain.pop("description", None) or parameter_words(route.path, name)
        parameter = {"name": name, "in": "query", "required": False, "description": told, "schema": plain}
        if plain.get("type") == "object":
            parameter |= {"style": "deepObject", "explode": True}
        parameters.append(parameter)
    return parameters


def _inlined(entry: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema without references and without null."""
    entry = {name: value for name, value in entry.items() if name not in ("title", "default") or value is not None}
    entry.pop("title", None)
    for option in entry.pop("anyOf", ()):
        if option != {"type": "null"}:
            entry |= _inlined(option, definitions)
    if "$ref" in entry:
        referred = _inlined(definitions[entry.pop("$ref").rsplit("/", 1)[1]], definitions)
        # What a class says of itself is for us, not for callers.
        referred.pop("description", None)
        entry |= referred
    return entry


def _header_parameter(header: Header) -> dict[str, Any]:
    return {"name": header.name, "in": "header", "required": False, "description": header.description, "schema": header.schema}


def _request_body(route: Route, body: Body, schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if body.model is not None:
        content[JSON] = {"schema": schemas.of(body.model, "validation")}
        recorded = example_of(route.method, route.path).get("request")
        examples = body.examples or ({"as it was sent once": recorded} if recorded is not None else {})
        if examples:
            content[JSON]["examples"] = {name: {"value": value} for name, value in examples.items()}
    if body.model is not None and body.files:
        content[FORM] = {"schema": schemas.as_form(body, body.model)}
    content |= {kind: {"schema": schema} for kind, schema in (body.others or {}).items()}
    return {"required": body.required, "content": content}


def _responses(route: Route, schemas: _Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    recorded = example_of(route.method, route.path)
    for reply in route.replies:
        response: dict[str, Any] = {"description": reply.description}
        if reply.model is not None:
            response["content"] = {JSON: {"schema": schemas.of(reply.model, "serialization")}}
        if reply.content_types:
            response.setdefault("content", {}).update({kind: {} for kind in reply.content_types})
        if "answer" in recorded and recorded["status"] == reply.status:
            next(iter(response["content"].values()))["example"] = recorded["answer"]
        if reply.headers:
            response["headers"] = {h.name: {"description": h.description, "schema": h.schema} for h in reply.headers}
        responses[str(reply.status)] = response
    by_status: defaultdict[int, list[type[EditStudioError]]] = defaultdict(list)
    is_openais = speaks_openai(route.path)
    content_type, shape = (JSON, ErrorAnswer) if is_openais else (PROBLEM_JSON, Problem)
    for cls in route.all_errors:
        by_status[openai_status(cls) if is_openais else cls.status].append(cls)
    for status, classes in sorted(by_status.items()):
        codes = {openai_code(cls) if is_openais else cls.code: cls.title for cls in classes}
        meanings = "; ".join(f"`{code}`: {title}" for code, title in codes.items())
        response = responses.setdefault(str(status), {"description": meanings or HTTPStatus(status).phrase})
        response.setdefault("content", {})[content_type] = {"schema": schemas.of(shape, "serialization")}
        response["x-codes"] = list(codes)
    for answered, response in responses.items():
        headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _common_headers(route, int(answered))}
        response["headers"] = headers | response.get("headers", {})
    return responses


def _common_headers(route: Route, status: int) -> Iterator[str]:
    """Those that an answer with this status has on every route like this one."""
    yield from ("X-Request-Id", "X-Content-Type-Options", "Cache-Control")
    if route.scope is not None and status not in (401, 500):
        yield from ("RateLimit-Policy", "RateLimit")
    if status in (429, 503):
        yield "Retry-After"
    if status == 401:
        yield "WWW-Authenticate"
