"""Fixtures of the worker's tests: guarded HTTP and where it goes, webhook receivers and the outbox."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import fakeredis
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared.settings import Settings
from tests.worker.edit_fixtures import pixel_processes
from tests.worker.places import PRIVATE, PUBLIC, OpenHttp, Place, StartServer
from tests.worker.webhook_bench import Bench, Receiver
from worker import fetch
from worker.fetch import GuardedHttp, open_guarded

__all__ = ["pixel_processes"]  # Here, so that all files of this folder share them.


@pytest.fixture
async def open_http() -> AsyncIterator[OpenHttp]:
    """Guarded HTTP that may use the given ports; everything that was opened is closed."""
    opened: list[GuardedHttp] = []

    async def start(*ports: int, allow_private: bool = False, **options: Any) -> GuardedHttp:
        settings = Settings(secret="s" * 32, url_ports=ports or (80,), allow_private_urls=allow_private)
        opened.append(open_guarded(settings, **options))
        return opened[-1]

    yield start
    for http in opened:
        await http.close()


@pytest.fixture
def two_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.2 counts as a public address and everything else as private, when a name is resolved or a socket opened."""
    monkeypatch.setattr(fetch, "address_allowed", lambda address, *, allow_private: allow_private or address == PUBLIC)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    yield made
    made.release.set()


@pytest.fixture
async def server(place: Place, aiohttp_server: StartServer) -> TestServer:
    """`place` on the private address."""
    return await aiohttp_server(place.app(), host=PRIVATE)


@pytest.fixture
async def receivers(aiohttp_server: StartServer) -> AsyncIterator[Callable[..., Awaitable[tuple[Receiver, str]]]]:
    """Starts receivers; each comes with its URL. Keyword arguments: where it listens, unless on any port of 127.0.0.1."""
    made: list[Receiver] = []

    async def start(**where: Any) -> tuple[Receiver, str]:
        receiver = Receiver()
        made.append(receiver)
        app = web.Application()
        app.router.add_post("/hook", receiver.answer)
        server = await aiohttp_server(app, **where)
        return receiver, str(server.make_url("/hook"))

    yield start
    for receiver in made:
        receiver.release.set()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    server = fakeredis.FakeServer()
    redis = fakeredis.FakeAsyncRedis(server=server, decode_responses=True)
    yield Bench(server, redis)
    await redis.aclose()
