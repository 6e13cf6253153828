"""The state machine as the scripts make it, on fakeredis and on a server."""

import os
from typing import Any

import pytest

from shared.errors import AlreadyFinished, Gone, IdempotencyMismatch, NotFinished, NotFound, QueueFull, ValidationFailed
from shared.job import TRANSITIONS, Course, JobFailure, JobState
from shared.store.connection import Scripts
from shared.store.jobs import Idempotency, Jobs
from shared.store.leases import Leases, Release
from shared.store.webhooks import Outbox
from tests.conftest import make_job, make_spec, take_one

HOOK = {"webhook_url": "https://example.com/hook"}


def failed_with(code: str) -> Course:
    failure = JobFailure(code=code, message="no", retryable=False, by="provider", stage="editing", billed=False)
    return Course(error=failure)


async def test_an_accepted_edit_is_queued_then_running_then_succeeded(jobs: Jobs, leases: Leases) -> None:
    accepted = await jobs.accept(make_job())
    assert accepted.record.state is JobState.QUEUED
    taken = await take_one(leases)
    assert (taken.id, taken.state, taken.gen, taken.attempts) == (accepted.record.id, JobState.RUNNING, 1, 1)
    assert await leases.finish(taken, JobState.SUCCEEDED, Course(model="local-adjust"), cost_micro_usd=5)
    ended = await jobs.get("t1", taken.id)
    assert (ended.state, ended.course.model, ended.cost_micro_usd) == (JobState.SUCCEEDED, "local-adjust", 5)
    assert ended.finished is not None
    assert ended.version > accepted.record.version


async def test_accepting_the_same_id_twice_changes_nothing(jobs: Jobs, leases: Leases) -> None:
    job = make_job()
    first = await jobs.accept(job)
    again = await jobs.accept(job)
    assert again.record.id == first.record.id
    assert len(await leases.take("w1", nonce="n", want=10)) == 1


async def test_an_idempotency_key_answers_the_first_edit_again(jobs: Jobs) -> None:
    first = await jobs.accept(make_job(), idempotency=Idempotency("k", "print"))
    again = await jobs.accept(make_job(), idempotency=Idempotency("k", "print"))
    assert again.replayed
    assert again.record.id == first.record.id
    assert (await jobs.replay("t1", Idempotency("k", "print"))) == again.record
    other_tenant = await jobs.accept(make_job("t2"), idempotency=Idempotency("k", "print"))
    assert not other_tenant.replayed


async def test_an_idempotency_key_for_another_request_is_refused(jobs: Jobs, redis: Any) -> None:
    await jobs.accept(make_job(), idempotency=Idempotency("k", "print"))
    with pytest.raises(IdempotencyMismatch):
        await jobs.accept(make_job(), idempotency=Idempotency("k", "other"))
    with pytest.raises(IdempotencyMismatch):
        await jobs.replay("t1", Idempotency("k", "other"))
    assert await redis.zcard("timers") == 1


async def test_a_tenant_over_its_quota_is_refused_until_an_edit_ends(
    make_settings: Any, scripts: Scripts, leases: Leases
) -> None:
    jobs = Jobs(scripts, make_settings(queue_quota=2))
    await jobs.accept(make_job())
    await jobs.accept(make_job())
    with pytest.raises(QueueFull):
        await jobs.accept(make_job())
    await jobs.accept(make_job("t2"))
    record = await take_one(leases)
    await leases.finish(record, JobState.SUCCEEDED, Course())
    await jobs.accept(make_job(record.tenant))


async def test_a_stale_worker_can_change_nothing(jobs: Jobs, leases: Leases) -> None:
    await jobs.accept(make_job(**HOOK))
    stale = await take_one(leases, "w1")
    await leases.release(stale, Release())
    fresh = await take_one(leases, "w2")
    assert fresh.gen == stale.gen + 1
    assert not await leases.checkpoint(stale, handle="x")
    assert not await leases.finish(stale, JobState.FAILED, failed_with("provider_error"))
    assert not await leases.release(stale, Release())
    assert await leases.renew("w1", slots=1, providers=[], held=[(stale.id, stale.gen)]) == ["lost"]
    assert await leases.renew("w2", slots=1, providers=["acme"], held=[(fresh.id, fresh.gen)]) == ["ok"]
    assert (await jobs.get("t1", fresh.id)).handle == ""
    assert await jobs.providers_seen() == ("acme",)
    await leases.finish(fresh, JobState.SUCCEEDED, Course())


