"""Batches and money in Redis, on fakeredis and on a server."""

import asyncio
from typing import Any

import pytest

from shared.errors import BudgetExceeded, IdempotencyInFlight, NotFound, QueueFull, ValidationFailed
from shared.job import Course, JobRecord, JobState
from shared.store.batches import Batches, NewBatch
from shared.store.connection import Scripts
from shared.store.jobs import Jobs
from shared.store.leases import BatchHeld, Leases, Release
from tests.conftest import fresh_id, make_job
from tests.store.batch_steps import counts, end, failure, make_item, stage, submit, take


async def test_a_batch_is_unseen_until_it_is_committed_and_every_count_is_exact(
    batches: Batches, leases: Leases, redis: Any
) -> None:
    batch_id, items = fresh_id("batch"), [make_item() for _ in range(5)]
    await batches.open(NewBatch(batch_id, "t1"))
    for _ in range(2):
        await stage(batches, batch_id, items[:3])
        await stage(batches, batch_id, items[3:], first_index=3)
    assert await take(leases) == []
    with pytest.raises(NotFound):
        await batches.get("t1", batch_id)
    assert [await batches.commit(batch_id, fingerprint="f") for _ in range(2)] == [5, 5]
    assert counts(await batches.get("t1", batch_id)) == (5, 5, 0, 0, 0, 0)
    taken = await take(leases)
    assert [record.id for record in taken] == [item.id for item in items], "in the order of the batch"
    assert counts(await batches.get("t1", batch_id)) == (5, 0, 5, 0, 0, 0)
    await end(leases, taken[:2])
    await end(leases, taken[2:3], JobState.FAILED)
    await leases.release(taken[3], Release(delay_s=60, waiting_on="retry_backoff"))
    assert counts(await batches.get("t1", batch_id)) == (5, 1, 1, 2, 1, 0)
    await end(leases, taken[4:])
    await redis.zadd("timers", {taken[3].id: 1})
    await leases.reap()
    await end(leases, await take(leases))
    record = await batches.get("t1", batch_id)
    assert (record.state, counts(record)) == ("completed_with_errors", (5, 0, 0, 4, 1, 0))
    assert await batches.item_ids(batch_id, start=1, count=2) == [items[1].id, items[2].id]
    with pytest.raises(NotFound):
        await batches.get("t2", batch_id)


async def test_queues_stay_short_whatever_the_length_of_the_batch(batches: Batches, leases: Leases, redis: Any) -> None:
    """The window is twice the tenant's cap of running edits: 20 here."""
    batch_id = await submit(batches, [make_item() for _ in range(90)])
    done: list[JobRecord] = []
    while taken := await take(leases, 7):
        assert await redis.zcard("ready:local:t1") <= 20
        await end(leases, taken)
        done += taken
    assert len({record.id for record in done}) == 90
    assert (await batches.get("t1", batch_id)).state == "completed"


async def test_a_canary_runs_first_and_the_rest_when_released(batches: Batches, leases: Leases, redis: Any) -> None:
    batch_id = await submit(
        batches, [make_item() for _ in range(10)], canary=3, webhook_url="https://a.example", webhook_events=("batch.held",)
    )
    first = await take(leases)
    assert len(first) == 3
    await end(leases, first)
    record = await batches.get("t1", batch_id)
    assert (record.state, record.held_reason, counts(record)) == ("held", "canary", (10, 7, 0, 3, 0, 0))
    assert await take(leases) == []
    assert [await redis.hget(key, "event") for key in await redis.keys("whd:*")] == ["batch.held"]
    assert (await batches.release("t1", batch_id)).state == "running"
    await end(leases, await take(leases))
    assert (await batches.get("t1", batch_id)).state == "completed"


async def test_lines_that_failed_at_once_are_no_part_of_the_canary(batches: Batches, leases: Leases) -> None:
    broken = make_item(failed=Course(error=failure("validation_failed")))
    batch_id = await submit(batches, [broken, *(make_item() for _ in range(4))], canary=2)
    await end(leases, await take(leases))
    record = await batches.get("t1", batch_id)
    assert (record.state, counts(record)) == ("held", (5, 2, 0, 2, 1, 0))


