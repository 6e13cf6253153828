"""A worker process: opens connections, starts the loops, runs arq. The only wiring."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
from arq.worker import func

from shared.catalog.load import Catalog, load_catalog
from shared.queue import RUN_EDIT
from shared.settings import Settings
from shared.storage import Storage
from shared.store.batches import Batches
from shared.store.changes import WAKE, Subscription
from shared.store.connection import Scripts, open_redis
from shared.store.durability import check_durability
from shared.store.experience import Experiences
from shared.store.jobs import Jobs
from shared.store.leases import Leases
from shared.store.retention import Retention
from shared.store.seen import Seen
from shared.store.tenants import Tenants
from shared.store.webhooks import Outbox
from worker.call import Caller
from worker.choose import Chooser
from worker.deliver_webhook import WebhookSender
from worker.dispatcher import EditWorker
from worker.event_data import EventData
from worker.fetch import GuardedHttp, open_guarded
from worker.hands import Hands
from worker.outputs import Outputs
from worker.pictures import Pictures
from worker.pixel_pool import PixelPool
from worker.pixel_tasks import warm_up
from worker.providers.base import Provider
from worker.providers.registry import open_providers
from worker.pulse import mark_alive
from worker.rescue import Maintenance
from worker.results import Results
from worker.retention import StorageClearing
from worker.run_edit import EditRunner
from worker.scratch import open_scratch
from worker.tasks import run_edit

_CALLS_A_HOST = 200
_WARM_UP_S = 60.0


@asynccontextmanager
async def open_worker(settings: Settings) -> AsyncIterator[EditWorker]:
    """An EditWorker with everything it needs, its loops running; closed in reverse order.

    Raises:
        StoreUnavailable, StorageUnavailable: the servers do not answer.
        VolatileRedis: Redis would lose or evict jobs.
    """
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    catalog = load_catalog(settings.catalog_dir)
    async with AsyncExitStack() as stack:
        redis = open_redis(settings)
        stack.push_async_callback(redis.aclose, close_connection_pool=True)
        scripts = Scripts(redis, timeout_s=settings.redis_timeout_s)
        stack.push_async_callback(scripts.close)
        await check_durability(redis, settings)
        storage = Storage(settings)
        await storage.ensure_bucket()
        pool = PixelPool(settings)
        stack.push_async_callback(pool.close)
        http = open_guarded(settings)
        stack.push_async_callback(http.close)
        calls = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, limit_per_host=_CALLS_A_HOST), trust_env=False)
        )
        providers = open_providers(catalog, settings, calls, pool)
        for provider in providers.values():
            stack.push_async_callback(provider.close)
        leases, outbox = Leases(scripts, settings), Outbox(scripts)
        experiences = Experiences(scripts, catalog)
        for provider_name, entry in catalog.providers.items():
            limit = settings.lane_limits.get(provider_name, entry.max_concurrent)
            if limit is not None:
                await leases.set_lane_limit(provider_name, limit)
            own_rate = settings.lane_rates.get(provider_name)
            rate, burst = (entry.calls_per_minute or 0, entry.burst) if own_rate is None else (own_rate, None)
            await leases.set_lane_rate(provider_name, rate, burst=burst)
        scratch = stack.enter_context(open_scratch())
        runner = runner_of(
            settings=settings,
            catalog=catalog,
            providers=providers,
            scripts=scripts,
            leases=leases,
            experiences=experiences,
            storage=storage,
            http=http,
            pool=pool,
            scratch=scratch,
        )
        beat_s = settings.lease_s / 5
        hands = Hands(leases, name=name, slots=settings.worker_slots, providers=tuple(providers), beat_s=beat_s)
        hands.after_beat = partial(mark_alive, scratch, beat_s)
        worker = EditWorker(
            name=name,
            leases=leases,
            slots=settings.worker_slots,
            providers=tuple(providers),
            drain_s=settings.drain_s,
            function=func(run_edit, name=RUN_EDIT),
            drain=hands.drain,
            redis_pool=redis,
            ctx={"hands": hands, "runner": runner},
        )
        batches = Batches(scripts, settings)
        data = EventData(jobs=Jobs(scripts, settings), batches=batches, storage=storage, settings=settings)
        tenants = Tenants(scripts, settings)
        sender = WebhookSender(outbox=outbox, tenants=tenants, http=http, settings=settings, render=data.of)
        maintenance = Maintenance(leases, batches, sender.run_once, lease_s=settings.lease_s)
        sender.on_room = maintenance.poke.set
        concerned = {"outbox": maintenance.poke, "batches": maintenance.poke, "cancel": hands.poke}
        news = Subscription(redis, WAKE, lambda what: concerned.get(what, worker.wake).set())
        news.start()
        stack.push_async_callback(news.close)
        # The first edit should not wait for a process to start and for its imports.
        await asyncio.gather(*(pool.run(warm_up, timeout_s=_WARM_UP_S) for _ in range(settings.pool_processes)))
        await stack.enter_async_context(hands.lag)
        await hands.beat()
        maintaining = asyncio.create_task(maintenance.run_for_ever())
        clearing = StorageClearing(Retention(scripts), storage, settings)
        loops = [asyncio.create_task(hands.beat_for_ever()), asyncio.create_task(clearing.run_for_ever()), maintaining]
        try:
            yield worker
        finally:
            maintenance.stop()
            await asyncio.wait((maintaining,), timeout=2 * settings.redis_timeout_s)
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await sender.close(within_s=settings.webhook_timeout_s)


def runner_of(
    *,
    settings: Settings,
    catalog: Catalog,
    providers: Mapping[str, Provider],
    scripts: Scripts,
    leases: Leases,
    experiences: Experiences,
    storage: Storage,
    http: GuardedHttp,
    pool: PixelPool,
    scratch: Path,
) -> EditRunner:
    """An EditRunner and what it works with, on these connections. `scratch`: a folder of this process' own."""
    pictures = Pictures(settings=settings, storage=storage, http=http, pool=pool, leases=leases)
    results = Results(settings=settings, storage=storage, pool=pool)
    return EditRunner(
        settings=settings,
        catalog=catalog,
        leases=leases,
        experiences=experiences,
        pictures=pictures,
        chooser=Chooser(catalog=catalog, providers=providers, experiences=experiences),
        caller=Caller(settings=settings, catalog=catalog, providers=providers, leases=leases, pictures=pictures, storage=storage),
        outputs=Outputs(
            settings=settings,
            catalog=catalog,
            providers=providers,
            pictures=pictures,
            results=results,
            seen=Seen(scripts),
            http=http,
            pool=pool,
        ),
        results=results,
        scratch=scratch,
    )
