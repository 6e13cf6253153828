"""Webhook endpoints: addresses that get a tenant's events, beside those that come with an edit or a batch."""

from typing import Annotated, Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.fields import Faults, parse_json, pointer_to
from gateway.idempotency import REPLAYED, idempotency_for
from gateway.intake import read_small_json
from gateway.route import Body, Call, Header, Reply, Route, json_response
from gateway.routes.process import IDEMPOTENCY_HEADER
from gateway.rules import check_address
from shared.edit import Url
from shared.errors import IdempotencyMismatch, NotFound, UrlNotAllowed
from shared.job import API_PREFIX, Time, time_of
from shared.store.endpoints import DisabledReason, Endpoint

EventKind = Literal["edit.succeeded", "edit.failed", "edit.canceled", "batch.completed", "batch.held"]
Events = Annotated[tuple[EventKind, ...], Field(max_length=5, description="none: all")]
Description = Annotated[str, StringConstraints(max_length=500)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewEndpoint(_Wire):
    """Where events are to go, and which."""

    url: Annotated[Url, Field(examples=["https://example.com/hook"])]
    events: Events = ()
    description: Description = ""
    enabled: bool = True


class EndpointChanges(_Wire):
    """What is left out stays as it is."""

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    enabled: bool | None = None


class EndpointView(_Wire):
    """`disabled_reason`: `gone` after it answered 410, `failing` after five days without a success, `by_owner`.

    `last_status`: the HTTP status of the last attempt, null if there was no answer; `failing_since`: the first failure after the
    last success.
    """

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    url: str
    events: tuple[str, ...]
    description: str
    state: Literal["enabled", "disabled"]
    disabled_reason: DisabledReason | None
    created_at: Time
    last_success_at: Time | None
    last_failure_at: Time | None
    failing_since: Time | None
    last_status: int | None
    last_error: str | None


class EndpointList(_Wire):
    """All of the tenant's endpoints, oldest first."""

    endpoints: tuple[EndpointView, ...]


async def create(call: Call) -> web.Response:
    """A new endpoint."""
    asked = parse_json(NewEndpoint, await read_small_json(call.request))
    _check(asked.url, call)
    made = await call.connections.endpoints.create(
        call.tenant,
        url=asked.url,
        events=_once(asked.events),
        description=asked.description,
        enabled=asked.enabled,
        idempotency=idempotency_for(call.request, asked.model_dump()),
    )
    headers: dict[str, str] = {hdrs.LOCATION: f"{call.connections.base_url(call.request)}{_ENDPOINTS}/{made.endpoint.id}"}
    return json_response(_view(made.endpoint), status=201, headers=headers | (REPLAYED if made.replayed else {}))


async def every(call: Call) -> web.Response:
    """All endpoints, disabled ones too."""
    found = await call.connections.endpoints.all(call.tenant)
    return json_response(EndpointList(endpoints=tuple(_view(endpoint) for endpoint in found)))


async def read(call: Call) -> web.Response:
    """One endpoint."""
    return json_response(_view(await call.connections.endpoints.get(call.tenant, call.id)))


async def change(call: Call) -> web.Response:
    """Other events, another address, on or off."""
    asked = parse_json(EndpointChanges, await read_small_json(call.request))
    if asked.url is not None:
        _check(asked.url, call)
    changed = await call.connections.endpoints.change(
        call.tenant,
        call.id,
        url=asked.url,
        events=None if asked.events is None else _once(asked.events),
        description=asked.description,
        enabled=asked.enabled,
    )
    return json_response(_view(changed))


async def delete(call: Call) -> web.Response:
    """An endpoint gone for good."""
    await call.connections.endpoints.delete(call.tenant, call.id)
    return web.Response(status=204)


def _check(url: str, call: Call) -> None:
    faults = Faults()
    check_address(url, pointer_to("url"), call.connections, faults)
    faults.raise_any()


def _once(events: tuple[EventKind, ...]) -> tuple[EventKind, ...]:
    return tuple(dict.fromkeys(events))


def _view(endpoint: Endpoint) -> EndpointView:
    def moment(ms: int | None) -> Time | None:
        return None if ms is None else time_of(ms)

    return EndpointView(
        id=endpoint.id,
        url=endpoint.url,
        events=endpoint.events,
        description=endpoint.description,
        state="enabled" if endpoint.disabled_reason is None else "disabled",
        disabled_reason=endpoint.disabled_reason,
        created_at=time_of(endpoint.created_ms),
        last_success_at=moment(endpoint.last_success_ms),
        last_failure_at=moment(endpoint.last_failure_ms),
        failing_since=moment(endpoint.failing_since_ms),
        last_status=endpoint.last_status,
        last_error=endpoint.last_error or None,
    )


_ENDPOINTS = f"{API_PREFIX}/webhooks/endpoints"
_CREATED_HEADERS = (
    Header("Location", "the endpoint", {"type": "string"}),
    Header("Idempotent-Replayed", "`true` when the answer is of an earlier request", {"type": "string"}),
)
ROUTES = (
    Route(
        "POST",
        _ENDPOINTS,
        "Add a webhook endpoint",
        create,
        description="It gets the events of all edits and batches from now on. A tenant has at most 16.",
        scope="admin",
        tag="webhooks",
        headers=(IDEMPOTENCY_HEADER,),
        body=Body(NewEndpoint),
        replies=(Reply(201, "the endpoint", EndpointView, headers=_CREATED_HEADERS),),
        errors=(UrlNotAllowed, IdempotencyMismatch, NotFound),
    ),
    Route(
        "GET",
        _ENDPOINTS,
        "List webhook endpoints",
        every,
        scope="admin",
        tag="webhooks",
        replies=(Reply(200, "oldest first", EndpointList),),
    ),
    Route(
        "GET",
        f"{_ENDPOINTS}/{{id}}",
        "Look at a webhook endpoint",
        read,
        scope="admin",
        tag="webhooks",
        replies=(Reply(200, "the endpoint", EndpointView),),
    ),
    Route(
        "PATCH",
        f"{_ENDPOINTS}/{{id}}",
        "Change a webhook endpoint",
        change,
        description="`enabled: true` brings back one that was disabled. What waits for it goes to its new address.",
        scope="admin",
        tag="webhooks",
        body=Body(EndpointChanges),
        replies=(Reply(200, "the endpoint", EndpointView),),
        errors=(UrlNotAllowed,),
    ),
    Route(
        "DELETE",
        f"{_ENDPOINTS}/{{id}}",
        "Delete a webhook endpoint",
        delete,
        scope="admin",
        tag="webhooks",
        replies=(Reply(204, "deleted"),),
    ),
)