async def test_a_batch_that_fails_too_often_is_held_and_counts_anew_after_its_release(batches: Batches, leases: Leases) -> None:
    batch_id = await submit(batches, [make_item() for _ in range(60)], stop_rate=0.5)
    for _ in range(3):
        await end(leases, await take(leases, 7), JobState.FAILED)
    record = await batches.get("t1", batch_id)
    assert (record.state, record.held_reason, record.counts["failed"]) == ("held", "failure_rate", 21)
    assert await take(leases) == [], "what waited in a queue waits apart now"
    await batches.release("t1", batch_id)
    for _ in range(3):
        await end(leases, await take(leases, 8))
    await end(leases, await take(leases, 5), JobState.FAILED)
    assert (await batches.get("t1", batch_id)).state == "running"


async def test_what_was_given_back_to_a_held_batch_waits_with_it(batches: Batches, leases: Leases) -> None:
    batch_id = await submit(batches, [make_item() for _ in range(4)], canary=2)
    one, two = await take(leases)
    await end(leases, [one])
    await leases.release(two, Release())
    assert [record.id for record in await take(leases)] == [two.id], "a canary that is given back is taken again"
    assert (await batches.get("t1", batch_id)).state == "running"


async def test_a_canceled_batch_ends_what_waits_and_asks_what_runs(batches: Batches, leases: Leases) -> None:
    batch_id = await submit(batches, [make_item() for _ in range(450)])
    running = await take(leases, 4)
    record = await batches.cancel("t1", batch_id)
    assert (record.state, counts(record)) == ("canceled", (450, 0, 4, 0, 0, 446))
    answers = await leases.renew("w1", slots=9, providers=("local",), held=[(r.id, r.gen) for r in running])
    assert set(answers) == {"cancel"}
    await end(leases, running, JobState.CANCELED)
    record = await batches.get("t1", batch_id)
    assert (record.state, counts(record), record.finished is not None) == ("canceled", (450, 0, 0, 0, 0, 450), True)


async def test_a_batch_that_was_abandoned_leaves_nothing(batches: Batches, leases: Leases, redis: Any) -> None:
    batch_id, keep = fresh_id("batch"), make_item()
    await batches.open(NewBatch(batch_id, "t1"), idempotency_key="i1")
    await stage(batches, batch_id, [make_item(reserved_micro_usd=5), keep, make_item(twin_of=keep.id)])
    await batches.abandon("t1", batch_id)
    assert (
        await redis.keys("job:*")
        == await redis.keys("batch:*")
        == await redis.keys("twins:*")
        == await redis.keys("idem:*")
        == []
    )
    assert await redis.zcard("timers") == await redis.zcard("batches") == 0
    with pytest.raises(NotFound):
        await batches.commit(batch_id, fingerprint="f")


async def test_a_batch_that_nobody_adds_to_is_dropped_by_whoever_looks(batches: Batches, redis: Any) -> None:
    batch_id = fresh_id("batch")
    await batches.open(NewBatch(batch_id, "t1"))
    await stage(batches, batch_id, [make_item() for _ in range(3)])
    await batches.step_through()
    assert len(await redis.keys("job:*")) == 3
    await redis.zadd("batches", {batch_id: 1})
    await batches.step_through()
    assert await redis.keys("job:*") == await redis.keys("batch:*") == []


async def test_one_idempotency_key_makes_one_batch(batches: Batches) -> None:
    first, second = fresh_id("batch"), fresh_id("batch")
    assert (await batches.open(NewBatch(first, "t1"), idempotency_key="i1")).earlier is None
    with pytest.raises(IdempotencyInFlight):
        await batches.open(NewBatch(second, "t1"), idempotency_key="i1")
    await stage(batches, first, [make_item()])
    await batches.commit(first, fingerprint="f1")
    assert (await batches.open(NewBatch(second, "t1"), idempotency_key="i1")).earlier == (first, "f1")
    assert (await batches.open(NewBatch(second, "t2"), idempotency_key="i1")).earlier is None


async def test_twins_get_the_result_of_their_like_and_cost_nothing(batches: Batches, leases: Leases, jobs: Jobs) -> None:
    one = make_item(reserved_micro_usd=30)
    twins = [make_item(twin_of=one.id) for _ in range(2)]
    batch_id = await submit(batches, [one, *twins])
    (record,) = await take(leases)
    await leases.finish(record, JobState.SUCCEEDED, Course(model="qwen-edit"), cost_micro_usd=30)
    await batches.step_through()
    ended = [await jobs.get("t1", twin.id) for twin in twins]
    assert [(twin.state, twin.course.model, twin.cost_micro_usd, twin.twin_of) for twin in ended] == [
        (JobState.SUCCEEDED, "qwen-edit", 0, one.id)
    ] * 2
    batch = await batches.get("t1", batch_id)
    assert (batch.state, batch.spent_micro_usd, batch.reserved_micro_usd) == ("completed", 30, 0)


