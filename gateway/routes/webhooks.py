"""Webhooks as their receiver's owner sees them: secrets, a test, deliveries and their replay."""

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.fields import Faults, parse_json, pointer_to
from gateway.intake import read_small_json
from gateway.query import TimeText, milliseconds
from gateway.route import Body, Call, Query, Reply, Route, json_response
from gateway.rules import check_address
from shared.edit import Url
from shared.errors import EndpointDisabled, Gone, NotFound, UrlNotAllowed
from shared.job import API_PREFIX, Time, time_of
from shared.signing import webhook_secret
from shared.store.webhooks import Delivery, DeliveryState

EndpointId = Annotated[str, StringConstraints(pattern=r"^whe_[0-9a-hjkmnp-tv-z]{26}$")]
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WebhookSecret(_Wire):
    """What webhooks are signed with (Standard Webhooks). `previous` signs too for 24 h after a rotation, else null."""

    secret: str
    previous: str | None


class TestRequest(_Wire):
    """Where a test event is to be sent."""

    url: Annotated[Url, Field(examples=["https://example.com/hook"])]


class DeliveryView(_Wire):
    """One event on its way to one address. `tries`: attempts begun; `last_status`: the receiver's HTTP status.

    `state`: `failed` after the last attempt, `stopped` when the receiver answered 410 or its endpoint was disabled.
    `endpoint_id`: the endpoint that it goes to; null for an address that came with the edit or the batch.
    """

    id: str
    event_id: str
    job_id: str | None
    batch_id: str | None
    endpoint_id: str | None
    event: str
    url: str
    state: DeliveryState
    tries: int
    created_at: Time
    next_attempt_at: Time | None
    last_status: int | None
    last_error: str | None


class Deliveries(_Wire):
    """All deliveries of one edit."""

    deliveries: tuple[DeliveryView, ...]


class DeliveriesQuery(Query):
    """Filters; those given all have to hold."""

    status: DeliveryState | None = None
    endpoint: EndpointId | None = None
    since: TimeText | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Cursor | None = None


class DeliveryPage(_Wire):
    """Newest first. `next_cursor`: what `cursor` has to be for the next page; null when there is none."""

    deliveries: tuple[DeliveryView, ...]
    next_cursor: str | None


class ReplayRequest(_Wire):
    """Which deliveries are to be made again: those since a time, and of a state and to an endpoint if these are given."""

    since: TimeText
    endpoint: EndpointId | None = None
    status: Annotated[DeliveryState, Field(description="all that have ended if none is given")] | None = None
    cursor: Annotated[Cursor, Field(description="`next_cursor` of the last answer, to go on")] | None = None


class Replayed(_Wire):
    """How many are on their way again. `next_cursor`: null unless there were more than one request looks at."""

    replayed: int
    next_cursor: str | None


async def show_secret(call: Call) -> web.Response:
    """The secrets that sign now."""
    return _secret_response(call, await call.connections.tenants.secret_versions(call.tenant))


async def rotate_secret(call: Call) -> web.Response:
    """A new secret; the old one goes on signing beside it for a day."""
    return _secret_response(call, await call.connections.tenants.rotate_secret(call.tenant))


async def test(call: Call) -> web.Response:
    """Send a `webhook.test` event."""
    asked = parse_json(TestRequest, await read_small_json(call.request))
    faults = Faults()
    check_address(asked.url, pointer_to("url"), call.connections, faults)
    faults.raise_any()
    return json_response(_view(await call.connections.outbox.add_test(call.tenant, asked.url)), status=202)


async def of_job(call: Call) -> web.Response:
    """The deliveries of an edit."""
    record = await call.connections.jobs.get(call.tenant, call.id)
    found = await call.connections.outbox.of_job(call.tenant, record.id, record.state)
    return json_response(Deliveries(deliveries=tuple(_view(delivery) for delivery in found)))


async def replay(call: Call) -> web.Response:
    """Deliver again, with the same webhook-id."""
    return json_response(_view(await call.connections.outbox.replay(call.tenant, call.id)), status=202)


