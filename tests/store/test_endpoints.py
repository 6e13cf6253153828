"""Endpoints and deliveries in Redis, on fakeredis and on a server: who gets what, and what becomes of those who take nothing."""

import time
from typing import Any

import pytest

from shared.errors import EndpointDisabled, NotFound, ValidationFailed
from shared.job import Course, JobRecord, JobState
from shared.store.batches import Batches, NewBatch, NewItem
from shared.store.connection import Scripts
from shared.store.endpoints import Endpoint, Endpoints
from shared.store.feed import BEGINNING, Feed
from shared.store.jobs import Jobs
from shared.store.leases import Leases
from shared.store.webhooks import Delivery, Outbox
from tests.conftest import fresh_id, make_job, take_one

_DAY_MS = 86_400_000
A, B = "https://a.example/hook", "https://b.example/hook"


@pytest.fixture
def endpoints(scripts: Scripts) -> Endpoints:
    return Endpoints(scripts)


@pytest.fixture
def ended(jobs: Jobs, leases: Leases) -> Any:
    """Ends edits, so that there are events."""

    async def end(state: JobState = JobState.SUCCEEDED, *, tenant: str = "t1", **options: Any) -> JobRecord:
        await jobs.accept(make_job(tenant, **options))
        record = await take_one(leases)
        assert await leases.finish(record, state, Course())
        return record

    return end


async def make(endpoints: Endpoints, url: str = A, *events: str, tenant: str = "t1") -> Endpoint:
    return (await endpoints.create(tenant, url=url, events=events, description="", enabled=True)).endpoint


async def told(redis: Any) -> list[tuple[str, str]]:
    """Event and address of every delivery."""
    rows = [await redis.hgetall(key) for key in await redis.keys("whd:*")]
    return sorted((row["event"], row["url"]) for row in rows)


async def fail(outbox: Outbox, delivery: Delivery) -> None:
    await outbox.retry(delivery, delay_s=60, status=500, error="the receiver answered with an error")


async def take(outbox: Outbox) -> Delivery:
    (delivery,) = await outbox.take(10)
    return delivery


async def later(redis: Any, delivery: Delivery) -> None:
    """Make a delivery due that waits for its next attempt."""
    line = delivery.url.removesuffix("/hook")
    await redis.zadd(f"outbox:{line}", {delivery.id: 1})
    await redis.zadd("outbox", {line: 1})


async def test_an_endpoint_gets_the_events_that_it_asks_for(endpoints: Endpoints, ended: Any, redis: Any) -> None:
    await make(endpoints, A)
    await make(endpoints, B, "edit.failed")
    await make(endpoints, "https://other.example/hook", tenant="t2")
    await ended()
    await ended(JobState.FAILED)
    assert await told(redis) == [("edit.failed", A), ("edit.failed", B), ("edit.succeeded", A)]


async def test_an_edits_own_address_and_an_endpoint_get_the_event_under_one_id(
    endpoints: Endpoints, ended: Any, outbox: Outbox
) -> None:
    endpoint = await make(endpoints, B)
    record = await ended(webhook_url=A)
    own, other = await outbox.of_job("t1", record.id, JobState.SUCCEEDED)
    assert (own.url, own.endpoint, other.url, other.endpoint) == (A, "", B, endpoint.id)
    assert own.event_id == other.event_id
    assert len({own.id, other.id}) == 2
    assert len(other.id) <= 5 + 64


async def test_a_change_counts_from_the_next_event_on(endpoints: Endpoints, ended: Any, redis: Any) -> None:
    endpoint = await make(endpoints, A)
    changed = await endpoints.change("t1", endpoint.id, url=B, events=["edit.canceled", "edit.failed"], description="new")
    assert (changed.url, changed.events, changed.description) == (B, ("edit.canceled", "edit.failed"), "new")
    await ended()
    await ended(JobState.FAILED)
    assert await told(redis) == [("edit.failed", B)]
    assert (await endpoints.change("t1", endpoint.id, events=[])).events == ()


async def test_a_tenant_has_at_most_16(endpoints: Endpoints) -> None:
    made = [await make(endpoints) for _ in range(16)]
    with pytest.raises(ValidationFailed, match="16"):
        await make(endpoints)
    await make(endpoints, tenant="t2")
    await endpoints.delete("t1", made[0].id)
    last = await make(endpoints)
    assert {one.id for one in await endpoints.all("t1")} == {*(one.id for one in made[1:]), last.id}