async def test_a_twin_takes_the_place_of_a_canceled_like(batches: Batches, leases: Leases, jobs: Jobs) -> None:
    one = make_item()
    twins = [make_item(twin_of=one.id) for _ in range(3)]
    batch_id = await submit(batches, [one, *twins])
    await jobs.cancel("t1", one.id)
    await batches.step_through()
    (heir,) = await take(leases)
    assert heir.id == twins[0].id
    await end(leases, [heir])
    await batches.step_through()
    assert counts(await batches.get("t1", batch_id)) == (4, 0, 0, 3, 0, 1)


async def test_more_items_than_the_quota_are_refused_whole(scripts: Scripts, make_settings: Any, redis: Any) -> None:
    batches, batch_id = Batches(scripts, make_settings(batch_quota=3)), fresh_id("batch")
    await batches.open(NewBatch(batch_id, "t1"))
    await stage(batches, batch_id, [make_item(), make_item()])
    with pytest.raises(QueueFull):
        await stage(batches, batch_id, [make_item(), make_item()], first_index=2)
    assert len(await redis.keys("job:*")) == 2
    await batches.abandon("t1", batch_id)


async def test_of_a_thousand_submits_at_once_only_those_within_the_limit_are_accepted(
    real_redis: Any, make_settings: Any
) -> None:
    redis, settings = real_redis, make_settings(redis_timeout_s=30)
    scripts = Scripts(redis, timeout_s=settings.redis_timeout_s)
    jobs, leases = Jobs(scripts, settings), Leases(scripts, settings)
    await redis.hset("tenant:t1", mapping={"daily_limit": 3_000, "monthly_limit": 10_000})

    async def one() -> bool:
        try:
            await jobs.accept(make_job(reserved_micro_usd=30))
        except BudgetExceeded:
            return False
        return True

    assert sum(await asyncio.gather(*(one() for _ in range(1_000)))) == 100
    (day,) = await redis.keys("spend:t1:d*")
    assert await redis.hgetall(day) == {"reserved": "3000"}
    taken = await take(leases, 40)
    await end(leases, taken[:20], micro_usd=30)
    await end(leases, taken[20:30], JobState.FAILED)
    await end(leases, taken[30:], micro_usd=20)
    assert await redis.hgetall(day) == {"reserved": "1800", "spent": "800"}
    assert sum([await one() for _ in range(20)]) == 13, "what failed and what was cheaper is free again: 400 of 3000"


async def test_a_reservation_grows_only_within_the_limits(batches: Batches, jobs: Jobs, leases: Leases, redis: Any) -> None:
    await redis.hset("tenant:t1", "monthly_limit", 100)
    await jobs.accept(make_job(reserved_micro_usd=40))
    await jobs.accept(make_job(reserved_micro_usd=40))
    one, two = await take(leases)
    assert await leases.reserve(one, 60)
    assert await leases.reserve(one, 50), "less than it has"
    with pytest.raises(BudgetExceeded, match=r"0\.000000 USD are left of the monthly limit"):
        await leases.reserve(two, 41)
    await end(leases, [one], micro_usd=60)
    assert not await leases.reserve(one, 99), "it is over"
    await end(leases, [two], micro_usd=40)
    (month,) = await redis.keys("spend:t1:m*")
    assert await redis.hgetall(month) == {"reserved": "0", "spent": "100"}