async def page(call: Call) -> web.Response:
    """Some of the tenant's deliveries."""
    asked: DeliveriesQuery = call.query
    found = await call.connections.outbox.page(
        call.tenant,
        state=asked.status,
        endpoint=asked.endpoint,
        since_ms=milliseconds(asked.since, pointer_to("since")) or 0,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    views = tuple(_view(delivery) for delivery in found.deliveries)
    return json_response(DeliveryPage(deliveries=views, next_cursor=found.next_cursor))


async def replay_since(call: Call) -> web.Response:
    """Deliver again what was made since a time."""
    asked = parse_json(ReplayRequest, await read_small_json(call.request))
    since_ms = milliseconds(asked.since, pointer_to("since")) or 0
    connections = call.connections
    if asked.endpoint is not None and (await connections.endpoints.get(call.tenant, asked.endpoint)).disabled_reason is not None:
        raise EndpointDisabled("this endpoint is disabled; enable it first")
    done = await connections.outbox.replay_since(
        call.tenant, since_ms, state=asked.status, endpoint=asked.endpoint, cursor=asked.cursor
    )
    return json_response(Replayed(replayed=done.count, next_cursor=done.next_cursor), status=202)


def _secret_response(call: Call, versions: tuple[int, ...]) -> web.Response:
    master = call.connections.settings.secret.get_secret_value()
    secrets = [webhook_secret(master, call.tenant, version) for version in versions]
    return json_response(WebhookSecret(secret=secrets[0], previous=secrets[1] if len(secrets) > 1 else None))


def _view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        event_id=delivery.event_id,
        job_id=delivery.job_id if delivery.job_id.startswith("edit_") else None,
        batch_id=delivery.job_id if delivery.job_id.startswith("batch_") else None,
        endpoint_id=delivery.endpoint or None,
        event=delivery.event,
        url=delivery.url,
        state=delivery.state,
        tries=delivery.tries,
        created_at=time_of(delivery.created_ms),
        next_attempt_at=None if delivery.next_attempt_ms is None else time_of(delivery.next_attempt_ms),
        last_status=delivery.last_status,
        last_error=delivery.last_error or None,
    )


_WEBHOOKS = f"{API_PREFIX}/webhooks"
_SECRET = (Reply(200, "the secret", WebhookSecret),)
ROUTES = (
    Route("GET", f"{_WEBHOOKS}/secret", "Show the webhook secret", show_secret, scope="admin", tag="webhooks", replies=_SECRET),
    Route(
        "POST",
        f"{_WEBHOOKS}/secret",
        "Make sure of a webhook secret",
        show_secret,
        scope="admin",
        tag="webhooks",
        replies=_SECRET,
    ),
    Route(
        "POST",
        f"{_WEBHOOKS}/secret/rotate",
        "Replace the webhook secret",
        rotate_secret,
        description="For 24 h every webhook carries two signatures, so that receivers can change over.",
        scope="admin",
        tag="webhooks",
        replies=_SECRET,
    ),
    Route(
        "POST",
        f"{_WEBHOOKS}/test",
        "Send a test event",
        test,
        scope="submit",
        rate="submit",
        tag="webhooks",
        body=Body(TestRequest),
        replies=(Reply(202, "on its way", DeliveryView),),
        errors=(UrlNotAllowed,),
    ),
    Route(
        "GET",
        f"{API_PREFIX}/jobs/{{id}}/deliveries",
        "List an edit's webhook deliveries",
        of_job,
        tag="webhooks",
        replies=(Reply(200, "the deliveries", Deliveries),),
        errors=(Gone,),
    ),
    Route(
        "POST",
        f"{API_PREFIX}/deliveries/{{id}}/replay",
        "Deliver a webhook again",
        replay,
        scope="submit",
        rate="submit",
        tag="webhooks",
        replies=(Reply(202, "on its way", DeliveryView),),
        errors=(EndpointDisabled,),
    ),
    Route(
        "GET",
        f"{_WEBHOOKS}/deliveries",
        "List webhook deliveries",
        page,
        description="Those of the last seven days, whatever they are about.",
        tag="webhooks",
        query=DeliveriesQuery,
        replies=(Reply(200, "newest first", DeliveryPage),),
    ),
    Route(
        "POST",
        f"{_WEBHOOKS}/replay",
        "Deliver webhooks again since a time",
        replay_since,
        description="Each under its own webhook-id, from the first attempt. What goes to a disabled endpoint is passed over.",
        scope="submit",
        rate="submit",
        tag="webhooks",
        body=Body(ReplayRequest),
        replies=(Reply(202, "on their way", Replayed),),
        errors=(EndpointDisabled, NotFound),
    ),
)
