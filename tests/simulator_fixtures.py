"""The simulator and a server of pictures, in the test's own loop, over real sockets on free ports."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from PIL import Image

from deploy.simulator.account import Options
from deploy.simulator.app import create_app


@dataclass(frozen=True)
class Simulator:
    """A running simulator at `url`."""

    url: str
    http: aiohttp.ClientSession

    async def ledger(self) -> list[dict[str, Any]]:
        """The billed submits, oldest first."""
        async with self.http.get(f"{self.url}/sim/ledger") as response:
            submits: list[dict[str, Any]] = (await response.json())["submits"]
            return submits

    async def set_faults(self, **faults: Any) -> None:
        """Faults for all submits, see deploy/simulator/app.py."""
        async with self.http.post(f"{self.url}/sim/faults", json=faults) as response:
            assert response.status == 200, await response.text()


@dataclass(frozen=True)
class PictureServer:
    """A web server like a storage with presigned links: pictures under names, any query taken."""

    url: str
    pictures: dict[str, bytes]

    def add(self, name: str, data: bytes) -> str:
        """Its address."""
        self.pictures[name] = data
        return f"{self.url}/{name}"


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Run `app` on a free port; its address."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def start_simulator(http: aiohttp.ClientSession) -> AsyncIterator[Callable[[Options], Awaitable[Simulator]]]:
    """Starts a simulator with these options; ended with the test."""
    async with AsyncExitStack() as stack:

        async def start(options: Options) -> Simulator:
            return Simulator(await stack.enter_async_context(serving(create_app(options))), http)

        yield start


@pytest.fixture
async def simulator(start_simulator: Callable[[Options], Awaitable[Simulator]]) -> Simulator:
    """A simulator whose tasks take 50 ms, may be polled at any time and keep no call waiting."""
    return await start_simulator(Options(latency_s=0.05, poll_pause_s=0, hold_s=0))


@pytest.fixture
async def picture_server() -> AsyncIterator[PictureServer]:
    pictures: dict[str, bytes] = {}

    async def serve(request: web.Request) -> web.Response:
        data = pictures.get(request.match_info["name"])
        return web.Response(body=data, content_type="image/png") if data else web.Response(status=404)

    app = web.Application()
    app.add_routes([web.get("/{name}", serve)])
    async with serving(app) as url:
        yield PictureServer(url, pictures)


def make_picture(width: int = 96, height: int = 64, *, shade: int = 0, picture_format: str = "PNG", **options: Any) -> bytes:
    """An encoded picture with a gradient, different for every `shade`."""
    ramp = Image.linear_gradient("L").resize((width, height))
    picture = Image.merge("RGB", (ramp, ramp.rotate(180), Image.new("L", (width, height), shade)))
    target = io.BytesIO()
    picture.save(target, picture_format, **options)
    return target.getvalue()


def opened(data: bytes) -> Image.Image:
    """The decoded picture."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


AUTH: Mapping[str, str] = {"Authorization": "Bearer simulated-key"}
