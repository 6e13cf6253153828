"""How a route is declared: once, with everything that it takes and answers. It is mounted and documented from this."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict

from gateway.connections import Connections
from shared.errors import (
    BodyTooLarge,
    EditStudioError,
    Forbidden,
    IncompleteBody,
    InternalError,
    InvalidJson,
    InvalidMultipart,
    NotFound,
    Overloaded,
    RateLimited,
    StoreUnavailable,
    Unauthorized,
    UnsupportedMediaType,
    ValidationFailed,
)
from shared.store.tenants import ApiKey, Kind

Scope = Literal["read", "submit", "admin"]
JSON = "application/json"


class Query(BaseModel):
    """The query parameters of a route; this one takes none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one route, after key, rate, scope and query parameters were found good."""

    request: web.Request
    connections: Connections
    query: Any
    caller: ApiKey | None

    @property
    def key(self) -> ApiKey:
        """The caller's key; only routes with a scope may ask for it."""
        if self.caller is None:
            raise Unauthorized("this needs an API key")
        return self.caller

    @property
    def tenant(self) -> str:
        """Whose data this request may see."""
        return self.key.tenant

    @property
    def id(self) -> str:
        """The id in the path."""
        return self.request.match_info["id"]


def json_response(document: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """The answer that is this document."""
    return web.Response(status=status, text=document.model_dump_json(), headers={hdrs.CONTENT_TYPE: JSON, **(headers or {})})


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Header:
    """A header that a route takes or answers."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON body and, if it may come as a form too, the names of the form's file parts.

    `others`: further content types, with the schema of each. `model`: None where no JSON is taken.
    """

    model: type[BaseModel] | None
    required: bool = True
    files: tuple[str, ...] = ()
    repeatable_files: tuple[str, ...] = ()
    examples: Mapping[str, Any] | None = None
    others: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """One way in which a route answers when nothing is wrong. `model`: None for bodies that are never JSON."""

    status: int
    description: str
    model: type[BaseModel] | None = None
    content_types: tuple[str, ...] = ()
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True)
class Route:
    """One method of one path. `scope`: None for routes that need no key; `rate`: the bucket that a request is taken from.

    `errors`: what it answers besides what every route may (see `openapi.py`). `id_pattern`: of the names in its path.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    summary: str
    handler: Handler
    replies: tuple[Reply, ...]
    scope: Scope | None = "read"
    rate: Kind = "read"
    query: type[Query] = Query
    body: Body | None = None
    headers: tuple[Header, ...] = ()
    errors: tuple[type[EditStudioError], ...] = ()
    description: str = ""
    tag: str = "edits"
    id_pattern: str = r"^[a-z]{3,5}_[0-9a-z_]{1,64}$"

    @cached_property
    def all_errors(self) -> tuple[type[EditStudioError], ...]:
        """What it may answer instead of a reply: its own errors and those that follow from the declaration."""
        found = [*self.errors, ValidationFailed, InternalError]
        if self.scope is not None:
            found += [Unauthorized, Forbidden, RateLimited, StoreUnavailable, Overloaded]
        if "{id}" in self.path:
            found += [NotFound]
        if self.body is not None:
            found += [UnsupportedMediaType, InvalidJson, IncompleteBody, BodyTooLarge, Overloaded]
            found += [InvalidMultipart] if self.body.files else []
        return tuple(sorted(set(found), key=lambda cls: (cls.status, cls.code)))


ROUTE = web.RequestKey("route", Route)
