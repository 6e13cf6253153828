"""How edits are taken: wake-ups, slots, trouble with Redis, the way out. For arq's part see test_arq_contract.py."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from arq.connections import ArqRedis

from shared.job import JobRecord, JobState
from shared.store.changes import WAKE, Subscription
from shared.store.connection import open_redis
from tests.conftest import make_job
from tests.servers import RedisServer
from tests.worker.dispatch_bench import WAIT_S, Bench, make, until
from worker import dispatcher

__all__ = ["make"]


@pytest.fixture
def slow_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only news can start anything while a test lasts."""
    monkeypatch.setattr(dispatcher, "POLL_S", 600.0)


@pytest.mark.usefixtures("slow_poll")
async def test_news_start_an_edit_at_once(make: Callable[..., Bench], real_redis: ArqRedis) -> None:
    bench = make()
    seen: list[str] = []

    def wake(what: str) -> None:
        seen.append(what)
        bench.worker.wake.set()

    news = Subscription(real_redis, WAKE, wake)
    news.start()
    bench.start()
    while not seen:
        await real_redis.publish(WAKE, "hello")
        await asyncio.sleep(0.01)
    (job_id,) = await bench.accept()
    await until(lambda: bench.started == [job_id])
    await news.close()


async def test_without_news_the_poll_finds_the_edit(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "POLL_S", 0.02)
    bench = make()
    bench.start()
    (job_id,) = await bench.accept()
    await until(lambda: bench.started == [job_id])


@pytest.mark.usefixtures("slow_poll")
async def test_slots_are_filled_never_exceeded_and_filled_again(make: Callable[..., Bench]) -> None:
    bench = make(slots=3)
    ids = await bench.accept(10)
    bench.worker.wake.set()
    bench.start()
    await until(lambda: bench.running == 3)
    for _ in range(5):
        bench.worker.wake.set()
        await asyncio.sleep(0.01)
    assert (bench.running, len(bench.worker.tasks)) == (3, 3)
    bench.go_on.set()
    await until(lambda: bench.worker.jobs_complete == 10)
    assert (bench.most, sorted(bench.started), bench.worker.tasks, bench.worker.job_tasks) == (3, sorted(ids), {}, {})


@pytest.mark.usefixtures("slow_poll")
async def test_an_edit_whose_task_breaks_costs_its_slot_only_while_it_runs(make: Callable[..., Bench]) -> None:
    bench = make(slots=1)
    bench.error = RuntimeError("broken")
    bench.go_on.set()
    ids = await bench.accept(3)
    bench.worker.wake.set()
    bench.start()
    await until(lambda: bench.worker.jobs_failed == 3)
    assert sorted(bench.started) == sorted(ids)
    assert bench.main is not None
    assert not bench.main.done()


@pytest.mark.usefixtures("slow_poll")
async def test_edits_whose_answer_was_lost_are_started_once(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "_TROUBLE_WAIT_S", 0.01)
    bench = make(slots=4)
    ids = await bench.accept(2)
    take = bench.leases.take
    lost: list[list[JobRecord]] = []

    async def losing(*args: Any, **kwargs: Any) -> list[JobRecord]:
        answer = await take(*args, **kwargs)
        if answer and not lost:
            lost.append(answer)
            raise ConnectionResetError("the answer was lost")
        return answer

    bench.leases.take = losing  # type: ignore[method-assign]
    bench.worker.wake.set()
    bench.start()
    await until(lambda: bench.running == 2)
    assert sorted(bench.started) == sorted(ids) == sorted(record.id for record in lost[0])
    assert [(await bench.jobs.get("t1", job_id)).gen for job_id in ids] == [1, 1]


async def test_a_record_that_this_version_cannot_read_does_not_end_the_worker(
    make: Callable[..., Bench], real_redis: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dispatcher, "POLL_S", 0.02)
    bench = make()
    odd, good = await bench.accept(2)
    await real_redis.hset(f"job:{odd}", "spec", '{"a_newer_field": 1}')
    bench.start()
    await until(lambda: bench.started == [good])
    assert [line.job_id for line in caplog.records if "cannot be read" in line.getMessage()] == [odd]  # type: ignore[attr-defined]
    await real_redis.hset(f"job:{odd}", "spec", make_job().spec.model_dump_json(exclude_defaults=True))


@pytest.fixture
async def own_bench(own_redis: RedisServer, make_settings: Callable[..., Any]) -> AsyncIterator[Bench]:
    """On a Redis to be killed."""
    redis = open_redis(make_settings(**own_redis.settings, redis_timeout_s=0.3))
    bench = Bench(redis, make_settings(redis_timeout_s=0.3), slots=1)
    yield bench
    await bench.close()
    await redis.aclose(close_connection_pool=True)


@pytest.mark.parametrize("busy", [False, True], ids=["while taking", "with full slots, at the health check"])
async def test_a_redis_that_goes_away_does_not_end_the_worker(
    own_bench: Bench,
    own_redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    busy: bool,
) -> None:
    monkeypatch.setattr(dispatcher, "POLL_S", 0.02)
    own_bench.worker.health_check_interval = 0.01
    expected = await own_bench.accept(2) if busy else []
    own_bench.start()
    await until(lambda: own_bench.running == int(busy) and own_bench.worker._last_health_check > 0)
    own_redis.kill()
    await until(lambda: any("taking edits failed" in line.getMessage() for line in caplog.records))
    own_redis.start()
    own_bench.go_on.set()
    expected += await own_bench.accept()
    await until(lambda: sorted(own_bench.started) == sorted(expected))
    assert own_bench.main is not None
    assert not own_bench.main.done()


async def test_a_cancel_that_gets_lost_does_not_keep_a_stopped_worker(make: Callable[..., Bench]) -> None:
    bench = make()
    entered, lost = asyncio.Event(), asyncio.Event()

    async def deaf() -> None:
        entered.set()
        try:
            await asyncio.sleep(WAIT_S)
        except asyncio.CancelledError:
            lost.set()

    bench.worker.heart_beat = deaf  # type: ignore[method-assign]
    bench.worker.wake.set()
    bench.start()
    await entered.wait()
    await bench.close()
    assert lost.is_set()
    assert bench.main is not None
    assert bench.main.done()


async def test_sigterm_gives_back_what_can_be_resumed_and_lets_the_rest_end(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "POLL_S", 0.02)
    resumable: list[str] = []
    bench = make(slots=2, resumable=lambda record: record.id in resumable)
    ids = await bench.accept(3)
    resumable.append(ids[0])
    bench.start()
    await until(lambda: bench.running == 2)
    bench.worker.handle_sig_wait_for_completion(signal.SIGTERM)
    bench.worker.handle_sig_wait_for_completion(signal.SIGTERM)
    assert bench.worker.is_stopped
    await until(lambda: len(bench.hands) == 1)
    given, kept, untouched = [await bench.jobs.get("t1", job_id) for job_id in ids]
    assert (given.state, given.at, given.kills, given.failures) == (JobState.QUEUED, "ready", 0, 0)
    assert (kept.state, untouched.state, untouched.gen) == (JobState.RUNNING, JobState.QUEUED, 0)
    bench.go_on.set()
    assert bench.main is not None
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(asyncio.CancelledError):
            await bench.main
    await bench.worker.close()
    assert (await bench.jobs.get("t1", ids[1])).state is JobState.SUCCEEDED
    assert bench.drains == 1, "a second signal changes nothing"
    assert bench.started == ids[:2], "nothing is picked after the signal"
    assert await bench.worker.pool.exists(bench.worker.health_check_key) == 0
    assert await bench.worker.pool.ping(), "the connection is not the worker's to close"
