"""Webhooks as their receiver's owner sees them: secrets, a test, deliveries and their replay."""

from typing import Annotated, Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field

from gateway.fields import Faults, parse_json, pointer_to
from gateway.intake import read_small_json
from gateway.route import JSON, Body, Call, Reply, Route
from gateway.rules import check_address
from shared.edit import Url
from shared.errors import Gone, UrlNotAllowed
from shared.job import API_PREFIX, Time, time_of
from shared.signing import webhook_secret
from shared.store.webhooks import Delivery


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
    """One event on its way to one address. `tries`: attempts begun; `last_status`: the receiver's HTTP status."""

    id: str
    event_id: str
    job_id: str | None
    event: str
    url: str
    state: Literal["pending", "delivered", "failed", "stopped"]
    tries: int
    created_at: Time
    next_attempt_at: Time | None
    last_status: int | None
    last_error: str | None


class Deliveries(_Wire):
    """All deliveries of one edit."""

    deliveries: tuple[DeliveryView, ...]


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
    return _response(_view(await call.connections.outbox.add_test(call.tenant, asked.url)), status=202)


async def of_job(call: Call) -> web.Response:
    """The deliveries of an edit."""
    record = await call.connections.jobs.get(call.tenant, call.id)
    found = await call.connections.outbox.of_job(call.tenant, record.id)
    return _response(Deliveries(deliveries=tuple(_view(delivery) for delivery in found)))


async def replay(call: Call) -> web.Response:
    """Deliver again, with the same webhook-id."""
    return _response(_view(await call.connections.outbox.replay(call.tenant, call.id)), status=202)


def _secret_response(call: Call, versions: tuple[int, ...]) -> web.Response:
    master = call.connections.settings.secret.get_secret_value()
    secrets = [webhook_secret(master, call.tenant, version) for version in versions]
    return _response(WebhookSecret(secret=secrets[0], previous=secrets[1] if len(secrets) > 1 else None))


def _view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        event_id=delivery.event_id,
        job_id=delivery.job_id or None,
        event=delivery.event,
        url=delivery.url,
        state=delivery.state,
        tries=delivery.tries,
        created_at=time_of(delivery.created_ms),
        next_attempt_at=None if delivery.next_attempt_ms is None else time_of(delivery.next_attempt_ms),
        last_status=delivery.last_status,
        last_error=delivery.last_error or None,
    )


def _response(document: BaseModel, *, status: int = 200) -> web.Response:
    return web.Response(status=status, text=document.model_dump_json(), headers={hdrs.CONTENT_TYPE: JSON})


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
    ),
)
