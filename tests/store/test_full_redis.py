"""A Redis without room: what was promised can still be ended, and what was not be given up, so that there is room again."""

from typing import Any

import pytest

from shared.errors import Overloaded
from shared.job import Course, JobState
from shared.settings import Settings
from shared.store.batches import Batches, NewBatch
from shared.store.connection import Scripts
from shared.store.jobs import Jobs
from shared.store.leases import Leases, Release
from tests.conftest import fresh_id, make_job
from tests.store.batch_steps import counts, make_item, stage, submit, take


async def test_what_makes_room_needs_none(real_redis: Any, settings: Settings) -> None:
    scripts = Scripts(real_redis, timeout_s=2.0)
    jobs, leases, batches = Jobs(scripts, settings), Leases(scripts, settings), Batches(scripts, settings)
    unread, singles = fresh_id("batch"), [(await jobs.accept(make_job(reserved_micro_usd=10))).record.id for _ in range(4)]
    batch_id = await submit(batches, [make_item(reserved_micro_usd=10) for _ in range(90)])
    await batches.open(NewBatch(unread, "t1"), idempotency_key="k")
    await stage(batches, unread, [make_item(reserved_micro_usd=10) for _ in range(3)])
    one, two, three, *items = await take(leases, 5)
    await real_redis.config_set("maxmemory", 1)
    try:
        for more in (jobs.accept(make_job()), stage(batches, unread, [make_item()], first_index=3)):
            with pytest.raises(Overloaded):
                await more
        await batches.renew(unread)
        assert await leases.reserve(one, 20)
        assert await leases.finish(one, JobState.SUCCEEDED, Course(), cost_micro_usd=20)
        await jobs.cancel("t1", two.id)
        assert await leases.release(two, Release())
        assert await leases.release(three, Release(delay_s=60))
        await jobs.cancel("t1", singles[3])
        await batches.abandon("t1", unread)
        await batches.cancel("t1", batch_id)
        for record in items:
            assert await leases.finish(record, JobState.CANCELED, Course())
    finally:
        await real_redis.config_set("maxmemory", 0)
    assert [(await jobs.get("t1", job_id)).state for job_id in singles] == ["succeeded", "canceled", "queued", "canceled"]
    record = await batches.get("t1", batch_id)
    assert (record.state, counts(record)) == ("canceled", (90, 0, 0, 0, 0, 90))
    assert await real_redis.exists(f"batch:{unread}", "idem:t1:k") == 0
    assert {await real_redis.hget(key, "reserved") for key in await real_redis.keys("spend:*")} == {"10"}
