"""What a tenant's or a batch's money might slip through: each way of it, tried in Redis."""

from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import Any

import pytest

from shared.errors import BudgetExceeded, IdempotencyMismatch, NotFound, ValidationFailed
from shared.job import Course, JobState
from shared.store.batches import Batches, NewBatch
from shared.store.jobs import Idempotency, Jobs
from shared.store.leases import BatchHeld, Leases, Release
from tests.conftest import fresh_id, make_job, take_one
from tests.store.batch_steps import counts, end, failure, make_item, stage, submit, take

DAY_MS = 86_400_000


async def spent_and_reserved(redis: Any, tenant: str = "t1") -> set[tuple[int, int]]:
    """Of each period of a tenant; one pair if all of them say the same."""
    rows = [await redis.hgetall(key) for key in await redis.keys(f"spend:{tenant}:*")]
    return {(int(row.get("spent", 0)), int(row.get("reserved", 0))) for row in rows}


async def made_yesterday(redis: Any, job_id: str, *, reserved: int) -> dict[str, str]:
    """Have an edit been accepted in the month before; answers the keys of that day and month."""
    created = int(await redis.hget(f"job:{job_id}", "created"))
    then = datetime.fromtimestamp(created / 1000, UTC).replace(day=1) - timedelta(days=1)
    await redis.hset(f"job:{job_id}", "created", int(then.timestamp() * 1000))
    keys = {"d": f"spend:t1:d{int(then.timestamp() * 1000) // DAY_MS}", "m": f"spend:t1:m{then.year * 12 + then.month - 1}"}
    for key in await redis.keys("spend:t1:*"):
        await redis.hincrby(key, "reserved", -reserved)
        await redis.hincrby(keys[key.split(":")[2][0]], "reserved", reserved)
    return keys


async def test_single_edits_and_items_of_batches_share_one_limit(
    batches: Batches, jobs: Jobs, leases: Leases, redis: Any
) -> None:
    await redis.hset("tenant:t1", "daily_limit", 100)
    await jobs.accept(make_job(reserved_micro_usd=40))
    batch_id = await submit(batches, [make_item(reserved_micro_usd=30)])
    with pytest.raises(BudgetExceeded):
        await jobs.accept(make_job(reserved_micro_usd=31))
    other = fresh_id("batch")
    await batches.open(NewBatch(other, "t1"))
    await stage(batches, other, [make_item(reserved_micro_usd=30)])
    with pytest.raises(BudgetExceeded):
        await stage(batches, other, [make_item(reserved_micro_usd=1)], first_index=1)
    assert await spent_and_reserved(redis) == {(0, 100)}
    await batches.abandon("t1", other)
    assert await spent_and_reserved(redis) == {(0, 70)}
    await end(leases, await take(leases), micro_usd=30)
    assert await spent_and_reserved(redis) == {(60, 0)}
    assert (await batches.get("t1", batch_id)).spent_micro_usd == 30


async def test_money_counts_where_the_edit_was_accepted_though_a_month_has_begun_since(
    jobs: Jobs, leases: Leases, redis: Any
) -> None:
    await redis.hset("tenant:t1", mapping={"daily_limit": 100, "monthly_limit": 100})
    job_id = (await jobs.accept(make_job(reserved_micro_usd=40))).record.id
    then = await made_yesterday(redis, job_id, reserved=40)
    await jobs.accept(make_job(reserved_micro_usd=100))
    record = next(record for record in await take(leases) if record.id == job_id)
    assert await leases.reserve(record, 90), "today's limit is used up, that of its own day is not"
    with pytest.raises(BudgetExceeded):
        await leases.reserve(record, 101)
    assert await leases.finish(record, JobState.SUCCEEDED, Course(), cost_micro_usd=90)
    assert [await redis.hgetall(key) for key in then.values()] == [{"spent": "90", "reserved": "0"}] * 2
    today = [key for key in await redis.keys("spend:t1:*") if key not in then.values()]
    assert [await redis.hget(key, "reserved") for key in today] == ["100", "100"]


async def test_months_are_those_of_the_calendar(redis: Any) -> None:
    prelude = files("shared.store").joinpath("scripts/prelude.lua").read_text()
    first = date(1999, 12, 30)
    days = [first + timedelta(days=step) for step in (*range(800), *range(36_000, 36_800))]
    numbers = [(day - date(1970, 1, 1)).days for day in days]
    months = "local out = {}; for i, day in ipairs(ARGV) do out[i] = month_of(tonumber(day)) end; return out"
    found = await redis.eval(prelude + months, 0, *numbers)
    assert found == [day.year * 12 + day.month - 1 for day in days]