async def test_another_tenants_endpoint_is_unknown(endpoints: Endpoints) -> None:
    endpoint = await make(endpoints)
    for act in (
        endpoints.get("t2", endpoint.id),
        endpoints.change("t2", endpoint.id, enabled=False),
        endpoints.delete("t2", endpoint.id),
    ):
        with pytest.raises(NotFound):
            await act
    assert await endpoints.all("t2") == []
    assert (await endpoints.get("t1", endpoint.id)).disabled_reason is None


async def test_a_disabled_endpoint_gets_nothing_until_it_is_enabled(
    endpoints: Endpoints, ended: Any, outbox: Outbox, redis: Any
) -> None:
    endpoint = await make(endpoints)
    await ended()
    assert (await endpoints.change("t1", endpoint.id, enabled=False)).disabled_reason == "by_owner"
    await ended()
    assert await outbox.take(10) == [], "what was on its way is stopped too"
    (stopped,) = (await outbox.page("t1")).deliveries
    assert (stopped.state, stopped.last_error) == ("stopped", "the endpoint is disabled or deleted")
    with pytest.raises(EndpointDisabled):
        await outbox.replay("t1", stopped.id)
    assert (await outbox.replay_since("t1", 0)).count == 0
    assert (await endpoints.change("t1", endpoint.id, enabled=True)).disabled_reason is None
    await outbox.replay("t1", stopped.id)
    await ended()
    assert len(await outbox.take(10)) == 2


async def test_a_deleted_endpoint_gets_nothing_more(endpoints: Endpoints, ended: Any, outbox: Outbox) -> None:
    endpoint = await make(endpoints)
    await ended()
    await endpoints.delete("t1", endpoint.id)
    assert await outbox.take(10) == []
    assert [one.state for one in (await outbox.page("t1")).deliveries] == ["stopped"]


async def test_what_waits_goes_where_the_endpoint_is_now(endpoints: Endpoints, ended: Any, outbox: Outbox, redis: Any) -> None:
    endpoint = await make(endpoints, A)
    await ended()
    delivery = await take(outbox)
    await fail(outbox, delivery)
    await endpoints.change("t1", endpoint.id, url=B)
    await later(redis, delivery)
    assert await outbox.take(10) == [], "it changes its line first"
    moved = await take(outbox)
    assert (moved.id, moved.url, moved.tries) == (delivery.id, B, 2)


async def test_an_endpoint_that_answers_410_is_disabled(endpoints: Endpoints, ended: Any, outbox: Outbox) -> None:
    endpoint = await make(endpoints)
    await ended()
    await outbox.give_up(await take(outbox), stopped=True, status=410, error="the receiver wants no more events")
    now = await endpoints.get("t1", endpoint.id)
    assert (now.disabled_reason, now.last_status, now.last_error) == ("gone", 410, "the receiver wants no more events")
    await ended()
    assert await outbox.take(10) == []


async def test_an_endpoint_is_disabled_after_five_days_of_failures(
    endpoints: Endpoints, ended: Any, outbox: Outbox, redis: Any
) -> None:
    endpoint = await make(endpoints)
    await ended()
    delivery = await take(outbox)
    await fail(outbox, delivery)
    failing = await endpoints.get("t1", endpoint.id)
    assert failing.failing_since_ms is not None
    assert (failing.disabled_reason, failing.last_failure_ms) == (None, failing.failing_since_ms)
    for days, reason in ((4.9, None), (5.1, "failing")):
        await redis.hset(f"endpoint:{endpoint.id}", "failing_since", failing.failing_since_ms - int(days * _DAY_MS))
        await later(redis, delivery)
        await fail(outbox, await take(outbox))
        assert (await endpoints.get("t1", endpoint.id)).disabled_reason == reason
    enabled = await endpoints.change("t1", endpoint.id, enabled=True)
    assert (enabled.disabled_reason, enabled.failing_since_ms) == (None, None)
    await later(redis, delivery)
    await fail(outbox, await take(outbox))
    assert (await endpoints.get("t1", endpoint.id)).disabled_reason is None, "its days are counted anew"


