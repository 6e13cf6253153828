"""The maintenance loop: due edits and due webhooks, at once when poked, through trouble."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shared.errors import StoreUnavailable
from shared.job import Course, JobState
from shared.settings import Settings
from shared.store.batches import Batches, NewBatch, NewItem
from shared.store.connection import Scripts
from shared.store.jobs import Jobs
from shared.store.leases import Leases, Release
from tests.conftest import fresh_id, make_job, take_one
from worker.rescue import Maintenance

_WAIT_S = 10.0
_NEVER_S = 8_000.0  # A lease so long that the loop does nothing by itself while a test lasts: its pace is bounded by 2 s.


class Sender:
    """Counts its calls; `errors` are raised by the next ones."""

    def __init__(self) -> None:
        self.calls = 0
        self.errors: list[Exception] = []

    async def __call__(self) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def batches(scripts: Scripts, settings: Settings) -> Batches:
    return Batches(scripts, settings)


@pytest.fixture
async def run() -> AsyncIterator[Callable[[Maintenance], "asyncio.Task[None]"]]:
    tasks: list[asyncio.Task[None]] = []

    def start(maintenance: Maintenance) -> "asyncio.Task[None]":
        tasks.append(asyncio.create_task(maintenance.run_for_ever()))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WAIT_S):
        while not fact():
            await asyncio.sleep(0.005)


async def test_what_is_due_is_rescued_readied_and_failed(
    jobs: Jobs, leases: Leases, batches: Batches, redis: Any, run: Any
) -> None:
    await leases.reap()
    for _ in range(3):
        await jobs.accept(make_job())
    dead, waiting, late = [await take_one(leases) for _ in range(3)]
    await leases.release(waiting, Release(delay_s=60, waiting_on="rate_limit"))
    await leases.release(late, Release())
    await redis.hset(f"job:{late.id}", "deadline", 1)
    await redis.zadd("timers", {dead.id: 1, waiting.id: 1, late.id: 1})
    sender = Sender()
    run(Maintenance(leases, batches, sender, lease_s=0.1))
    await until(lambda: sender.calls >= 1)
    states = [(await jobs.get("t1", record.id)) for record in (dead, waiting, late)]
    assert [(record.state, record.at, record.kills) for record in states] == [
        (JobState.QUEUED, "ready", 1),
        (JobState.QUEUED, "ready", 0),
        (JobState.FAILED, "", 0),
    ]
    assert states[2].error_code == "deadline_exceeded"


async def test_a_poke_makes_the_loop_look_at_once(
    leases: Leases, batches: Batches, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.rescue._LEAST_S", _NEVER_S)
    monkeypatch.setattr("worker.rescue._MOST_S", _NEVER_S)
    sender = Sender()
    maintenance = Maintenance(leases, batches, sender, lease_s=15.0)
    run(maintenance)
    await until(lambda: sender.calls == 1)
    maintenance.poke.set()
    await until(lambda: sender.calls == 2)


async def test_trouble_does_not_end_the_loop(leases: Leases, batches: Batches, run: Any) -> None:
    sender = Sender()
    sender.errors = [StoreUnavailable("away"), ConnectionResetError("broken")]
    task = run(Maintenance(leases, batches, sender, lease_s=0.05))
    await until(lambda: sender.calls >= 4)
    assert not task.done()


async def test_what_batches_leave_to_do_is_done(leases: Leases, batches: Batches, redis: Any, run: Any) -> None:
    abandoned, followed = fresh_id("batch"), fresh_id("batch")
    jobs = [make_job() for _ in range(3)]
    first, *others = [NewItem(job.id, job.lane, job.spec, 900) for job in jobs]
    twins = [dataclasses.replace(other, twin_of=first.id) for other in others]
    for batch_id, items in ((abandoned, [NewItem(fresh_id(), "local", make_job().spec, 900)]), (followed, [first, *twins])):
        await batches.open(NewBatch(batch_id, "t1"))
        await batches.stage(batch_id, items, first_index=0, bulk=True, request_id="req", key_id="k1")
    await batches.commit(followed, fingerprint="f")
    await redis.zadd("batches", {abandoned: 1})
    await leases.finish(await take_one(leases), JobState.SUCCEEDED, Course())
    sender = Sender()
    run(Maintenance(leases, batches, sender, lease_s=0.1))
    await until(lambda: sender.calls >= 1)
    assert not await redis.exists(f"batch:{abandoned}")
    assert (await batches.get("t1", followed)).counts["succeeded"] == 3
