"""Whose turn it is: lanes and their limits, tenants and their caps, what goes before what."""

from typing import Any

import pytest

from shared.job import Course, JobState
from shared.store.connection import Scripts
from shared.store.jobs import Jobs
from shared.store.leases import Leases, Release
from tests.conftest import make_job, take_one


async def test_a_release_can_change_the_lane(jobs: Jobs, leases: Leases) -> None:
    await jobs.accept(make_job(lane="acme"))
    record = await take_one(leases)
    await leases.release(record, Release(lane="local"))
    assert (await take_one(leases)).lane == "local"


async def test_a_rate_limited_lane_pauses_for_everybody(jobs: Jobs, leases: Leases) -> None:
    await jobs.accept(make_job(lane="acme"))
    await jobs.accept(make_job(lane="acme"))
    await jobs.accept(make_job(lane="local"))
    taken = {r.lane: r for r in await leases.take("w1", nonce="a", want=2)}
    await leases.release(taken["acme"], Release(delay_s=0.01, waiting_on="rate_limit", pause_s=60))
    assert await leases.take("w1", nonce="b", want=5) == []


async def test_a_lane_limit_holds_over_all_workers(jobs: Jobs, leases: Leases) -> None:
    await leases.set_lane_limit("acme", 2)
    for _ in range(5):
        await jobs.accept(make_job(lane="acme"))
    first = await leases.take("w1", nonce="a", want=5)
    assert len(first) == 2
    assert await leases.take("w2", nonce="a", want=5) == []
    await leases.finish(first[0], JobState.SUCCEEDED, Course())
    assert len(await leases.take("w2", nonce="b", want=5)) == 1


async def test_a_lane_rate_holds_over_all_workers(jobs: Jobs, leases: Leases, redis: Any) -> None:
    await leases.set_lane_rate("acme", 30, burst=2)
    for _ in range(7):
        await jobs.accept(make_job(lane="acme"))
    await jobs.accept(make_job(lane="local"))
    taken = await leases.take("w1", nonce="a", want=10)
    assert sorted(r.lane for r in taken) == ["acme", "acme", "local"]
    assert await leases.take("w2", nonce="a", want=5) == []

    async def wait_s(seconds: int) -> None:
        await redis.hset("lane:acme", "ts", int(await redis.hget("lane:acme", "ts")) - 1000 * seconds)

    await wait_s(2)
    assert len(await leases.take("w2", nonce="b", want=5)) == 1
    # What idling saves up is bounded.
    await wait_s(3_600)
    assert len(await leases.take("w1", nonce="c", want=5)) == 2
    await leases.set_lane_rate("acme", 0, burst=None)
    assert len(await leases.take("w1", nonce="d", want=5)) == 2


async def test_without_a_burst_a_rate_lets_through_what_gathers_in_five_seconds(leases: Leases, redis: Any) -> None:
    for per_minute, burst in ((600, "50"), (10, "1")):
        await leases.set_lane_rate("acme", per_minute, burst=None)
        assert await redis.hget("lane:acme", "burst") == burst


async def test_a_tenants_cap_leaves_room_for_others(make_settings: Any, scripts: Scripts, jobs: Jobs) -> None:
    leases = Leases(scripts, make_settings(running_cap=2))
    for tenant in ("big", "big", "big", "small"):
        await jobs.accept(make_job(tenant))
    taken = await leases.take("w1", nonce="a", want=10)
    assert sorted(r.tenant for r in taken) == ["big", "big", "small"]


async def test_turns_are_fair_between_tenants(jobs: Jobs, leases: Leases) -> None:
    for _ in range(20):
        await jobs.accept(make_job("big"))
    for _ in range(3):
        await take_one(leases)
    await jobs.accept(make_job("small"))
    next_three = [r.tenant for r in await leases.take("w1", nonce="z", want=3)]
    assert "small" in next_three


async def test_interactive_goes_before_bulk_of_the_same_tenant(jobs: Jobs, leases: Leases) -> None:
    bulk = (await jobs.accept(make_job(priority="bulk"))).record
    interactive = (await jobs.accept(make_job())).record
    assert [r.id for r in await leases.take("w1", nonce="n", want=2)] == [interactive.id, bulk.id]


async def test_without_retry_budget_the_wait_is_the_longest(jobs: Jobs, leases: Leases, redis: Any) -> None:
    await jobs.accept(make_job(lane="acme"))
    await redis.hset("lane:acme", "budget", "0.5")
    record = await take_one(leases)
    await leases.release(record, Release(delay_s=0.01, failed=True))
    due = await redis.zscore("timers", record.id)
    seconds, _ = await redis.time()
    assert due - seconds * 1000 > 50_000


async def test_each_success_earns_a_tenth_of_a_retry_up_to_ten(jobs: Jobs, leases: Leases, redis: Any) -> None:
    for before, state, after in (
        ("0.5", JobState.SUCCEEDED, 0.6),
        ("0.5", JobState.FAILED, 0.5),
        ("10", JobState.SUCCEEDED, 10),
    ):
        await redis.hset("lane:local", "budget", before)
        await jobs.accept(make_job())
        await leases.finish(await take_one(leases), state, Course())
        assert float(await redis.hget("lane:local", "budget")) == pytest.approx(after)


async def test_failures_do_not_close_a_lane_to_edits_that_another_model_could_do(jobs: Jobs, leases: Leases) -> None:
    for _ in range(20):
        await jobs.accept(make_job(lane="acme"))
    for record in await leases.take("w1", nonce="a", want=15):
        await leases.release(record, Release(delay_s=60, waiting_on="retry_backoff", failed=True))
    assert len(await leases.take("w1", nonce="b", want=10)) == 5


async def test_a_worker_leaves_lanes_of_providers_it_lacks_to_workers_that_have_them(jobs: Jobs, leases: Leases) -> None:
    await leases.renew("w2", slots=1, providers=["acme"], held=[])
    await jobs.accept(make_job(lane="acme"))
    assert await leases.take("w1", nonce="a", want=1, providers=["other"]) == []
    assert len(await leases.take("w2", nonce="a", want=1, providers=["acme"])) == 1


async def test_a_lane_that_nobody_has_had_for_a_minute_is_anybodys(jobs: Jobs, leases: Leases, redis: Any) -> None:
    await leases.renew("w2", slots=1, providers=["acme"], held=[])
    await redis.zadd("providers", {"acme": 1})
    await jobs.accept(make_job(lane="acme"))
    assert len(await leases.take("w1", nonce="a", want=1, providers=["other"])) == 1
