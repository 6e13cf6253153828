"""A worker process without pictures: our real queue, lease, checkpoint and finish around work of no size.

`python -m tests.bench.edit_worker <slots> <work>`; work is `none`, `sleep:<seconds>` or the URL to be called. It begins to
take edits when a line comes in.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import uvloop
from arq.worker import func

from shared.job import Course, JobState
from shared.parent import watch_parent
from shared.queue import RUN_EDIT
from shared.settings import load_settings
from shared.store.batches import Batches
from shared.store.changes import WAKE, Subscription
from shared.store.connection import Scripts, open_redis
from shared.store.leases import Leases
from shared.store.webhooks import Outbox
from worker.dispatcher import EditWorker
from worker.hands import PATIENCE_S, Hands, Held
from worker.rescue import Maintenance
from worker.tasks import run_edit

PROVIDER = "local"


class Runner:
    """What an EditRunner does to Redis, and nothing else."""

    def __init__(self, leases: Leases, work: Callable[[], Awaitable[None]]) -> None:
        self._leases = leases
        self._work = work

    async def run(self, held: Held) -> None:
        """Checkpoint, work, finish."""
        record = held.record
        course = Course(model="local-adjust", provider=PROVIDER)
        text = course.model_dump_json(exclude_defaults=True)
        written = await self._leases.checkpoint(
            record, patience_s=PATIENCE_S, stage="editing", course=text, call="started", call_id="0" * 16, submitted="@now"
        )
        if written:
            await self._work()
            await self._leases.finish(record, JobState.SUCCEEDED, course, patience_s=PATIENCE_S)


async def _run(slots: int, work: str) -> None:
    settings = load_settings()
    watch_parent(settings.parent_pid)
    async with AsyncExitStack() as stack:
        redis = open_redis(settings)
        stack.push_async_callback(redis.aclose, close_connection_pool=True)
        scripts = Scripts(redis, timeout_s=settings.redis_timeout_s)
        leases, outbox = Leases(scripts, settings), Outbox(scripts)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

        async def act() -> None:
            if work.startswith("sleep:"):
                await asyncio.sleep(float(work.removeprefix("sleep:")))
            elif work.startswith("http"):
                async with session.post(work) as answer:
                    await answer.read()

        async def send_due() -> None:
            await outbox.take(100)

        name = f"bench-{os.getpid()}"
        hands = Hands(leases, name=name, slots=slots, providers=(PROVIDER,), beat_s=settings.lease_s / 5)
        worker = EditWorker(
            name=name,
            leases=leases,
            slots=slots,
            providers=(PROVIDER,),
            drain_s=1,
            function=func(run_edit, name=RUN_EDIT),
            drain=hands.drain,
            redis_pool=redis,
            ctx={"hands": hands, "runner": Runner(leases, act)},
        )
        maintenance = Maintenance(leases, Batches(scripts, settings), send_due, lease_s=settings.lease_s)
        concerned = {"outbox": maintenance.poke, "cancel": hands.poke}
        news = Subscription(redis, WAKE, lambda what: concerned.get(what, worker.wake).set())
        await hands.beat()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        news.start()
        stack.push_async_callback(news.close)
        worker.wake.set()
        loops = [asyncio.create_task(hands.beat_for_ever()), asyncio.create_task(maintenance.run_for_ever())]
        try:
            await worker.async_run()
        except asyncio.CancelledError:
            if not worker.is_stopped:
                raise
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1]), sys.argv[2]))
