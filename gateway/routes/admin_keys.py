"""API keys, for those who run the service: keys of the operator's tenant with the scope `admin`."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field, StringConstraints

from gateway.fields import parse_json
from gateway.intake import read_small_json
from gateway.route import Body, Call, Reply, Route, json_response
from gateway.routes.admin_tenants import COUNT_MAX, PageQuery, TenantId, Wire, check_operator
from shared.errors import NotFound
from shared.job import API_PREFIX, Time, time_of
from shared.store.tenants import ApiKey

_KEY_PATTERN = r"^[0-9a-f]{12}$"

PerMinute = Annotated[int, Field(ge=1, le=COUNT_MAX)]


class KeysQuery(PageQuery):
    """One page of the keys, of one tenant or of all."""

    tenant: TenantId | None = None


class NewKey(Wire):
    """A key to be made. A tenant that is not known becomes known. The limits: null is the service's own."""

    tenant: Annotated[TenantId, Field(examples=["acme"])]
    tier: Literal["free", "pro", "enterprise"] = "pro"
    scopes: Annotated[tuple[Literal["read", "submit", "admin"], ...], Field(min_length=1, max_length=3)] = ("read", "submit")
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    submits_per_minute: PerMinute | None = None
    reads_per_minute: PerMinute | None = None


class KeyView(Wire):
    """A key without its text."""

    id: str
    tenant: str
    tier: str
    scopes: tuple[str, ...]
    name: str
    submits_per_minute: int | None
    reads_per_minute: int | None
    created_at: Time
    ends_at: Annotated[Time | None, Field(description="null: it works until it is revoked")]


class CreatedKey(KeyView):
    """`key`: the text that callers send; it cannot be shown again."""

    key: str


class KeyPage(Wire):
    """By tenant. `next_cursor`: what `cursor` has to be for the next page; null when there is none."""

    keys: tuple[KeyView, ...]
    next_cursor: str | None


async def keys(call: Call) -> web.Response:
    """Some keys, without their texts."""
    check_operator(call)
    asked: KeysQuery = call.query
    found, following = await call.connections.tenants.list_keys(tenant=asked.tenant, after=asked.cursor or "", count=asked.limit)
    return json_response(KeyPage(keys=tuple(KeyView(**_key_fields(key)) for key in found), next_cursor=following))


async def create_key(call: Call) -> web.Response:
    """Make a key and show its text, this once."""
    check_operator(call)
    asked = parse_json(NewKey, await read_small_json(call.request))
    text, key = await call.connections.tenants.create_key(
        asked.tenant,
        tier=asked.tier,
        scopes=frozenset(asked.scopes),
        name=asked.name,
        submits_per_minute=asked.submits_per_minute,
        reads_per_minute=asked.reads_per_minute,
    )
    return json_response(CreatedKey(**_key_fields(key), key=text), status=201)


async def revoke_key(call: Call) -> web.Response:
    """Make a key invalid, within a second."""
    check_operator(call)
    if not await call.connections.tenants.revoke_key(call.id):
        raise NotFound("there is no key with this id")
    return web.Response(status=204)


def _key_fields(key: ApiKey) -> dict[str, Any]:
    fields = asdict(key)
    created, ends_ms = time_of(fields.pop("created_ms")), fields.pop("ends_ms")
    ends = None if ends_ms is None else time_of(ends_ms)
    return {**fields, "scopes": sorted(key.scopes), "created_at": created, "ends_at": ends}


_KEYS = f"{API_PREFIX}/admin/keys"
ROUTES = (
    Route(
        "GET",
        _KEYS,
        "List keys",
        keys,
        scope="admin",
        tag="admin",
        query=KeysQuery,
        replies=(Reply(200, "by tenant", KeyPage),),
    ),
    Route(
        "POST",
        _KEYS,
        "Make a key",
        create_key,
        scope="admin",
        tag="admin",
        body=Body(NewKey),
        replies=(Reply(201, "made; its text is shown this once", CreatedKey),),
    ),
    Route(
        "DELETE",
        f"{_KEYS}/{{id}}",
        "Revoke a key",
        revoke_key,
        description="It is refused within a second.",
        scope="admin",
        tag="admin",
        id_pattern=_KEY_PATTERN,
        replies=(Reply(204, "revoked"),),
    ),
)
