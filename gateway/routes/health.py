"""For those who run the service: is the process up, can it work, what does it do. No key is needed."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict

from gateway.metrics import CONTENT_TYPE
from gateway.route import Call, Reply, Route, json_response
from shared.errors import EditStudioError
from shared.store.overview import Stats

_CHECK_S = 3.0
_CHECKED_S = 1.0

State = Literal["ok", "down"]


class Health(BaseModel):
    """The process answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether edits can be accepted now, and what is in the way.

    `status`: `leaving` once the process was asked to stop: send no more here.
    `load`: `overloaded` if submits, of some tenants or of all, are refused for a while; everything else is answered.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["ready", "not_ready", "leaving"]
    store: State
    storage: State
    load: Literal["ok", "overloaded"]


class _Checks:
    """Anyone may ask, so Redis and storage are asked at most once a second."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._at = -1e9
        self._last: Readiness | None = None
        self._stats_lock = asyncio.Lock()
        self._stats_at = -1e9
        self._stats: Stats | None = None
        self.leaving = False

    async def readiness(self, call: Call) -> Readiness:
        """How things stand, as of at most a second ago."""
        async with self._lock:
            if self._last is None or time.monotonic() - self._at > _CHECKED_S:
                store, storage = await asyncio.gather(
                    _state(call.connections.overview.ping()), _state(call.connections.storage.ping())
                )
                ready = store == storage == "ok"
                load: Literal["ok", "overloaded"] = "overloaded" if call.connections.pressure.is_refusing else "ok"
                self._last = Readiness(status="ready" if ready else "not_ready", store=store, storage=storage, load=load)
                self._at = time.monotonic()
            return self._last.model_copy(update={"status": "leaving"}) if self.leaving else self._last

    async def stats(self, call: Call) -> Stats | None:
        """What Redis tells, as of at most a second ago; None if it did not answer."""
        async with self._stats_lock:
            if time.monotonic() - self._stats_at > _CHECKED_S:
                try:
                    async with asyncio.timeout(_CHECK_S):
                        self._stats = await call.connections.overview.stats()
                except (EditStudioError, TimeoutError):
                    self._stats = None
                self._stats_at = time.monotonic()
            return self._stats


_CHECKS = web.AppKey("checks", _Checks)


def prepare(app: web.Application) -> None:
    """Give an application what these routes keep."""
    app[_CHECKS] = _Checks()


def leave(app: web.Application) -> None:
    """Say from now on that nobody should be sent here."""
    app[_CHECKS].leaving = True


async def healthz(_: Call) -> web.Response:
    """The process is up."""
    return json_response(Health())


async def readyz(call: Call) -> web.Response:
    """Redis and storage answer."""
    readiness = await call.request.app[_CHECKS].readiness(call)
    return json_response(readiness, status=200 if readiness.status == "ready" else 503)


async def metrics(call: Call) -> web.Response:
    """For Prometheus. Without Redis, what this process knows by itself."""
    connections = call.connections
    learned, stats = await asyncio.gather(connections.experiences.look(), call.request.app[_CHECKS].stats(call))
    text = connections.metrics.text(stats, connections.pressure.seen, learned)
    return web.Response(body=text, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})


async def _state(check: Awaitable[None]) -> State:
    try:
        async with asyncio.timeout(_CHECK_S):
            await check
    except (EditStudioError, TimeoutError):
        return "down"
    return "ok"


ROUTES = (
    Route("GET", "/healthz", "Is the process up", healthz, scope=None, tag="health", replies=(Reply(200, "yes", Health),)),
    Route(
        "GET",
        "/readyz",
        "Can edits be accepted",
        readyz,
        scope=None,
        tag="health",
        replies=(Reply(200, "yes", Readiness), Reply(503, "no", Readiness)),
    ),
    Route(
        "GET",
        "/metrics",
        "Metrics",
        metrics,
        description="Prometheus text format.",
        scope=None,
        tag="health",
        replies=(Reply(200, "counts and latencies", content_types=("text/plain",)),),
    ),
)
