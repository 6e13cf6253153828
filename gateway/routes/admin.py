"""Tenants and keys, for those who run the service: keys of the operator's tenant with the scope `admin`."""

import asyncio
import re
from dataclasses import asdict
from typing import Annotated, Any, Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.fields import parse_json, refusal
from gateway.intake import read_small_json
from gateway.route import JSON, Body, Call, Query, Reply, Route
from gateway.routes.usage import SpendingView, spending_view
from shared.errors import Forbidden, NotFound
from shared.job import API_PREFIX, Time, time_of
from shared.store.tenants import TENANT_PATTERN, ApiKey, TenantLimits

_KEY_PATTERN = r"^[0-9a-f]{12}$"
_COUNT_MAX = 100_000_000

TenantId = Annotated[str, StringConstraints(pattern=TENANT_PATTERN)]
Usd = Annotated[float, Field(ge=0, le=1_000_000_000)]
Count = Annotated[int, Field(ge=0, le=_COUNT_MAX)]
PerMinute = Annotated[int, Field(ge=1, le=_COUNT_MAX)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TenantSettings(_Wire):
    """Limits in USD, null: none. For the others null is the service's own.

    `queue_quota`: unfinished edits; `batch_quota`: unfinished items of batches; `running_cap`: edits at once, 0 holds them all;
    `weight`: turns for one turn of another tenant.
    """

    daily_limit: Usd | None = None
    monthly_limit: Usd | None = None
    queue_quota: Count | None = None
    batch_quota: Count | None = None
    running_cap: Count | None = None
    weight: Annotated[float, Field(ge=0.01, le=1_000)] | None = None


class TenantSummary(TenantSettings):
    """A tenant and what is set for it."""

    id: str


class TenantView(TenantSummary):
    """`unfinished_edits` without, `unfinished_batch_items` with a batch; `running`: of both."""

    spending: SpendingView
    unfinished_edits: int
    unfinished_batch_items: int
    running: int


class TenantPage(_Wire):
    """By name. `next_cursor`: what `cursor` has to be for the next page; null when there is none."""

    tenants: tuple[TenantSummary, ...]
    next_cursor: str | None


class TenantsQuery(Query):
    """One page of a list."""

    limit: Annotated[int, Field(ge=1, le=100)] = 100
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class KeysQuery(TenantsQuery):
    """One page of the keys, of one tenant or of all."""

    tenant: TenantId | None = None


class NewKey(_Wire):
    """A key to be made. A tenant that is not known becomes known. The limits: null is the service's own."""

    tenant: Annotated[TenantId, Field(examples=["acme"])]
    tier: Literal["free", "pro", "enterprise"] = "pro"
    scopes: Annotated[tuple[Literal["read", "submit", "admin"], ...], Field(min_length=1, max_length=3)] = ("read", "submit")
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    submits_per_minute: PerMinute | None = None
    reads_per_minute: PerMinute | None = None


class KeyView(_Wire):
    """A key without its text."""

    id: str
    tenant: str
    tier: str
    scopes: tuple[str, ...]
    name: str
    submits_per_minute: int | None
    reads_per_minute: int | None
    created_at: Time


class CreatedKey(KeyView):
    """`key`: the text that callers send; it cannot be shown again."""

    key: str


class KeyPage(_Wire):
    """By tenant. `next_cursor`: what `cursor` has to be for the next page; null when there is none."""

    keys: tuple[KeyView, ...]
    next_cursor: str | None


async def tenants(call: Call) -> web.Response:
    """Some tenants."""
    _check_operator(call)
    asked: TenantsQuery = call.query
    store = call.connections.tenants
    names = await store.names(after=asked.cursor or "", count=asked.limit)
    limits = await asyncio.gather(*(store.limits(name) for name in names))
    found = tuple(TenantSummary(id=name, **_settings(of)) for name, of in zip(names, limits, strict=True))
    return _response(TenantPage(tenants=found, next_cursor=names[-1] if len(names) == asked.limit else None))


async def tenant(call: Call) -> web.Response:
    """One tenant, with what it uses now."""
    _check_operator(call)
    if not await call.connections.tenants.is_known(call.id):
        raise NotFound("there is no tenant with this name")
    return await _shown(call)


async def replace(call: Call) -> web.Response:
    """Set all limits; what is not named is taken away."""
    _check_operator(call)
    if not re.fullmatch(TENANT_PATTERN, call.id):
        raise refusal("", "invalid_value", "a tenant's name has 1 to 64 letters, digits, dots, underscores and hyphens")
    return await _set(call, frozenset(TenantSettings.model_fields))


async def change(call: Call) -> web.Response:
    """Set the limits that are named."""
    _check_operator(call)
    if not await call.connections.tenants.is_known(call.id):
        raise NotFound("there is no tenant with this name")
    return await _set(call, frozenset())


async def keys(call: Call) -> web.Response:
    """Some keys, without their texts."""
    _check_operator(call)
    asked: KeysQuery = call.query
    found, following = await call.connections.tenants.list_keys(tenant=asked.tenant, after=asked.cursor or "", count=asked.limit)
    return _response(KeyPage(keys=tuple(KeyView(**_key_fields(key)) for key in found), next_cursor=following))


async def create_key(call: Call) -> web.Response:
    """Make a key and show its text, this once."""
    _check_operator(call)
    asked = parse_json(NewKey, await read_small_json(call.request))
    text, key = await call.connections.tenants.create_key(
        asked.tenant,
        tier=asked.tier,
        scopes=frozenset(asked.scopes),
        name=asked.name,
        submits_per_minute=asked.submits_per_minute,
        reads_per_minute=asked.reads_per_minute,
    )
    return _response(CreatedKey(**_key_fields(key), key=text), status=201)


async def revoke_key(call: Call) -> web.Response:
    """Make a key invalid, within a second."""
    _check_operator(call)
    if not await call.connections.tenants.revoke_key(call.id):
        raise NotFound("there is no key with this id")
    return web.Response(status=204)


def _check_operator(call: Call) -> None:
    """The scope alone is not enough: a tenant's own admin must not raise its limits, or see what other tenants spend."""
    if call.tenant != call.connections.settings.operator_tenant:
        raise Forbidden("this is for keys of the operator's tenant only")


async def _set(call: Call, also: frozenset[str]) -> web.Response:
    """Set what the body names, and to nothing what it does not name of `also`."""
    asked = parse_json(TenantSettings, await read_small_json(call.request))
    given = {name: getattr(asked, name) for name in asked.model_fields_set | also}
    for name in ("daily_limit", "monthly_limit"):
        if name in given:
            usd = given.pop(name)
            given[f"{name}_micro_usd"] = None if usd is None else round(usd * 1e6)
    await call.connections.tenants.set_limits(call.id, given)
    return await _shown(call)


async def _shown(call: Call) -> web.Response:
    connections, name = call.connections, call.id
    limits, (daily, monthly), (edits, items, running) = await asyncio.gather(
        connections.tenants.limits(name), connections.usage.spending(name), connections.tenants.unfinished(name)
    )
    view = TenantView(
        id=name,
        **_settings(limits),
        spending=spending_view(daily, monthly),
        unfinished_edits=edits,
        unfinished_batch_items=items,
        running=running,
    )
    return _response(view)


def _settings(limits: TenantLimits) -> dict[str, Any]:
    fields = asdict(limits)
    for name in ("daily_limit", "monthly_limit"):
        micro_usd = fields.pop(f"{name}_micro_usd")
        fields[name] = None if micro_usd is None else micro_usd / 1e6
    return fields


def _key_fields(key: ApiKey) -> dict[str, Any]:
    fields = asdict(key)
    created = time_of(fields.pop("created_ms"))
    return {**fields, "scopes": sorted(key.scopes), "created_at": created}


def _response(document: BaseModel, *, status: int = 200) -> web.Response:
    return web.Response(status=status, text=document.model_dump_json(), headers={hdrs.CONTENT_TYPE: JSON})


_TENANTS = f"{API_PREFIX}/admin/tenants"
_KEYS = f"{API_PREFIX}/admin/keys"
_VIEW = (Reply(200, "the tenant", TenantView),)
_EXAMPLE = {"daily_limit": 10.0, "monthly_limit": 200.0, "weight": 2}
ROUTES = (
    Route(
        "GET",
        _TENANTS,
        "List tenants",
        tenants,
        scope="admin",
        tag="admin",
        query=TenantsQuery,
        replies=(Reply(200, "by name", TenantPage),),
    ),
    Route(
        "GET",
        f"{_TENANTS}/{{id}}",
        "Show a tenant",
        tenant,
        scope="admin",
        tag="admin",
        id_pattern=TENANT_PATTERN,
        replies=_VIEW,
    ),
    Route(
        "PUT",
        f"{_TENANTS}/{{id}}",
        "Set a tenant's limits",
        replace,
        description="Replaces them all, and makes the tenant known if it is not.",
        scope="admin",
        tag="admin",
        id_pattern=TENANT_PATTERN,
        body=Body(TenantSettings, examples={"money": _EXAMPLE}),
        replies=_VIEW,
    ),
    Route(
        "PATCH",
        f"{_TENANTS}/{{id}}",
        "Change a tenant's limits",
        change,
        description="Only those in the body; null takes one away.",
        scope="admin",
        tag="admin",
        id_pattern=TENANT_PATTERN,
        body=Body(TenantSettings, examples={"money": _EXAMPLE}),
        replies=_VIEW,
    ),
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
