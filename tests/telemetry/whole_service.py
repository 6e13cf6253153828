"""A whole gateway and a whole worker in the test's own loop, a simulated provider, and a receiver of webhooks."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from shared.settings import Settings
from tests.gateway.conftest import Api
from tests.pictures import encoded, photo
from tests.simulator_fixtures import Simulator, serving
from worker.app import open_worker
from worker.providers import wavespeed

PROMPT = "paint the azure teapot"
PROVIDER_KEY = "secret-provider-key"
PICTURE = encoded(photo(size=(120, 80)), "PNG")


@dataclass
class Hook:
    """Where webhooks arrive."""

    url: str = ""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        await request.read()
        self.headers.append(request.headers.copy())
        self.arrived.set()
        return web.Response(status=204)


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[None]:
    """A worker with all that it has, taking edits."""
    async with open_worker(settings) as worker:
        main = asyncio.create_task(worker.async_run())
        try:
            yield
        finally:
            main.cancel()
            await asyncio.wait((main,))
            await worker.close()


@asynccontextmanager
async def hooked() -> AsyncIterator[Hook]:
    """A receiver on a free port."""
    hook, app = Hook(), web.Application()
    app.router.add_post("/hook", hook.take)
    async with serving(app) as url:
        hook.url = f"{url}/hook"
        yield hook


async def run_edit(api: Api, hook: Hook, prompt: str, *, headers: Mapping[str, str], **fields: str) -> dict[str, Any]:
    """Submit an edit, wait for its end and for the webhook that tells of it; the job."""
    hook.arrived.clear()
    form = aiohttp.FormData({"prompt": prompt, "webhook_url": hook.url, **fields})
    form.add_field("image", PICTURE, filename="image.png", content_type="image/png")
    answer = await api.post("/process?wait=30", data=form, headers=headers)
    assert answer.status == 200, answer.body
    async with asyncio.timeout(20):
        await hook.arrived.wait()
    job: dict[str, Any] = answer.json
    return job


@pytest.fixture
def gateway_settings(gateway_settings: Settings, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """With a simulated provider, for gateway and worker."""
    monkeypatch.setattr(wavespeed, "_POLL_S", 0.02)
    access = {"WAVESPEED_API_KEY": PROVIDER_KEY, "WAVESPEED_BASE_URL": simulator.url}
    # All of it shares one loop, with whatever else the machine does.
    more = {"provider_env": access, "simulated": True, "allow_private_urls": True, "redis_timeout_s": 30.0}
    return Settings(**{**gateway_settings.model_dump(), **more})


@pytest.fixture
async def hook(gateway_settings: Settings) -> AsyncIterator[Hook]:
    """A receiver, with a worker at work that sends to it."""
    async with hooked() as receiver, working(gateway_settings):
        yield receiver