async def test_finishing_twice_counts_once(jobs: Jobs, leases: Leases, redis: Any, outbox: Outbox) -> None:
    await jobs.accept(make_job(**HOOK))
    record = await take_one(leases)
    assert await leases.finish(record, JobState.SUCCEEDED, Course(), cost_micro_usd=7)
    assert await leases.finish(record, JobState.SUCCEEDED, Course(), cost_micro_usd=7)
    assert len(await outbox.take(10)) == 1
    (usage,) = await redis.keys("usage:t1:*")
    assert await redis.hgetall(usage) == {"succeeded||": "1", "micro_usd||": "7"}


async def test_taking_again_with_the_same_nonce_answers_the_same_edits(jobs: Jobs, leases: Leases) -> None:
    for _ in range(3):
        await jobs.accept(make_job())
    first = await leases.take("w1", nonce="a", want=2)
    again = await leases.take("w1", nonce="a", want=2)
    assert [r.id for r in again] == [r.id for r in first]
    assert [r.gen for r in again] == [1, 1]
    assert len(await leases.take("w1", nonce="b", want=2)) == 1


async def test_checkpoints_are_kept_for_the_next_worker(jobs: Jobs, leases: Leases) -> None:
    await jobs.accept(make_job())
    record = await take_one(leases)
    assert await leases.checkpoint(
        record, call="handle", handle="task-1", call_model="qwen-edit", submitted="@now", stage="editing"
    )
    await leases.release(record, Release())
    again = await take_one(leases, "w2")
    assert (again.call, again.handle, again.call_model, again.stage) == ("handle", "task-1", "qwen-edit", "editing")
    assert again.submitted is not None
    assert abs(again.submitted - again.created) < 60_000


async def test_a_canceled_queued_edit_never_runs(jobs: Jobs, leases: Leases, outbox: Outbox) -> None:
    accepted = await jobs.accept(make_job(**HOOK))
    canceled = await jobs.cancel("t1", accepted.record.id)
    assert canceled.state is JobState.CANCELED
    assert await leases.take("w1", nonce="n", want=5) == []
    assert [d.event for d in await outbox.take(10)] == ["edit.canceled"]
    assert (await jobs.cancel("t1", accepted.record.id)).state is JobState.CANCELED


async def test_a_running_edit_learns_of_its_cancel_at_the_next_beat(jobs: Jobs, leases: Leases) -> None:
    accepted = await jobs.accept(make_job())
    record = await take_one(leases)
    assert (await jobs.cancel("t1", accepted.record.id)).cancel
    assert await leases.renew("w1", slots=1, providers=[], held=[(record.id, record.gen)]) == ["cancel"]
    assert await leases.finish(record, JobState.CANCELED, Course())
    with pytest.raises(NotFound):
        await jobs.cancel("t2", accepted.record.id)


async def test_a_finished_edit_cannot_be_canceled(jobs: Jobs, leases: Leases) -> None:
    await jobs.accept(make_job())
    record = await take_one(leases)
    await leases.finish(record, JobState.SUCCEEDED, Course())
    with pytest.raises(AlreadyFinished):
        await jobs.cancel("t1", record.id)


async def test_another_tenants_edit_does_not_exist(jobs: Jobs, leases: Leases) -> None:
    accepted = await jobs.accept(make_job())
    for call in (jobs.get, jobs.cancel, jobs.purge):
        with pytest.raises(NotFound):
            await call("t2", accepted.record.id)


async def test_a_deleted_edit_is_gone_and_an_unknown_one_not_found(jobs: Jobs, leases: Leases) -> None:
    accepted = await jobs.accept(make_job())
    with pytest.raises(NotFinished):
        await jobs.purge("t1", accepted.record.id)
    record = await take_one(leases)
    await leases.finish(record, JobState.SUCCEEDED, Course())
    await jobs.purge("t1", record.id)
    with pytest.raises(Gone):
        await jobs.get("t1", record.id)
    with pytest.raises(NotFound):
        await jobs.get("t2", record.id)


