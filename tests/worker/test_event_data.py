"""What a webhook tells of an edit and of a batch."""

import json
from dataclasses import replace

import pytest

from shared.errors import NotFound
from shared.job import Course, JobState
from shared.settings import Settings
from shared.storage import Storage
from shared.store.batches import Batches, NewBatch, NewItem
from shared.store.connection import Scripts
from shared.store.jobs import Jobs
from shared.store.leases import Leases
from shared.store.webhooks import Outbox
from tests.conftest import fresh_id, make_job, take_one
from worker.event_data import EventData


@pytest.fixture
def data(jobs: Jobs, scripts: Scripts, settings: Settings, storage: Storage) -> EventData:
    return EventData(jobs=jobs, batches=Batches(scripts, settings), storage=storage, settings=settings)


async def test_an_event_of_an_edit_has_the_edit(data: EventData, jobs: Jobs, leases: Leases, outbox: Outbox) -> None:
    await jobs.accept(make_job(webhook_url="https://a.example"))
    record = await take_one(leases)
    await leases.finish(record, JobState.SUCCEEDED, Course())
    (delivery,) = await outbox.take(1)
    told = json.loads(await data.of(delivery))
    assert (told["object"], told["id"], told["status"]) == ("edit", record.id, "succeeded")
    with pytest.raises(NotFound):
        await data.of(replace(delivery, tenant="t2"))


async def test_an_event_of_a_batch_has_the_batch(
    data: EventData, scripts: Scripts, settings: Settings, leases: Leases, outbox: Outbox
) -> None:
    batches, batch_id, job = Batches(scripts, settings), fresh_id("batch"), make_job()
    await batches.open(NewBatch(batch_id, "t1", webhook_url="https://a.example", webhook_events=("batch.completed",)))
    item = NewItem(id=job.id, lane=job.lane, spec=job.spec, deadline_s=900)
    await batches.stage(batch_id, [item], first_index=0, bulk=True, request_id="r", key_id="k")
    await batches.commit(batch_id, fingerprint="f")
    await leases.finish(await take_one(leases), JobState.SUCCEEDED, Course())
    (delivery,) = await outbox.take(1)
    told = json.loads(await data.of(delivery))
    assert (delivery.event, told["object"], told["id"], told["status"]) == ("batch.completed", "batch", batch_id, "completed")
    assert told["counts"]["succeeded"] == 1


async def test_a_test_event_has_no_data(data: EventData, outbox: Outbox) -> None:
    assert await data.of(await outbox.add_test("t1", "https://a.example")) == b"{}"
