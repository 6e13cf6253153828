"""Webhooks out of the outbox to their receivers, signed as Standard Webhooks.

At least once: a delivery whose sender dies, or whose outcome Redis did not take, is due again after 60 s under the same
webhook-id. A slow receiver occupies its own few sends and nothing else: what comes due for it meanwhile is put back.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from pydantic import TypeAdapter
from yarl import URL

from shared.errors import EditStudioError, Gone, NotFound, ServiceError
from shared.job import Time, time_of, to_json
from shared.settings import Settings
from shared.signing import sign, webhook_secret
from shared.store.tenants import Tenants
from shared.store.webhooks import Delivery, Outbox
from worker.fetch import GuardedHttp

_TAKEN_AT_ONCE = 100
_ROUNDS = 50  #: `take`s in one pass, so that a pass ends however much is due
_HELD_MAX = 512  #: deliveries that this process sends or lets wait for their turn
_SENDS = 64
_SENDS_AN_ENDPOINT = 4
_LINE_MAX = 64  #: deliveries for one endpoint among `_HELD_MAX`; what is due beyond that is put back at once
_TURN_S = 1.0  #: longest wait for a turn; with a send it stays far below the 60 s of `Outbox.take`
_PUT_BACK_S = 1.0
_OUR_TROUBLE_S = 30.0
_RETRY_AFTER_MAX_S = 86_400.0
_JITTER = 0.2

#: Makes the JSON of an event's `data`: the Job, or whatever the event is about. NotFound or Gone end the delivery.
Render = Callable[[Delivery], Awaitable[bytes]]

_TIME: TypeAdapter[Time] = TypeAdapter(Time)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Line:
    """The deliveries of one endpoint in this process: `held` in all, the semaphore's share of them being sent."""

    held: int = 0
    sends: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_SENDS_AN_ENDPOINT))


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
        self._sends = asyncio.Semaphore(_SENDS)
        self._lines: dict[URL | None, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_full = False
        self.on_room: Callable[[], None] = lambda: None  #: called when `run_once` left things due for want of room, and there is

    async def run_once(self) -> None:
        """Take what is due and start to send it. Waits for no receiver: what it started goes on after it has returned.

        Raises:
            StoreUnavailable: what was taken and not started is due again after 60 s.
        """
        for _ in range(_ROUNDS):
            room = min(_TAKEN_AT_ONCE, _HELD_MAX - len(self._tasks))
            if room < 1:
                self._is_full = True
                return
            taken = await self._outbox.take(room)
            put_back = [delivery for delivery in taken if not self._start(delivery)]
            await asyncio.gather(*(self._outbox.postpone(delivery, _PUT_BACK_S) for delivery in put_back))
            if len(taken) < room:
                return

    async def close(self, *, within_s: float) -> None:
        """Let what is being sent come to its end; after `within_s` it is cut off, and due again after its 60 s."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=within_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _start(self, delivery: Delivery) -> bool:
        """Whether there was room for it in its line."""
        endpoint = _endpoint(delivery.url)
        line = self._lines.setdefault(endpoint, _Line())
        if line.held >= _LINE_MAX:
            return False
        line.held += 1
        task = asyncio.create_task(self._hold(delivery, endpoint, line))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._is_full and len(self._tasks) <= _HELD_MAX // 2:
            self._is_full = False
            self.on_room()

    async def _hold(self, delivery: Delivery, endpoint: URL | None, line: _Line) -> None:
        """Bring one delivery to its outcome, or put it back. Raises nothing: one bad delivery must not end the others."""
        try:
            await self._take_turn(delivery, line)
        except ServiceError as error:
            # Redis did not take the outcome: the delivery is due again after its 60 s.
            _log.warning("webhook outcome not recorded", extra={"event_id": delivery.event_id, "error": str(error)})
        except Exception:
            _log.exception("webhook not sent", extra={"event_id": delivery.event_id})
        finally:
            line.held -= 1
            if line.held == 0:
                del self._lines[endpoint]

    async def _take_turn(self, delivery: Delivery, line: _Line) -> None:
        async with AsyncExitStack() as turn:
            try:
                async with asyncio.timeout(_TURN_S):
                    await turn.enter_async_context(line.sends)
                    await turn.enter_async_context(self._sends)
            except TimeoutError:
                await self._outbox.postpone(delivery, _PUT_BACK_S)
                return
            await self._attempt(delivery)

    async def _attempt(self, delivery: Delivery) -> None:
        try:
            body = await self._body(delivery)
            headers = await self._headers(delivery, body)
            posted = await self._http.post(delivery.url, body, headers, self._timeout_s)
        except ServiceError:
            # Our own trouble is not the receiver's: the attempt does not count.
            await self._outbox.postpone(delivery, _OUR_TROUBLE_S)
        except (NotFound, Gone) as error:
            await self._outbox.give_up(delivery, stopped=False, status=None, error=str(error))
        except EditStudioError as error:
            await self._failed(delivery, None, str(error), retry_after_s=None)
        except Exception:
            # A fault of ours in this one event: it ends with its last attempt instead of coming back for ever.
            await self._failed(delivery, None, "the event could not be made", retry_after_s=None)
            raise
        else:
            await self._answered(delivery, posted.status, posted.retry_after_s)

    async def _answered(self, delivery: Delivery, status: int, retry_after_s: float | None) -> None:
        if 200 <= status < 300:
            await self._outbox.delivered(delivery, status)
        elif status == 410:
            await self._outbox.give_up(delivery, stopped=True, status=status, error="the receiver wants no more events")
        elif 300 <= status < 400:
            await self._failed(delivery, status, "redirects are not followed", retry_after_s=retry_after_s)
        else:
            await self._failed(delivery, status, "the receiver answered with an error", retry_after_s=retry_after_s)

    async def _failed(self, delivery: Delivery, status: int | None, error: str, *, retry_after_s: float | None) -> None:
        """Plan the next attempt, or give up after the last."""
        if delivery.tries >= len(self._schedule_s):
            await self._outbox.give_up(delivery, stopped=False, status=status, error=error)
            return
        planned_s = self._schedule_s[delivery.tries] * random.uniform(1 - _JITTER, 1 + _JITTER)
        delay_s = max(planned_s, min(retry_after_s or 0.0, _RETRY_AFTER_MAX_S))
        await self._outbox.retry(delivery, delay_s=delay_s, status=status, error=error)

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
        return {
            "Content-Type": "application/json",
            "webhook-id": delivery.event_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": sign(secrets, webhook_id=delivery.event_id, timestamp_s=timestamp_s, body=body),
        }


def _endpoint(url: str) -> URL | None:
    """Whose sends these are: scheme, host and port. None for a malformed URL, which `GuardedHttp.post` refuses."""
    try:
        return URL(url).origin()
    except ValueError:
        return None