async def test_a_success_ends_a_row_of_failures(endpoints: Endpoints, ended: Any, outbox: Outbox, redis: Any) -> None:
    endpoint = await make(endpoints)
    await redis.hset(f"endpoint:{endpoint.id}", "failing_since", 1)
    await ended()
    await outbox.delivered(await take(outbox), 200)
    await ended()
    await fail(outbox, await take(outbox))
    now = await endpoints.get("t1", endpoint.id)
    assert (now.disabled_reason, now.last_status, bool(now.last_success_ms)) == (None, 500, True)


async def test_our_own_trouble_is_not_the_endpoints(endpoints: Endpoints, ended: Any, outbox: Outbox, redis: Any) -> None:
    endpoint = await make(endpoints)
    await redis.hset(f"endpoint:{endpoint.id}", "failing_since", 1)
    await ended()
    delivery = await take(outbox)
    await outbox.retry(delivery, delay_s=0, status=None, error="the event could not be made", ours=True)
    await outbox.postpone(await take(outbox), 0)
    await outbox.give_up(await take(outbox), stopped=False, status=None, error="the edit was deleted", ours=True)
    now = await endpoints.get("t1", endpoint.id)
    assert (now.disabled_reason, now.last_failure_ms, now.last_error) == (None, None, "")


async def test_no_more_than_four_to_one_address_are_out_at_once(outbox: Outbox) -> None:
    for _ in range(6):
        await outbox.add_test("t1", "https://A.example/one?x=1")
        await outbox.add_test("t2", "https://a.example/two")
        await outbox.add_test("t1", "https://a.example:8443/three")
    taken = await outbox.take(100)
    assert sorted("8443" in delivery.url for delivery in taken) == [False] * 4 + [True] * 4
    assert await outbox.take(100) == []
    one = next(delivery for delivery in taken if "8443" not in delivery.url)
    assert await outbox.delivered(one, 200), "there is more for this address"
    (following,) = await outbox.take(100)
    assert "8443" not in following.url


async def test_a_sender_that_died_makes_room_after_its_time(outbox: Outbox, scripts: Scripts) -> None:
    for _ in range(6):
        await outbox.add_test("t1", A)
    first = await scripts.run("outbox_take", "outbox", 100, 1, _DAY_MS)
    assert len(first) == 4
    again = [await outbox.take(100) for _ in range(50)]
    assert [len(taken) for taken in again if taken] == [4]


async def test_deliveries_are_listed_newest_first_by_state_endpoint_and_time(
    endpoints: Endpoints, ended: Any, outbox: Outbox, redis: Any
) -> None:
    endpoint = await make(endpoints, B)
    for _ in range(3):
        await ended(webhook_url=A)
    await ended(tenant="t2", webhook_url=A)
    every = (await outbox.page("t1", limit=100)).deliveries
    assert len(every) == 6
    assert [one.created_ms for one in every] == sorted((one.created_ms for one in every), reverse=True)
    assert {one.tenant for one in every} == {"t1"}
    assert [one.id for one in (await outbox.page("t1", endpoint=endpoint.id)).deliveries] == [
        one.id for one in every if one.endpoint == endpoint.id
    ]
    for delivery in await outbox.take(3):
        await outbox.delivered(delivery, 200)
    assert len((await outbox.page("t1", state="delivered")).deliveries) == 3
    assert (await outbox.page("t1", since_ms=every[0].created_ms + 1)).deliveries == []
    walked, cursor = [], None
    while len(walked) < 6:
        page = await outbox.page("t1", limit=1, cursor=cursor)
        walked += page.deliveries
        cursor = page.next_cursor
    assert [one.id for one in walked] == [one.id for one in every]
    assert (await outbox.page("t1", cursor=cursor)).deliveries == []


async def test_a_cursor_holds_when_its_entry_is_gone(outbox: Outbox, redis: Any) -> None:
    made = [await outbox.add_test("t1", A) for _ in range(3)]
    for number, delivery in enumerate(made, start=1):
        await redis.zadd("whds:t1", {delivery.id: number})
    page = await outbox.page("t1", limit=2)
    assert [one.id for one in page.deliveries] == [made[2].id, made[1].id]
    await redis.zrem("whds:t1", made[1].id)
    assert [one.id for one in (await outbox.page("t1", cursor=page.next_cursor)).deliveries] == [made[0].id]
    with pytest.raises(ValidationFailed):
        await outbox.page("t1", cursor="WyJ4Il0")