async def test_an_expired_edit_is_gone_with_the_time(jobs: Jobs, leases: Leases, redis: Any) -> None:
    await jobs.accept(make_job())
    record = await take_one(leases)
    await leases.finish(record, JobState.SUCCEEDED, Course())
    await redis.delete(f"job:{record.id}")
    with pytest.raises(Gone, match=r"until about \d{4}-"):
        await jobs.get("t1", record.id)


async def test_backoff_waits_and_comes_back_to_the_front(jobs: Jobs, leases: Leases) -> None:
    first = (await jobs.accept(make_job())).record
    second = (await jobs.accept(make_job())).record
    record = await take_one(leases)
    assert record.id == first.id
    await leases.release(record, Release(delay_s=0.05, waiting_on="retry_backoff", failed=True))
    waiting = await jobs.get("t1", first.id)
    assert (waiting.state, waiting.at, waiting.waiting_on, waiting.failures) == (JobState.QUEUED, "wait", "retry_backoff", 1)
    while (await leases.reap())["readied"] == 0:
        assert (await jobs.get("t1", first.id)).at == "wait"
    assert [r.id for r in await leases.take("w1", nonce="n", want=2)] == [first.id, second.id]


async def test_a_deadline_that_passes_in_the_queue_fails_the_edit(jobs: Jobs, leases: Leases, outbox: Outbox) -> None:
    accepted = await jobs.accept(make_job(deadline_s=0, **HOOK))
    await leases.reap()
    ended = await jobs.get("t1", accepted.record.id)
    assert (ended.state, ended.error_code) == (JobState.FAILED, "deadline_exceeded")
    assert [d.event for d in await outbox.take(5)] == ["edit.failed"]


async def test_an_edit_past_its_deadline_is_not_taken(jobs: Jobs, leases: Leases) -> None:
    accepted = await jobs.accept(make_job(deadline_s=0))
    assert await leases.take("w1", nonce="n", want=1) == []
    assert (await jobs.get("t1", accepted.record.id)).error_code == "deadline_exceeded"


async def test_listing_is_newest_first_pages_and_filters(jobs: Jobs, leases: Leases) -> None:
    records = [(await jobs.accept(make_job(metadata={"n": str(i % 2)}))).record for i in range(7)]
    await jobs.accept(make_job("t2"))
    newest = [r.id for r in sorted(records, key=lambda r: (r.created, r.id), reverse=True)]
    seen: list[str] = []
    cursor = None
    while True:
        page = await jobs.page("t1", limit=3, cursor=cursor)
        seen += [r.id for r in page.records]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == newest
    odd = await jobs.page("t1", metadata={"n": "1"})
    assert {r.id for r in odd.records} == {r.id for i, r in enumerate(records) if i % 2}
    await jobs.cancel("t1", records[0].id)
    assert [r.id for r in (await jobs.page("t1", status=JobState.CANCELED)).records] == [records[0].id]
    with pytest.raises(ValidationFailed):
        await jobs.page("t1", cursor="nonsense")


@pytest.mark.parametrize("start", list(JobState))
@pytest.mark.parametrize("end", list(JobState))
async def test_the_scripts_make_exactly_the_moves_of_the_table(
    start: JobState, end: JobState, jobs: Jobs, leases: Leases, redis: Any
) -> None:
    accepted = (await jobs.accept(make_job(spec=make_spec()))).record
    record = accepted
    if start is not JobState.QUEUED:
        record = await take_one(leases)
    if start.terminal:
        assert await leases.finish(record, start, Course())
    before = await jobs.get("t1", accepted.id)
    assert before.state is start
    if end is JobState.QUEUED:
        await leases.release(record, Release())
    elif end is JobState.RUNNING:
        await leases.take("w2", nonce=os.urandom(4).hex(), want=1)
    elif start is JobState.QUEUED and end is JobState.CANCELED:
        await jobs.cancel("t1", accepted.id)
    elif start is JobState.QUEUED and end is JobState.FAILED:
        await redis.hset(f"job:{accepted.id}", "deadline", 1)
        await redis.zadd("timers", {accepted.id: 1})
        await leases.reap()
    else:
        await leases.finish(record, end, Course())
    after = await jobs.get("t1", accepted.id)
    assert after.state is (end if end in TRANSITIONS[start] else start)