async def test_a_chunk_that_is_sent_again_reserves_nothing_more(batches: Batches, redis: Any) -> None:
    batch_id, items = fresh_id("batch"), [make_item(reserved_micro_usd=30) for _ in range(2)]
    await batches.open(NewBatch(batch_id, "t1", max_micro_usd=60))
    for _ in range(3):
        await stage(batches, batch_id, items)
    await batches.commit(batch_id, fingerprint="f")
    record = await batches.get("t1", batch_id)
    assert (record.reserved_micro_usd, record.estimated_micro_usd) == (60, 60)
    assert await spent_and_reserved(redis) == {(0, 60)}


async def test_answers_that_were_lost_change_no_money_when_asked_for_again(jobs: Jobs, leases: Leases, redis: Any) -> None:
    job = make_job(reserved_micro_usd=30)
    for _ in range(2):
        await jobs.accept(job)
    record = await take_one(leases)
    for _ in range(2):
        assert await leases.reserve(record, 50)
    for _ in range(2):
        assert await leases.release(record, Release(failed=True))
    assert await spent_and_reserved(redis) == {(0, 50)}, "a retry keeps what it has reserved"
    record = await take_one(leases)
    for _ in range(2):
        assert await leases.finish(record, JobState.SUCCEEDED, Course(), cost_micro_usd=50)
    assert await spent_and_reserved(redis) == {(50, 0)}


async def test_whatever_way_an_edit_ends_nothing_stays_reserved(jobs: Jobs, leases: Leases, batches: Batches, redis: Any) -> None:
    """Succeeded, failed, canceled while it waits, while it runs, by a dead worker; too late in the queue; killed thrice."""
    item = make_item(reserved_micro_usd=30)
    batch_id = await submit(batches, [item, make_item(reserved_micro_usd=30)], max_micro_usd=60)
    for _ in range(6):
        await jobs.accept(make_job(reserved_micro_usd=30))
    await jobs.cancel("t1", (await jobs.accept(make_job(reserved_micro_usd=30))).record.id)
    late = (await jobs.accept(make_job(reserved_micro_usd=30))).record.id
    await redis.hset(f"job:{late}", "deadline", 1)
    await redis.zadd("timers", {late: 1})
    await leases.reap()
    running = {record.id: record for record in await take(leases)}
    item_record = running.pop(item.id)
    ok, bad, canceled, orphan, killed, given_back = [record for record in running.values() if record.batch == ""]
    assert await leases.finish(ok, JobState.SUCCEEDED, Course(), cost_micro_usd=20)
    assert await leases.finish(bad, JobState.FAILED, Course(error=failure("bad_output")))
    for record in (canceled, orphan, given_back):
        await jobs.cancel("t1", record.id)
    assert await leases.finish(canceled, JobState.CANCELED, Course())
    assert await leases.release(given_back, Release(delay_s=60))
    await redis.hset(f"job:{killed.id}", "kills", 2)
    await redis.zadd("timers", {orphan.id: 1, killed.id: 1})
    await leases.reap()
    await batches.cancel("t1", batch_id)
    await end(leases, [record for record in running.values() if record.batch], JobState.CANCELED)
    assert await leases.finish(item_record, JobState.SUCCEEDED, Course(), cost_micro_usd=30)
    states = [(await jobs.get("t1", record.id)).state for record in (ok, bad, canceled, orphan, killed, given_back)]
    assert states == ["succeeded", "failed", "canceled", "canceled", "failed", "canceled"]
    assert await spent_and_reserved(redis) == {(50, 0)}
    batch = await batches.get("t1", batch_id)
    assert (batch.spent_micro_usd, batch.reserved_micro_usd, counts(batch)) == (30, 0, (2, 0, 0, 1, 0, 1))


async def test_an_edit_that_was_to_be_canceled_is_not_called_for_again(jobs: Jobs, leases: Leases, redis: Any) -> None:
    for how in (Release(), Release(delay_s=600, waiting_on="rate_limit"), Release(failed=True)):
        job_id = (await jobs.accept(make_job(reserved_micro_usd=30))).record.id
        record = await take_one(leases)
        await jobs.cancel("t1", job_id)
        assert await leases.release(record, how, Course(model="qwen-edit"))
        ended = await jobs.get("t1", job_id)
        assert (ended.state, ended.cost_micro_usd, ended.course.model) == (JobState.CANCELED, 0, "qwen-edit")
        assert await leases.release(record, how), "sent again it changes nothing"
    assert await take(leases) == []


async def test_a_held_batch_is_not_released_with_less_than_it_has_reserved(batches: Batches, leases: Leases) -> None:
    batch_id = await submit(batches, [make_item(reserved_micro_usd=30) for _ in range(4)], canary=1, max_micro_usd=120)
    await end(leases, await take(leases), micro_usd=30)
    for too_little in (0, 119):
        with pytest.raises(ValidationFailed, match=r"0\.000120 USD are spent or reserved"):
            await batches.release("t1", batch_id, max_micro_usd=too_little)
    record = await batches.get("t1", batch_id)
    assert (record.state, record.max_micro_usd) == ("held", 120)
    await batches.release("t1", batch_id, max_micro_usd=120)
    with pytest.raises(ValidationFailed):
        await batches.release("t1", batch_id, max_micro_usd=119)
    await end(leases, await take(leases), micro_usd=30)
    assert (await batches.get("t1", batch_id)).spent_micro_usd == 120


