"""Webhooks out of the outbox to their receivers, signed as Standard Webhooks.

At least once: a delivery whose sender dies, or whose outcome Redis did not take, is due again after half a minute under the same
webhook-id. A slow receiver occupies its own few sends and nothing else: of one address's deliveries the outbox gives out no more
than 4 at once, to all workers together.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from pydantic import TypeAdapter

from shared.errors import EditStudioError, Gone, NotFound, ServiceError
from shared.job import Time, time_of, to_json
from shared.log import logging_under
from shared.settings import Settings
from shared.signing import sign, webhook_secret
from shared.store.tenants import Tenants
from shared.store.webhooks import Delivery, Outbox
from shared.telemetry import is_tracing, note, span, traceparent
from worker.fetch import GuardedHttp

_SENDS = 64
_ROUNDS = 50  #: `take`s in one pass, so that a pass ends however much is due
_AROUND_A_SEND_S = 15.0  #: for what an attempt waits for besides its receiver: Redis and storage, each with a time-out of its own
_OUR_TROUBLE_S = 30.0
_RETRY_AFTER_MAX_S = 86_400.0
_JITTER = 0.2

#: Makes the JSON of an event's `data`: the Job, or whatever the event is about. NotFound or Gone end the delivery.
Render = Callable[[Delivery], Awaitable[bytes]]

_TIME: TypeAdapter[Time] = TypeAdapter(Time)
_log = logging.getLogger(__name__)


class WebhookSender:
    """One per worker process; several processes share the outbox."""

    def __init__(self, *, outbox: Outbox, tenants: Tenants, http: GuardedHttp, settings: Settings, render: Render) -> None:
        self._outbox = outbox
        self._tenants = tenants
        self._http = http
        self._secret = settings.secret.get_secret_value()
        self._schedule_s = settings.webhook_schedule_s
        self._timeout_s = settings.webhook_timeout_s
        self._render = render
        self._tasks: set[asyncio.Task[bool]] = set()
        self._is_full = False
        self.on_room: Callable[[], None] = lambda: None  #: called when something is due that there was no room for before

    async def run_once(self) -> None:
        """Take what is due and start to send it. Waits for no receiver: what it started goes on after it has returned.

        Raises:
            StoreUnavailable: what was taken and not started is due again when its time is over.
        """
        for _ in range(_ROUNDS):
            room = _SENDS - len(self._tasks)
            if room < 1:
                self._is_full = True
                return
            taken = await self._outbox.take(room, hidden_s=self._timeout_s + _AROUND_A_SEND_S)
            for delivery in taken:
                task = asyncio.create_task(self._hold(delivery))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
            if len(taken) < room:
                return

    async def close(self, *, within_s: float) -> None:
        """Let what is being sent come to its end; after `within_s` it is cut off, and due again when its time is over."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=within_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[bool]") -> None:
        self._tasks.discard(task)
        if self._is_full or (not task.cancelled() and task.result()):
            self._is_full = False
            self.on_room()

    async def _hold(self, delivery: Delivery) -> bool:
        """Bring one delivery to its outcome; True: there is more for its address. Raises nothing: one must not end others."""
        ids = {"job_id": delivery.job_id, "tenant": delivery.tenant, "event_id": delivery.event_id}
        try:
            trace = await self._outbox.trace_of(delivery) if is_tracing() else ""
            with logging_under(**ids), span("webhook", kind="client", parent=trace, notes={**ids, "event": delivery.event}):
                return await self._attempt(delivery)
        except ServiceError as error:
            # Redis did not take the outcome: the delivery is due again when its time is over.
            _log.warning("webhook outcome not recorded", extra={"event_id": delivery.event_id, "error": str(error)})
        except Exception:
            _log.exception("webhook not sent", extra={"event_id": delivery.event_id})
        return False

    async def _attempt(self, delivery: Delivery) -> bool:
        try:
            body = await self._body(delivery)
            headers = await self._headers(delivery, body)
            posted = await self._http.post(delivery.url, body, headers, self._timeout_s)
        except ServiceError:
            # Our own trouble is not the receiver's: the attempt does not count.
            return await self._outbox.postpone(delivery, _OUR_TROUBLE_S)
        except (NotFound, Gone) as error:
            return await self._outbox.give_up(delivery, stopped=False, status=None, error=str(error), ours=True)
        except EditStudioError as error:
            return await self._failed(delivery, None, str(error))
        except Exception:
            # A fault of ours in this one event: it ends with its last attempt instead of coming back for ever.
            await self._failed(delivery, None, "the event could not be made", ours=True)
            raise
        note("http.response.status_code", posted.status)
        return await self._answered(delivery, posted.status, posted.retry_after_s)

    async def _answered(self, delivery: Delivery, status: int, retry_after_s: float | None) -> bool:
        if 200 <= status < 300:
            return await self._outbox.delivered(delivery, status)
        if status == 410:
            return await self._outbox.give_up(delivery, stopped=True, status=status, error="the receiver wants no more events")
        error = "redirects are not followed" if 300 <= status < 400 else "the receiver answered with an error"
        return await self._failed(delivery, status, error, retry_after_s=retry_after_s)

    async def _failed(
        self, delivery: Delivery, status: int | None, error: str, *, retry_after_s: float | None = None, ours: bool = False
    ) -> bool:
        """Plan the next attempt, or give up after the last."""
        if delivery.tries >= len(self._schedule_s):
            return await self._outbox.give_up(delivery, stopped=False, status=status, error=error, ours=ours)
        planned_s = self._schedule_s[delivery.tries] * random.uniform(1 - _JITTER, 1 + _JITTER)
        delay_s = max(planned_s, min(retry_after_s or 0.0, _RETRY_AFTER_MAX_S))
        return await self._outbox.retry(delivery, delay_s=delay_s, status=status, error=error, ours=ours)

    async def _body(self, delivery: Delivery) -> bytes:
        """The event. Its `timestamp` is when it happened, the same in every attempt."""
        data = await self._render(delivery)
        happened = _TIME.dump_json(time_of(delivery.created_ms))
        return b'{"type":%b,"timestamp":%b,"data":%b}' % (to_json(delivery.event).encode(), happened, data)

    async def _headers(self, delivery: Delivery, body: bytes) -> dict[str, str]:
        """Signed anew for each attempt: receivers refuse a `webhook-timestamp` that is minutes old."""
        versions = await self._tenants.secret_versions(delivery.tenant)
        secrets = [webhook_secret(self._secret, delivery.tenant, version) for version in versions]
        timestamp_s = int(time.time())
        trace = {"traceparent": header} if (header := traceparent()) else {}
        return {
            **trace,
            "Content-Type": "application/json",
            "webhook-id": delivery.event_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": sign(secrets, webhook_id=delivery.event_id, timestamp_s=timestamp_s, body=body),
        }
