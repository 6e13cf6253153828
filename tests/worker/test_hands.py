"""Edits in hand: their heartbeat, and each way in which they leave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from shared.job import Course, JobRecord, JobState
from shared.store.connection import Scripts, open_redis
from shared.store.jobs import Jobs
from shared.store.leases import Leases, Release
from tests.conftest import make_job, take_one
from tests.servers import RedisServer
from worker.hands import Hands, Held

_WAIT_S = 10.0


class Work:
    """What is done with an edit: it waits until it is told to end, and says how it was stopped."""

    def __init__(self, *, resumable: bool = False) -> None:
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()
        self.canceled = 0
        self._resumable = resumable

    async def __call__(self, held: Held) -> None:
        held.course = Course(model="written by the work")
        held.stage, held.resumable = "editing", self._resumable
        self.started.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.canceled += 1
            raise


@pytest.fixture
async def hold() -> AsyncIterator[Callable[..., Awaitable["asyncio.Task[None]"]]]:
    """Starts to hold an edit; what is still held at the end is let go."""
    tasks: list[asyncio.Task[None]] = []

    async def start(hands: Hands, record: JobRecord, work: Work) -> "asyncio.Task[None]":
        tasks.append(asyncio.create_task(hands.hold(record, work)))
        async with asyncio.timeout(_WAIT_S):
            await work.started.wait()
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def hands(leases: Leases) -> Hands:
    return make_hands(leases)


def make_hands(leases: Leases, name: str = "w1", beat_s: float = 60.0) -> Hands:
    return Hands(leases, name=name, slots=4, providers=("local",), beat_s=beat_s)


async def taken(jobs: Jobs, leases: Leases, worker: str = "w1") -> JobRecord:
    await jobs.accept(make_job())
    return await take_one(leases, worker)


async def until(fact: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_WAIT_S):
        while not await fact():
            await asyncio.sleep(0.01)


async def test_a_beat_renews_every_lease_and_tells_that_the_worker_lives(
    hands: Hands, jobs: Jobs, leases: Leases, redis: Any, hold: Any
) -> None:
    records = [await taken(jobs, leases) for _ in range(3)]
    for record in records:
        await hold(hands, record, Work())
        await redis.zadd("timers", {record.id: 1})
    assert len(hands) == 3
    await hands.beat()
    assert min(score for _, score in await redis.zrange("timers", 0, -1, withscores=True)) > 1
    assert await redis.zscore("workers", "w1")
    assert await jobs.providers_seen() == ("local",)


async def test_an_edit_that_ends_leaves_our_hands(hands: Hands, jobs: Jobs, leases: Leases, hold: Any) -> None:
    record, work = await taken(jobs, leases), Work()
    task = await hold(hands, record, work)
    work.go_on.set()
    await task
    assert len(hands) == 0
    await leases.finish(record, JobState.SUCCEEDED, Course())


async def test_a_canceled_edit_is_stopped_and_ends_canceled_with_what_is_known(
    hands: Hands, jobs: Jobs, leases: Leases, hold: Any
) -> None:
    record, work = await taken(jobs, leases), Work()
    task = await hold(hands, record, work)
    await jobs.cancel("t1", record.id)
    await hands.beat()
    await task
    ended = await jobs.get("t1", record.id)
    assert (ended.state, ended.course.model, work.canceled) == (JobState.CANCELED, "written by the work", 1)


async def test_a_poke_makes_the_heart_beat_at_once(hands: Hands, jobs: Jobs, leases: Leases, hold: Any) -> None:
    """Every 60 s otherwise: longer than this test waits."""
    record, work = await taken(jobs, leases), Work()
    task = await hold(hands, record, work)
    beating = asyncio.create_task(hands.beat_for_ever())
    await until(lambda: _is(leases, record, "ok"))
    await jobs.cancel("t1", record.id)
    hands.poke.set()
    async with asyncio.timeout(_WAIT_S):
        await task
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    assert (await jobs.get("t1", record.id)).state is JobState.CANCELED


async def _is(leases: Leases, record: JobRecord, answer: str) -> bool:
    (said,) = await leases.renew("w1", slots=4, providers=("local",), held=[(record.id, record.gen)])
    return said == answer


async def test_an_edit_that_was_taken_over_is_stopped_and_left_alone(hands: Hands, jobs: Jobs, leases: Leases, hold: Any) -> None:
    record, work = await taken(jobs, leases), Work()
    task = await hold(hands, record, work)
    await leases.release(record, Release())
    theirs = await take_one(leases, "w2")
    await hands.beat()
    await task
    now = await jobs.get("t1", record.id)
    assert (now.state, now.gen, now.course.model, work.canceled) == (JobState.RUNNING, theirs.gen, None, 1)


async def test_an_edit_that_comes_back_before_we_noticed_is_done_in_its_new_turn(
    hands: Hands, jobs: Jobs, leases: Leases, hold: Any
) -> None:
    """A process that slept past its lease: others readied the edit, and this worker takes it again before its next beat."""
    record, stale = await taken(jobs, leases), Work()
    old = await hold(hands, record, stale)
    await leases.release(record, Release())
    again, fresh = await take_one(leases, "w1"), Work()
    assert again.gen == record.gen + 1
    await hold(hands, again, fresh)
    await hands.beat()
    async with asyncio.timeout(_WAIT_S):
        await old
    assert (stale.canceled, fresh.canceled, len(hands)) == (1, 0, 1)
    assert (await jobs.get("t1", record.id)).gen == again.gen


async def test_a_drain_gives_back_what_can_be_resumed_and_keeps_the_rest(
    hands: Hands, jobs: Jobs, leases: Leases, redis: Any, hold: Any
) -> None:
    resumable, other = await taken(jobs, leases), await taken(jobs, leases)
    await hands.beat()
    assert await redis.zscore("workers", "w1")
    first = await hold(hands, resumable, Work(resumable=True))
    work = Work()
    second = await hold(hands, other, work)
    await hands.drain()
    await first
    given = await jobs.get("t1", resumable.id)
    assert (given.state, given.at, given.failures, given.kills) == (JobState.QUEUED, "ready", 0, 0)
    assert given.course.model == "written by the work"
    assert await redis.zscore("workers", "w1") is None
    assert (work.canceled, len(hands), second.done()) == (0, 1, False)
    await hands.beat()
    assert await redis.zscore("workers", "w1") is None, "a worker that drains does not come back with its next beat"


async def test_what_is_not_done_when_the_grace_is_over_goes_back_to_the_queue(
    hands: Hands, jobs: Jobs, leases: Leases, hold: Any
) -> None:
    record, work = await taken(jobs, leases), Work()
    task = await hold(hands, record, work)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    now = await jobs.get("t1", record.id)
    assert (now.state, now.at, now.kills, work.canceled, len(hands)) == (JobState.QUEUED, "ready", 0, 1, 0)


async def test_an_edit_that_ended_while_the_beat_was_under_way_is_nobodys_loss(
    hands: Hands, jobs: Jobs, leases: Leases, hold: Any
) -> None:
    record, work = await taken(jobs, leases), Work()
    task = await hold(hands, record, work)
    await leases.finish(record, JobState.SUCCEEDED, Course(model="done"))
    work.go_on.set()
    await asyncio.gather(hands.beat(), task)
    now = await jobs.get("t1", record.id)
    assert (now.state, now.course.model) == (JobState.SUCCEEDED, "done")


async def test_the_heart_beats_on_after_trouble_with_redis(
    own_redis: RedisServer, make_settings: Callable[..., Any], hold: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(**own_redis.settings, redis_timeout_s=0.2)
    redis = open_redis(settings)
    scripts = Scripts(redis, timeout_s=0.2)
    jobs, leases = Jobs(scripts, settings), Leases(scripts, settings)
    hands = make_hands(leases, beat_s=0.05)
    record, work = await taken(jobs, leases), Work()
    task = await hold(hands, record, work)
    beating = asyncio.create_task(hands.beat_for_ever())
    own_redis.kill()
    async with asyncio.timeout(_WAIT_S):
        while not any("heartbeat failed" in line.getMessage() for line in caplog.records):
            await asyncio.sleep(0.01)
    own_redis.start()
    await jobs.cancel("t1", record.id)
    async with asyncio.timeout(_WAIT_S):
        await task
    assert (await jobs.get("t1", record.id)).state is JobState.CANCELED
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    await redis.aclose(close_connection_pool=True)
