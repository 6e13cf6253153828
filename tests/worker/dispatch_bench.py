"""A dispatcher whose edits do nothing but wait, and the fixture that makes one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import func

from shared.job import Course, JobRecord, JobState
from shared.queue import RUN_EDIT
from shared.store.connection import Scripts
from shared.store.jobs import Jobs
from shared.store.leases import Leases
from tests.conftest import make_job
from worker.dispatcher import EditWorker
from worker.hands import Hands, Held

WAIT_S = 10.0


class Bench:
    """A worker whose edits do nothing but wait for `go_on`; `most` ran at once. `resumable`: what they say of themselves."""

    def __init__(
        self, redis: ArqRedis, settings: Any, *, slots: int = 3, resumable: Callable[[JobRecord], bool] | None = None
    ) -> None:
        scripts = Scripts(redis, timeout_s=settings.redis_timeout_s)
        self.jobs, self.leases = Jobs(scripts, settings), Leases(scripts, settings)
        self.hands = Hands(self.leases, name="w1", slots=slots, providers=("local",), beat_s=5.0)
        self.started: list[str] = []
        self.running = self.most = 0
        self.go_on = asyncio.Event()
        self.drains = 0
        self.error: Exception | None = None
        self._resumable = resumable or (lambda record: False)
        self.worker = EditWorker(
            name="w1",
            leases=self.leases,
            slots=slots,
            providers=("local",),
            drain_s=5.0,
            function=func(self.run_edit, name=RUN_EDIT),
            drain=self._drain,
            redis_pool=redis,
            handle_signals=False,
        )
        self.main: asyncio.Task[None] | None = None

    async def run_edit(self, ctx: dict[str, Any], record: JobRecord) -> None:
        assert ctx["job_id"] == f"{record.id}:{record.gen}"
        await self.hands.hold(record, self._work)

    async def _drain(self) -> None:
        self.drains += 1
        await self.hands.drain()

    async def _work(self, held: Held) -> None:
        self.started.append(held.record.id)
        self.running += 1
        self.most = max(self.most, self.running)
        held.resumable, held.stage = self._resumable(held.record), "editing"
        try:
            await self.go_on.wait()
        finally:
            self.running -= 1
        await self.leases.finish(held.record, JobState.SUCCEEDED, Course(), patience_s=WAIT_S)
        if self.error is not None:
            raise self.error

    def start(self) -> None:
        self.main = asyncio.create_task(self.worker.async_run())

    async def accept(self, count: int = 1) -> list[str]:
        return [(await self.jobs.accept(make_job())).record.id for _ in range(count)]

    async def close(self) -> None:
        """End the worker as its process does: told to stop, then canceled once.

        Being told matters: redis-py awaits each send in `asyncio.wait_for`, which on Python 3.11 drops a cancel that comes
        in the same turn of the loop as its end.
        """
        self.go_on.set()
        self.worker.allow_pick_jobs = False
        if self.main is not None:
            self.main.cancel()
            async with asyncio.timeout(WAIT_S):
                await asyncio.gather(self.main, return_exceptions=True)
        await self.worker.close()


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not fact():
            await asyncio.sleep(0.005)


@pytest.fixture
async def make(real_redis: ArqRedis, make_settings: Callable[..., Any]) -> AsyncIterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def start(redis: ArqRedis = real_redis, **options: Any) -> Bench:
        made.append(Bench(redis, make_settings(redis_timeout_s=0.5), **options))
        return made[-1]

    yield start
    for bench in made:
        await bench.close()
