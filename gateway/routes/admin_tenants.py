"""Tenants and their limits, for those who run the service: keys of the operator's tenant with the scope `admin`."""

import asyncio
import re
from dataclasses import asdict
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.fields import parse_json, refusal
from gateway.intake import read_small_json
from gateway.route import Body, Call, Query, Reply, Route, json_response
from gateway.routes.usage import SpendingView, spending_view
from shared.errors import Forbidden, NotFound
from shared.job import API_PREFIX
from shared.store.tenants import TENANT_PATTERN, TenantLimits

COUNT_MAX = 100_000_000

TenantId = Annotated[str, StringConstraints(pattern=TENANT_PATTERN)]
Usd = Annotated[float, Field(ge=0, le=1_000_000_000)]
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]


class Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TenantSettings(Wire):
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


class TenantPage(Wire):
    """By name. `next_cursor`: what `cursor` has to be for the next page; null when there is none."""

    tenants: tuple[TenantSummary, ...]
    next_cursor: str | None


class PageQuery(Query):
    """One page of a list."""

    limit: Annotated[int, Field(ge=1, le=100)] = 100
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


async def tenants(call: Call) -> web.Response:
    """Some tenants."""
    check_operator(call)
    asked: PageQuery = call.query
    store = call.connections.tenants
    names = await store.names(after=asked.cursor or "", count=asked.limit)
    limits = await asyncio.gather(*(store.limits(name) for name in names))
    found = tuple(TenantSummary(id=name, **_settings(of)) for name, of in zip(names, limits, strict=True))
    return json_response(TenantPage(tenants=found, next_cursor=names[-1] if len(names) == asked.limit else None))


async def tenant(call: Call) -> web.Response:
    """One tenant, with what it uses now."""
    check_operator(call)
    if not await call.connections.tenants.is_known(call.id):
        raise NotFound("there is no tenant with this name")
    return await _shown(call)


async def replace(call: Call) -> web.Response:
    """Set all limits; what is not named is taken away."""
    check_operator(call)
    if not re.fullmatch(TENANT_PATTERN, call.id):
        raise refusal("", "invalid_value", "a tenant's name has 1 to 64 letters, digits, dots, underscores and hyphens")
    return await _set(call, frozenset(TenantSettings.model_fields))


async def change(call: Call) -> web.Response:
    """Set the limits that are named."""
    check_operator(call)
    if not await call.connections.tenants.is_known(call.id):
        raise NotFound("there is no tenant with this name")
    return await _set(call, frozenset())


def check_operator(call: Call) -> None:
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
    return json_response(view)


def _settings(limits: TenantLimits) -> dict[str, Any]:
    fields = asdict(limits)
    for name in ("daily_limit", "monthly_limit"):
        micro_usd = fields.pop(f"{name}_micro_usd")
        fields[name] = None if micro_usd is None else micro_usd / 1e6
    return fields


_TENANTS = f"{API_PREFIX}/admin/tenants"
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
        query=PageQuery,
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
)