async def test_deliveries_older_than_a_week_are_no_longer_listed(ended: Any, outbox: Outbox, redis: Any) -> None:
    old = await ended(webhook_url=A)
    await redis.zadd("whds:t1", {f"whd_{old.id[5:]}_succeeded": (await redis.time())[0] * 1000 - 8 * _DAY_MS})
    new = await ended(webhook_url=A)
    assert [one.job_id for one in (await outbox.page("t1")).deliveries] == [new.id]


async def test_all_since_a_time_are_replayed_except_those_on_their_way(outbox: Outbox, redis: Any) -> None:
    made = [await outbox.add_test("t1", f"https://{number}.example/hook") for number in range(1, 6)]
    for number, delivery in enumerate(made, start=1):
        await redis.zadd("whds:t1", {delivery.id: number})
    taken = {delivery.id: delivery for delivery in await outbox.take(10)}
    for number, delivery in enumerate(made, start=1):
        if number in (1, 2):
            await outbox.give_up(taken[delivery.id], stopped=False, status=500, error="no")
        if number in (3, 4):
            await outbox.delivered(taken[delivery.id], 200)
    assert (await outbox.replay_since("t2", 0)).count == 0
    assert (await outbox.replay_since("t1", 4, state="failed")).count == 0
    assert (await outbox.replay_since("t1", 2, state="failed")).count == 1
    assert [(await outbox.replay_since("t1", 0)).count for _ in range(2)] == [3, 0]
    again = await outbox.take(10)
    assert {one.id: one.event_id for one in again} == {one.id: one.event_id for one in made[:4]}
    assert {one.tries for one in again} == {1}


async def test_a_replay_goes_through_many(outbox: Outbox, redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.store.webhooks._REPLAYED_AT_ONCE", 10)
    monkeypatch.setattr("shared.store.webhooks._REPLAYED_MAX", 20)
    for _ in range(35):
        delivery = await outbox.add_test("t1", A)
        await redis.hset(f"whd:{delivery.id}", "state", "failed")
    first = await outbox.replay_since("t1", 0, state="failed")
    second = await outbox.replay_since("t1", 0, state="failed", cursor=first.next_cursor)
    assert (first.count, second.count, second.next_cursor) == (20, 15, None)


async def test_a_batch_that_is_held_again_is_another_event(
    endpoints: Endpoints, scripts: Scripts, settings: Any, leases: Leases, outbox: Outbox, redis: Any
) -> None:
    await make(endpoints, A, "batch.held")
    batches, batch_id, items = Batches(scripts, settings), fresh_id("batch"), [make_job() for _ in range(3)]
    await batches.open(NewBatch(batch_id, "t1", canary=1))
    staged = [NewItem(id=job.id, lane=job.lane, spec=job.spec, deadline_s=900) for job in items]
    await batches.stage(batch_id, staged, first_index=0, bulk=True, request_id="req", key_id="k1")
    await batches.commit(batch_id, fingerprint="f")
    for gate in (1, 2):
        await redis.hset(f"batch:{batch_id}", "gate", gate)
        assert await leases.finish(await take_one(leases), JobState.SUCCEEDED, Course())
        assert (await batches.get("t1", batch_id)).state == "held"
        await batches.release("t1", batch_id)
    deliveries = (await outbox.page("t1")).deliveries
    told = [event for event in await Feed(scripts).after("t1", BEGINNING, limit=100) if event.kind == "batch.held"]
    assert {delivery.event_id for delivery in deliveries} == {event.event_id for event in told}
    assert len({delivery.event_id for delivery in deliveries}) == 2


async def test_however_much_waits_for_a_stuck_address_another_is_taken_at_once(outbox: Outbox, scripts: Scripts) -> None:
    for _ in range(200):
        await outbox.add_test("t1", A)
    assert len(await outbox.take(64)) == 4
    await outbox.add_test("t2", B)
    assert [delivery.url for delivery in await outbox.take(64)] == [B]
    assert await scripts.command("ZCOUNT", "outbox", "-inf", int(time.time() * 1000)) == 0, "and nobody looks at it meanwhile"