async def test_a_canary_that_became_too_dear_is_a_canary_still_when_its_limit_is_raised(batches: Batches, leases: Leases) -> None:
    batch_id = await submit(batches, [make_item(reserved_micro_usd=10) for _ in range(5)], canary=2, max_micro_usd=50)
    one, two = await take(leases)
    with pytest.raises(BatchHeld):
        await leases.reserve(one, 20)
    await leases.release(one, Release())
    await batches.release("t1", batch_id, max_micro_usd=100)
    await end(leases, [two, *await take(leases)], micro_usd=10)
    record = await batches.get("t1", batch_id)
    assert (record.state, record.held_reason, counts(record)) == ("held", "canary", (5, 3, 0, 2, 0, 0))
    await batches.release("t1", batch_id)
    await end(leases, await take(leases), micro_usd=10)
    assert (await batches.get("t1", batch_id)).state == "completed"


async def test_twins_of_a_canceled_edit_of_a_canceled_batch_are_not_done(batches: Batches, leases: Leases) -> None:
    one = make_item(reserved_micro_usd=30)
    batch_id = await submit(batches, [one, *(make_item() for _ in range(400)), *(make_item(twin_of=one.id) for _ in range(3))])
    await batches._steer("t1", batch_id, "cancel", None)
    while await batches.step():
        assert await take(leases) == [], "its like is canceled first, and they come long after it"
    record = await batches.get("t1", batch_id)
    assert record.counts["succeeded"] == record.counts["failed"] == 0


async def test_an_heir_pays_for_itself_within_the_limits(batches: Batches, jobs: Jobs, leases: Leases, redis: Any) -> None:
    one = make_item(reserved_micro_usd=30)
    batch_id = await submit(batches, [one, make_item(twin_of=one.id), make_item(twin_of=one.id)], max_micro_usd=30)
    await jobs.cancel("t1", one.id)
    await batches.step_through()
    heir = await take_one(leases)
    with pytest.raises(BatchHeld):
        await leases.reserve(heir, 31)
    await leases.release(heir, Release())
    await batches.release("t1", batch_id)
    heir = await take_one(leases)
    assert await leases.reserve(heir, 30)
    await end(leases, [heir], micro_usd=30)
    await batches.step_through()
    record = await batches.get("t1", batch_id)
    assert (record.spent_micro_usd, record.reserved_micro_usd, counts(record)) == (30, 0, (3, 0, 0, 2, 0, 1))


async def test_nothing_of_a_batch_that_is_not_promised_ends(batches: Batches, jobs: Jobs, leases: Leases, redis: Any) -> None:
    """Neither by its deadline, which may pass while a long body is read, nor on request: nobody has been told of it."""
    batch_id, items = fresh_id("batch"), [make_item(reserved_micro_usd=30) for _ in range(3)]
    await batches.open(NewBatch(batch_id, "t1"))
    await stage(batches, batch_id, [*items, make_item(twin_of=items[0].id)])
    await redis.hset(f"job:{items[0].id}", "deadline", 1)
    await redis.zadd("timers", {items[0].id: 1})
    await leases.reap()
    with pytest.raises(NotFound):
        await jobs.cancel("t1", items[1].id)
    assert await redis.exists("feed:t1") == 0
    await batches.commit(batch_id, fingerprint="f")
    assert counts(await batches.get("t1", batch_id)) == (4, 4, 0, 0, 0, 0)
    await redis.zadd("timers", {items[0].id: 1})
    await leases.reap()
    assert counts(await batches.get("t1", batch_id)) == (4, 3, 0, 0, 1, 0)
    await end(leases, await take(leases), micro_usd=30)
    await batches.step_through()
    record = await batches.get("t1", batch_id)
    assert (record.state, counts(record), record.reserved_micro_usd) == ("completed_with_errors", (4, 0, 0, 2, 2, 0), 0)


async def test_a_key_of_a_batch_that_is_being_read_makes_nothing_else(batches: Batches, jobs: Jobs, redis: Any) -> None:
    batch_id = fresh_id("batch")
    await batches.open(NewBatch(batch_id, "t1"), idempotency_key="k")
    await stage(batches, batch_id, [make_item()])
    with pytest.raises(IdempotencyMismatch):
        await jobs.accept(make_job(reserved_micro_usd=30), idempotency=Idempotency("k", "other"))
    with pytest.raises(IdempotencyMismatch):
        await jobs.replay("t1", Idempotency("k", "other"))
    await batches.commit(batch_id, fingerprint="f")
    assert (await batches.open(NewBatch(fresh_id("batch"), "t1"), idempotency_key="k")).earlier == (batch_id, "f")
    assert await spent_and_reserved(redis) == set()