async def test_a_batch_is_held_rather_than_overspent(batches: Batches, leases: Leases) -> None:
    batch_id = fresh_id("batch")
    await batches.open(NewBatch(batch_id, "t1", max_micro_usd=100))
    with pytest.raises(BudgetExceeded, match="raise max_cost"):
        await stage(batches, batch_id, [make_item(reserved_micro_usd=30) for _ in range(4)])
    await stage(batches, batch_id, [make_item(reserved_micro_usd=30) for _ in range(3)])
    await batches.commit(batch_id, fingerprint="f")
    one, two = await take(leases, 2)
    with pytest.raises(BatchHeld):
        await leases.reserve(one, 50)
    record = await batches.get("t1", batch_id)
    assert (record.state, record.held_reason, record.counts["queued"]) == ("held", "max_cost", 1)
    await leases.release(one, Release())
    await end(leases, [two], micro_usd=30)
    assert await take(leases) == []
    await batches.release("t1", batch_id, max_micro_usd=200)
    again = {record.id: record for record in await take(leases)}
    assert await leases.reserve(again[one.id], 50)
    await end(leases, list(again.values()), micro_usd=50)
    record = await batches.get("t1", batch_id)
    assert (record.state, record.spent_micro_usd, record.reserved_micro_usd) == ("completed", 130, 0)


async def test_every_change_is_in_the_feed_in_order(batches: Batches, jobs: Jobs, leases: Leases, redis: Any) -> None:
    single = (await jobs.accept(make_job())).record.id
    await end(leases, await take(leases))
    batch_id = await submit(batches, [make_item(), make_item()])
    await end(leases, await take(leases))
    told = [(fields["type"], fields["id"]) for _, fields in await redis.xrange("feed:t1")]
    assert told[:4] == [
        ("edit.queued", single),
        ("edit.running", single),
        ("edit.succeeded", single),
        ("batch.running", batch_id),
    ]
    assert [kind for kind, _ in told[4:]] == ["edit.succeeded", "edit.succeeded", "batch.completed"]


async def test_each_item_has_a_deadline_of_its_own(batches: Batches, jobs: Jobs) -> None:
    items = [make_item(deadline_s=60), make_item(deadline_s=7_200)]
    await submit(batches, items)
    records = [await jobs.get("t1", item.id) for item in items]
    assert [record.deadline - record.created for record in records] == [60_000, 7_200_000]


async def test_a_key_whose_gateway_died_is_free_again_when_its_batch_is_dropped(batches: Batches, redis: Any) -> None:
    first, second = fresh_id("batch"), fresh_id("batch")
    await batches.open(NewBatch(first, "t1"), idempotency_key="i1")
    await stage(batches, first, [make_item()])
    await redis.zadd("batches", {first: 1})
    await batches.step_through()
    assert (await batches.open(NewBatch(second, "t1"), idempotency_key="i1")).earlier is None
    await redis.zadd("batches", {second: 1})
    await batches.step_through()
    assert await redis.keys("idem:*") == []


async def test_batches_are_listed_once_they_are_promised(batches: Batches, redis: Any) -> None:
    expanding = fresh_id("batch")
    await batches.open(NewBatch(expanding, "t1"))
    ids = [await submit(batches, [make_item()]) for _ in range(3)]
    page = await batches.page("t1", limit=2, cursor=None)
    assert ([record.id for record in page.records], page.next_cursor) == (ids[:0:-1], ids[1])
    page = await batches.page("t1", limit=2, cursor=page.next_cursor)
    assert ([record.id for record in page.records], page.next_cursor) == (ids[:1], None)
    with pytest.raises(ValidationFailed, match="not a cursor"):
        await batches.page("t1", limit=2, cursor=expanding)
    assert (await batches.page("t2", limit=2, cursor=None)).records == []
    await redis.zadd("tbatches:t1", {ids[0]: 1})
    await submit(batches, [make_item()])
    assert await redis.zscore("tbatches:t1", ids[0]) is None, "what is long past is not listed for ever"
    await batches.abandon("t1", expanding)


async def test_items_are_listed_among_the_edits_once_they_are_promised(batches: Batches, jobs: Jobs) -> None:
    batch_id, items = fresh_id("batch"), [make_item() for _ in range(130)]
    await batches.open(NewBatch(batch_id, "t1"))
    await stage(batches, batch_id, items)
    assert (await jobs.page("t1")).records == (await jobs.page("t1", batch_id=batch_id)).records == []
    await batches.commit(batch_id, fingerprint="f")
    seen, cursor = [], None
    while True:
        page = await jobs.page("t1", batch_id=batch_id, limit=60, cursor=cursor)
        seen += [record.id for record in page.records]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == [item.id for item in reversed(items)]
    assert (await jobs.page("t2", batch_id=batch_id)).records == []
    assert len((await jobs.page("t1", limit=100)).records) == 100
