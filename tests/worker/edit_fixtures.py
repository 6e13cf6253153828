"""Fixtures for tests of whole edits; the pixel processes are started once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from arq.connections import ArqRedis

from shared.catalog.load import load_catalog
from shared.settings import Settings
from shared.storage import Storage
from shared.store.connection import Scripts
from shared.store.experience import Experiences
from shared.store.jobs import Jobs
from shared.store.leases import Leases
from tests.conftest import SECRET
from tests.servers import RedisServer, S3Server
from tests.simulator_fixtures import Simulator, http, picture_server, simulator, start_simulator
from tests.worker.edit_bench import EditBench
from worker import call
from worker.app import runner_of
from worker.fetch import open_guarded
from worker.pixel_pool import PixelPool
from worker.providers import wavespeed
from worker.providers.registry import open_providers

__all__ = ["bench", "http", "open_bench", "picture_server", "pool", "simulator", "start_simulator"]

_PROCESSES = 2

OpenBench = Callable[..., Any]


@pytest.fixture(scope="session")
def pixel_processes() -> Iterator[PixelPool]:
    """Two processes for all tests of a test process."""
    pool = PixelPool(Settings(secret=SECRET, pool_processes=_PROCESSES))
    yield pool
    asyncio.run(pool.close())


@pytest.fixture
def pool(pixel_processes: PixelPool) -> PixelPool:
    """The pool, usable on this test's loop."""
    pixel_processes._free = asyncio.Semaphore(_PROCESSES)
    return pixel_processes


@pytest.fixture
async def open_bench(
    make_settings: Callable[..., Settings],
    redis_server: RedisServer,
    s3_server: S3Server,
    real_redis: ArqRedis,
    storage: Storage,
    pool: PixelPool,
    simulator: Simulator,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> AsyncIterator[OpenBench]:
    """Opens a bench with settings overridden; `configured=False`: without WaveSpeed's key."""
    # The pace of polling is the vendor's; here it would only be waited for.
    monkeypatch.setattr(wavespeed, "_POLL_S", 0.02)
    monkeypatch.setattr(call, "_LOOK_AGAIN_S", 0.02)
    async with AsyncExitStack() as stack:

        async def start(*, configured: bool = True, **overrides: Any) -> EditBench:
            variables = {"WAVESPEED_API_KEY": "simulated-key", "WAVESPEED_BASE_URL": simulator.url} if configured else {}
            servers = {**redis_server.settings, **s3_server.settings}
            settings = make_settings(**{**servers, "provider_env": variables, "simulated": True, **overrides})
            scripts = Scripts(real_redis, timeout_s=settings.redis_timeout_s)
            jobs, leases = Jobs(scripts, settings), Leases(scripts, settings)
            catalog = load_catalog(settings.catalog_dir)
            experiences = Experiences(scripts, catalog)
            guarded = open_guarded(settings)
            stack.push_async_callback(guarded.close)
            providers = open_providers(catalog, settings, http, pool)
            runner = runner_of(
                settings=settings,
                catalog=catalog,
                providers=providers,
                scripts=scripts,
                leases=leases,
                experiences=experiences,
                storage=storage,
                http=guarded,
                pool=pool,
                scratch=tmp_path,
            )
            await leases.reap()  # From here on leases that run out are not taken for an outage.
            return EditBench(settings, real_redis, storage, jobs, leases, catalog, providers, experiences, runner, simulator)

        yield start


@pytest.fixture
async def bench(open_bench: OpenBench) -> EditBench:
    opened: EditBench = await open_bench()
    return opened
