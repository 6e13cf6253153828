"""Many webhooks at once, slow receivers, an absent store, and the end of the process."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from shared.errors import StoreUnavailable
from tests.worker.webhook_bench import Bench, until


async def test_a_hanging_receiver_delays_no_other_and_is_sent_at_most_four_at_once(bench: Bench, receivers: Any) -> None:
    hanging, hanging_url = await receivers()
    hanging.answers = ["hang"]
    lively, lively_url = await receivers()
    stuck = [await bench.outbox.add_test("slow", hanging_url) for _ in range(110)]
    prompt = [await bench.outbox.add_test("acme", lively_url)]
    async with bench.sender(webhook_timeout_s=60) as sender:
        # One pass reaches the lively receiver's event behind the hanging one's 110.
        await sender.run_once()
        await until(lambda: len(lively.received) == 1 and len(hanging.received) == 4)
        for _ in range(4):
            prompt.append(await bench.outbox.add_test("acme", lively_url))
            await sender.run_once()
            await until(lambda: len(lively.received) == len(prompt))
        assert (hanging.now, len(hanging.received)) == (4, 4)
        hanging.answers = [204]
        hanging.release.set()
        async with asyncio.timeout(30):
            while len(hanging.received) < 110:
                await sender.run_once()
                await asyncio.sleep(0.1)
    assert hanging.most == 4
    # Each was sent once, and having been put back cost no attempt.
    assert Counter(hanging.ids()) == Counter(delivery.event_id for delivery in stuck)
    stored = [await bench.now(delivery) for delivery in stuck]
    assert {(fields["state"], fields["tries"]) for fields in stored} == {("delivered", "1")}


async def test_at_most_64_are_sent_at_once(bench: Bench, receivers: Any) -> None:
    started = [await receivers() for _ in range(20)]
    room = asyncio.Event()
    for receiver, url in started:
        receiver.answers = ["hang"]
        for _ in range(4):
            await bench.outbox.add_test("acme", url)
    async with bench.sender() as sender:
        sender.on_room = room.set
        await sender.run_once()
        await until(lambda: sum(receiver.now for receiver, _ in started) == 64)
        assert not room.is_set()
        for receiver, _ in started:
            receiver.release.set()
        async with asyncio.timeout(10):
            await room.wait()
            # What had no room is taken as soon as there is some.
            while sum(len(receiver.received) for receiver, _ in started) < 80:
                await sender.run_once()
                await asyncio.sleep(0.01)


async def test_closing_lets_what_is_being_sent_end(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()
    receiver.answers = ["hang"]
    delivery = await bench.outbox.add_test("acme", url)
    async with bench.sender() as sender:
        await sender.run_once()
        await receiver.arrived.wait()
        receiver.release.set()
    assert (await bench.now(delivery))["state"] == "delivered"


async def test_what_closing_cuts_off_stays_due(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()
    receiver.answers = ["hang"]
    delivery = await bench.outbox.add_test("acme", url)
    async with bench.sender(webhook_timeout_s=60) as sender:
        await sender.run_once()
        await receiver.arrived.wait()
        async with asyncio.timeout(10):
            await sender.close(within_s=0.05)
    assert (await bench.now(delivery))["state"] == "pending"
    assert await bench.scripts.command("ZSCORE", f"outbox:{url.removesuffix('/hook')}", delivery.id) is not None


async def test_sending_goes_on_after_the_store_was_away(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()
    delivery = await bench.outbox.add_test("acme", url)
    async with bench.sender() as sender:
        bench.server.connected = False
        with pytest.raises(StoreUnavailable):
            await sender.run_once()
        bench.server.connected = True
        await sender.run_once()
    assert (await bench.now(delivery))["state"] == "delivered"
    assert receiver.ids() == [delivery.event_id]


async def test_an_outcome_that_the_store_did_not_take_is_logged_and_the_delivery_stays_due(
    bench: Bench, receivers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    receiver, url = await receivers()
    receiver.answers = ["hang"]
    delivery = await bench.outbox.add_test("acme", url)
    async with bench.sender() as sender:
        await sender.run_once()
        await receiver.arrived.wait()
        bench.server.connected = False
        receiver.release.set()
    bench.server.connected = True
    assert "webhook outcome not recorded" in caplog.text
    assert (await bench.now(delivery))["state"] == "pending"
