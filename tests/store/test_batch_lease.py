"""A batch that is being read is its gateway's for as long as that one lives, and its Idempotency-Key, too."""

from typing import Any

import pytest

from shared.errors import IdempotencyInFlight, NotFound
from shared.store.batches import LEASE_MS, Batches, NewBatch
from shared.store.connection import Scripts
from tests.conftest import fresh_id
from tests.store.batch_steps import counts, make_item, stage


async def opened(batches: Batches, *, reserved_micro_usd: int = 0, count: int = 2) -> str:
    """A batch under the key `k`, with some items staged."""
    batch_id = fresh_id("batch")
    assert (await batches.open(NewBatch(batch_id, "t1"), idempotency_key="k")).earlier is None
    await stage(batches, batch_id, [make_item(reserved_micro_usd=reserved_micro_usd) for _ in range(count)])
    return batch_id


async def left_ms(redis: Any, batch_id: str) -> float:
    """Of the lease, on Redis' own clock."""
    seconds, micros = await redis.time()
    return float(await redis.zscore("batches", batch_id)) - (seconds * 1000 + micros / 1000)


async def test_the_same_request_takes_over_once_the_lease_is_over(batches: Batches, redis: Any) -> None:
    await redis.hset("tenant:t1", "daily_limit", 100)
    first = await opened(batches, reserved_micro_usd=50)
    with pytest.raises(IdempotencyInFlight):
        await opened(batches)
    await redis.zadd("batches", {first: 1})
    second = await opened(batches, reserved_micro_usd=50)
    assert await batches.item_ids(first, start=0, count=9) == [], "what the dead one had reserved was not in the way"
    with pytest.raises(IdempotencyInFlight):
        await opened(batches)
    assert await batches.commit(second, fingerprint="f") == 2
    assert (await batches.open(NewBatch(fresh_id("batch"), "t1"), idempotency_key="k")).earlier == (second, "f")
    assert len(await redis.keys("job:*")) == 2


async def test_a_gateway_that_was_only_asleep_fails_and_leaves_the_other_one_alone(
    batches: Batches, scripts: Scripts, redis: Any
) -> None:
    first = await opened(batches, count=450)
    await redis.zadd("batches", {first: 1})
    # No step has been taken yet that would drop the items of the first one.
    fields = ("state", "expanding", "tenant", "t1")
    second = fresh_id("batch")
    assert await scripts.run("batch_open", f"batch:{second}", second, "t1", "k", 1_000, LEASE_MS, *fields) == ["taken_over"]
    for attempt in (
        stage(batches, first, [make_item()], first_index=450),
        batches.renew(first),
        batches.commit(first, fingerprint="f"),
    ):
        with pytest.raises(NotFound, match="send it again"):
            await attempt
    await batches.abandon("t1", first)
    assert await redis.hget("idem:t1:k", "id") == second, "its key is another one's now"
    await stage(batches, second, [make_item()])
    await batches.commit(second, fingerprint="f")
    await batches.step_through()
    assert await redis.keys("batch:*:items") == [f"batch:{second}:items"]
    assert counts(await batches.get("t1", second)) == (1, 1, 0, 0, 0, 0)


async def test_nothing_is_added_to_a_batch_that_is_being_dropped(batches: Batches, redis: Any) -> None:
    batch_id = await opened(batches, count=450)
    await redis.zadd("batches", {batch_id: 1})
    await batches.step()
    assert await redis.zcard(f"batch:{batch_id}:items") == 250
    with pytest.raises(NotFound):
        await stage(batches, batch_id, [make_item()], first_index=450)
    with pytest.raises(NotFound):
        await batches.commit(batch_id, fingerprint="f")
    await batches.step_through()
    assert await redis.keys("job:*") == await redis.keys("batch:*") == await redis.keys("idem:*") == []


async def test_a_lease_is_renewed_by_each_chunk_and_on_request(batches: Batches, redis: Any) -> None:
    batch_id = await opened(batches)
    for renew in (lambda: stage(batches, batch_id, [make_item()], first_index=2), lambda: batches.renew(batch_id)):
        await redis.zadd("batches", {batch_id: 1})
        await renew()
        assert LEASE_MS - 5_000 < await left_ms(redis, batch_id) <= LEASE_MS
    assert await batches.commit(batch_id, fingerprint="f") == 3
    with pytest.raises(NotFound):
        await batches.renew(batch_id)
    assert await redis.zcard("batches") == 0, "a promised batch needs none"
