"""What webhooks are tested with: receivers with moods, and the real outbox on fakeredis."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import fakeredis
from aiohttp import web

from shared.settings import Settings
from shared.store.connection import Scripts
from shared.store.tenants import Tenants
from shared.store.webhooks import Delivery, Outbox
from worker.deliver_webhook import Render, WebhookSender
from worker.fetch import Lookup, open_guarded

MASTER = "s" * 32


class Receiver:
    """A receiver that answers from `answers`, the last one for good: a status, a response's headers with it, or a mood.

    Moods: `hang` until released, `close` the connection, a `flood` of 10 MB, `drip` a header that never ends byte by byte.
    """

    def __init__(self) -> None:
        self.answers: list[int | tuple[int, dict[str, str]] | str] = [204]
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.now, self.most = 0, 0
        self.arrived = asyncio.Event()
        self.release = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.received.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        self.arrived.set()
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await self._answer(request)
        finally:
            self.now -= 1

    async def _answer(self, request: web.Request) -> web.Response:
        match self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]:
            case "hang":
                await self.release.wait()
                return web.Response(status=204)
            case "close":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case "flood":
                return web.Response(status=500, body=bytes(10_000_000))
            case "drip":
                await self._drip(request)
                return web.Response()
            case (status, headers):
                return web.Response(status=status, headers=headers)
            case int(status):
                return web.Response(status=status)
            case other:
                raise AssertionError(other)

    async def _drip(self, request: web.Request) -> None:
        transport = request.transport
        assert transport is not None
        transport.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while not self.release.is_set() and not transport.is_closing():
            transport.write(b"x")
            await asyncio.sleep(0.01)
        transport.abort()

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.received]


class Bench:
    """The outbox and what is needed to send from it."""

    def __init__(self, server: fakeredis.FakeServer, redis: Any) -> None:
        self.server = server
        self.scripts = Scripts(redis, timeout_s=5)
        self.settings = Settings(
            secret=MASTER,
            url_ports=range(1, 65_536),
            allow_private_urls=True,
            webhook_schedule_s=(0, 0, 0),
            webhook_timeout_s=5,
        )
        self.outbox = Outbox(self.scripts)
        self.tenants = Tenants(self.scripts, self.settings)
        self.rendered: Render = self.render
        self.lookup: Lookup = socket.getaddrinfo

    async def render(self, delivery: Delivery) -> bytes:
        return json.dumps({"id": delivery.job_id, "prompt": "黑白"}).encode()

    @asynccontextmanager
    async def sender(self, **changes: Any) -> AsyncIterator[WebhookSender]:
        """A sender with these settings; on leaving, what it still sends comes to its end."""
        settings = self.settings.model_copy(update=changes)
        http = open_guarded(settings, lookup=self.lookup)
        sender = WebhookSender(
            outbox=self.outbox,
            tenants=self.tenants,
            http=http,
            settings=settings,
            render=lambda delivery: self.rendered(delivery),
        )
        try:
            yield sender
        finally:
            await sender.close(within_s=10)
            await http.close()

    async def send(self, **changes: Any) -> None:
        """One pass, until everything it took has its outcome."""
        async with self.sender(**changes) as sender:
            await sender.run_once()

    async def now(self, delivery: Delivery) -> dict[str, str]:
        """The delivery as Redis has it."""
        return dict(await self.scripts.command("HGETALL", f"whd:{delivery.id}"))

    async def wait_s(self, delivery: Delivery, *, since_s: float) -> float:
        """Seconds from `since_s` (Unix time) to the next attempt."""
        return int((await self.now(delivery))["next"]) / 1000 - since_s


async def until(fact: Callable[[], bool], *, within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not fact():
            await asyncio.sleep(0.005)
