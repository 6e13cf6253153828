"""What a test of batches in Redis does: stages and submits them, does their workers' part, reads their counts."""

from typing import Any

from shared.job import Course, JobFailure, JobRecord, JobState
from shared.store.batch_record import BatchRecord
from shared.store.batches import Batches, NewBatch, NewItem
from shared.store.leases import Leases
from tests.conftest import fresh_id, make_job


def make_item(**given: Any) -> NewItem:
    job = make_job()
    return NewItem(**{"id": job.id, "lane": job.lane, "spec": job.spec, "deadline_s": 900, **given})


async def stage(batches: Batches, batch_id: str, items: list[NewItem], first_index: int = 0) -> None:
    await batches.stage(batch_id, items, first_index=first_index, bulk=True, request_id="req", key_id="k1")


async def submit(batches: Batches, items: list[NewItem], **options: Any) -> str:
    batch_id = fresh_id("batch")
    await batches.open(NewBatch(batch_id, "t1", **options))
    await stage(batches, batch_id, items)
    assert await batches.commit(batch_id, fingerprint="f") == len(items)
    return batch_id


async def take(leases: Leases, want: int = 100) -> list[JobRecord]:
    return await leases.take("w1", nonce=fresh_id(), want=want, providers=("local",))


async def end(leases: Leases, records: list[JobRecord], state: JobState = JobState.SUCCEEDED, *, micro_usd: int = 0) -> None:
    for record in records:
        course = Course()
        if state is JobState.FAILED:
            course = Course(error=failure("bad_output"))
        assert await leases.finish(record, state, course, cost_micro_usd=micro_usd)


def failure(code: str) -> JobFailure:
    return JobFailure(code=code, message="no", retryable=False, by="caller", stage="queued", billed=False)


def counts(record: BatchRecord) -> tuple[int, ...]:
    return tuple(record.counts.values())
