"""Receivers in every mood: the schedule is kept, others get theirs meanwhile, the dead are disabled, replays arrive."""

import time
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from shared.job import Course, JobState
from shared.signing import webhook_secret
from shared.store.endpoints import Endpoints
from shared.store.jobs import Jobs
from shared.store.leases import Leases
from tests.conftest import make_job, take_one
from tests.worker.webhook_bench import MASTER, Bench, until

_SCHEDULE_S = (0, 100, 10_000)


async def end_an_edit(bench: Bench, **options: Any) -> str:
    leases = Leases(bench.scripts, bench.settings)
    await Jobs(bench.scripts, bench.settings).accept(make_job(**options))
    record = await take_one(leases)
    assert await leases.finish(record, JobState.SUCCEEDED, Course())
    return record.id


async def add_endpoint(bench: Bench, url: str, *events: str) -> str:
    made = await Endpoints(bench.scripts).create("t1", url=url, events=events, description="", enabled=True)
    return made.endpoint.id


async def make_due(bench: Bench, url: str) -> None:
    """The waits of the deliveries to this address are over."""
    line = url.removesuffix("/hook")
    for delivery_id in await bench.scripts.command("ZRANGE", f"outbox:{line}", 0, -1):
        await bench.scripts.command("ZADD", f"outbox:{line}", 1, delivery_id)
    await bench.scripts.command("ZADD", "outbox", 1, line)


@pytest.mark.parametrize("mood", [500, (301, {"Location": "/elsewhere"}), "hang", "close", "flood", "drip"], ids=str)
async def test_whatever_goes_wrong_the_schedule_is_kept_and_others_get_theirs(mood: Any, bench: Bench, receivers: Any) -> None:
    bad, bad_url = await receivers()
    bad.answers = [mood]
    good, good_url = await receivers()
    endpoint = await add_endpoint(bench, bad_url)
    await add_endpoint(bench, good_url)
    await end_an_edit(bench)
    changes = {"webhook_schedule_s": _SCHEDULE_S, "webhook_timeout_s": 0.2 if mood in ("hang", "drip") else 5}
    for attempt, planned_s in enumerate(_SCHEDULE_S[1:], start=1):
        before_s = time.time()
        await bench.send(**changes)
        (delivery,) = (await bench.outbox.page("t1", endpoint=endpoint)).deliveries
        assert (delivery.state, delivery.tries, len(bad.received), len(good.received)) == ("pending", attempt, attempt, 1)
        assert 0.8 * planned_s <= await bench.wait_s(delivery, since_s=before_s)
        assert await bench.wait_s(delivery, since_s=time.time()) <= 1.2 * planned_s
        await make_due(bench, bad_url)
    await bench.send(**changes)
    (delivery,) = (await bench.outbox.page("t1", endpoint=endpoint)).deliveries
    assert (delivery.state, delivery.tries) == ("failed", 3)
    failing = await Endpoints(bench.scripts).get("t1", endpoint)
    assert failing.disabled_reason is None
    assert failing.last_status == {"500": 500, "flood": 500, "hang": None, "drip": None, "close": None}.get(str(mood), 301)
    bad.release.set()
    bad.answers = [204]
    assert (await bench.outbox.replay_since("t1", 0, state="failed")).count == 1
    await bench.send()
    assert (await bench.outbox.page("t1", endpoint=endpoint)).deliveries[0].state == "delivered"
    assert bad.ids() == good.ids() * 4
    assert (await Endpoints(bench.scripts).get("t1", endpoint)).last_success_ms is not None


async def test_trouble_of_every_kind_at_once_delays_nobody_and_each_has_four_sends_at_most(bench: Bench, receivers: Any) -> None:
    moods: tuple[Any, ...] = (500, (301, {"Location": "/elsewhere"}), "hang", "close", "flood", "drip")
    troubled = [await receivers() for _ in moods]
    for (receiver, url), mood in zip(troubled, moods, strict=True):
        receiver.answers = [mood]
        await add_endpoint(bench, url)
    good, good_url = await receivers()
    await add_endpoint(bench, good_url)
    async with bench.sender(webhook_schedule_s=_SCHEDULE_S, webhook_timeout_s=45) as sender:
        for edit in range(1, 9):
            await end_an_edit(bench)
            await sender.run_once()
            # The good one has each event while those that hang and drip still hold all that they may have.
            await until(lambda edit=edit: len(good.received) == edit)
        await until(lambda: all(receiver.received for receiver, _ in troubled))
        by_mood = {str(mood): receiver for (receiver, _), mood in zip(troubled, moods, strict=True)}
        assert (by_mood["hang"].now, by_mood["drip"].now) == (4, 4)
        assert max(receiver.most for receiver, _ in troubled) <= 4
        assert len(good.received) == 8
        for receiver, _ in troubled:
            receiver.release.set()


async def test_an_endpoint_that_answers_410_gets_nothing_more(bench: Bench, receivers: Any) -> None:
    gone, gone_url = await receivers()
    gone.answers = [410]
    good, good_url = await receivers()
    endpoint = await add_endpoint(bench, gone_url)
    await add_endpoint(bench, good_url)
    for _ in range(3):
        await end_an_edit(bench)
        await bench.send()
    assert (len(gone.received), len(good.received)) == (1, 3)
    assert (await Endpoints(bench.scripts).get("t1", endpoint)).disabled_reason == "gone"


async def test_an_address_of_an_edit_that_answers_410_still_gets_other_edits_events(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()
    receiver.answers = [410, 204]
    for _ in range(2):
        await end_an_edit(bench, webhook_url=url)
        await bench.send()
    assert [delivery.state for delivery in (await bench.outbox.page("t1")).deliveries] == ["delivered", "stopped"]


async def test_one_address_is_sent_at_most_four_at_once_by_several_workers(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()
    receiver.answers = ["hang"]
    for _ in range(12):
        await bench.outbox.add_test("acme", url)
    async with bench.sender() as one, bench.sender() as other:
        for sender in (one, other, one, other):
            await sender.run_once()
        await receiver.arrived.wait()
        receiver.release.set()
    assert receiver.most <= 4
    assert len(receiver.received) == 4


async def test_an_endpoints_events_are_signed_like_all_others(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()
    await add_endpoint(bench, url, "edit.succeeded")
    await bench.tenants.rotate_secret("t1")
    job_id = await end_an_edit(bench)
    await bench.send()
    [(headers, body)] = receiver.received
    for version in (1, 2):
        event = Webhook(webhook_secret(MASTER, "t1", version)).verify(body, headers)
        assert (event["type"], event["data"]["id"]) == ("edit.succeeded", job_id)
