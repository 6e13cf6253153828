"""What a receiver gets, and what becomes of a delivery by its answer."""

import time
from datetime import datetime
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from shared.errors import Gone, NotFound, StorageUnavailable
from shared.signing import webhook_secret
from shared.store.webhooks import Delivery
from tests.worker.webhook_bench import MASTER, Bench


async def test_an_event_arrives_as_the_contract_says(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()
    delivery = await bench.outbox.add_test("acme", url)
    await bench.send()
    [(headers, body)] = receiver.received
    payload = Webhook(webhook_secret(MASTER, "acme", 1)).verify(body, headers)
    assert list(payload) == ["type", "timestamp", "data"]
    assert payload["type"] == "webhook.test"
    assert payload["data"] == {"id": "", "prompt": "黑白"}
    assert payload["timestamp"].endswith("Z")
    assert datetime.fromisoformat(payload["timestamp"]).timestamp() * 1000 == pytest.approx(delivery.created_ms, abs=0.5)
    assert headers["webhook-id"] == delivery.event_id
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("edit-studio/")
    stored = await bench.now(delivery)
    assert (stored["state"], stored["status"], stored["tries"]) == ("delivered", "204", "1")
    await bench.send()
    assert len(receiver.received) == 1


async def test_during_a_rotation_both_secrets_verify(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()
    await bench.tenants.rotate_secret("acme")
    await bench.outbox.add_test("acme", url)
    await bench.send()
    [(headers, body)] = receiver.received
    assert len(headers["webhook-signature"].split(" ")) == 2
    for version in (2, 1):
        Webhook(webhook_secret(MASTER, "acme", version)).verify(body, headers)


async def test_retries_carry_the_same_id_and_event_time_and_end_with_success(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()
    receiver.answers = [500, 503, 200]
    delivery = await bench.outbox.add_test("acme", url)
    for _ in range(3):
        await bench.send()
    assert receiver.ids() == [delivery.event_id] * 3
    assert len({body for _, body in receiver.received}) == 1
    for headers, body in receiver.received:
        Webhook(webhook_secret(MASTER, "acme", 1)).verify(body, headers)
    stored = await bench.now(delivery)
    assert (stored["state"], stored["status"], stored["tries"]) == ("delivered", "200", "3")


@pytest.mark.parametrize(
    ("answer", "state", "status", "error"),
    [
        (200, "delivered", "200", ""),
        (299, "delivered", "299", ""),
        ((301, {"Location": "/hook"}), "pending", "301", "redirects are not followed"),
        (304, "pending", "304", "redirects are not followed"),
        (400, "pending", "400", "the receiver answered with an error"),
        (410, "stopped", "410", "the receiver wants no more events"),
        (429, "pending", "429", "the receiver answered with an error"),
        (500, "pending", "500", "the receiver answered with an error"),
        ("hang", "pending", "", "the URL timed out"),
        ("close", "pending", "", "the URL could not be reached or its answer broke off"),
    ],
)
async def test_an_answer_decides_what_becomes_of_a_delivery(
    answer: Any, state: str, status: str, error: str, bench: Bench, receivers: Any
) -> None:
    receiver, url = await receivers()
    receiver.answers = [answer]
    delivery = await bench.outbox.add_test("acme", url)
    await bench.send(webhook_timeout_s=0.2 if answer == "hang" else 5)
    stored = await bench.now(delivery)
    assert (stored["state"], stored["status"], stored["error"], len(receiver.received)) == (state, status, error, 1)


async def test_a_forbidden_address_is_a_failed_attempt_that_reaches_nobody(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()
    delivery = await bench.outbox.add_test("acme", url)
    await bench.send(allow_private_urls=False)
    stored = await bench.now(delivery)
    assert (stored["state"], stored["error"], receiver.received) == ("pending", "the URL's address is not public", [])


async def test_a_malformed_url_is_a_failed_attempt(bench: Bench) -> None:
    delivery = await bench.outbox.add_test("acme", "http://[::1")
    await bench.send()
    assert (await bench.now(delivery))["error"] == "the URL is malformed"


async def test_after_the_last_attempt_a_delivery_has_failed_and_can_be_replayed(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()
    receiver.answers = [500]
    delivery = await bench.outbox.add_test("acme", url)
    for state in ("pending", "pending", "failed"):
        await bench.send()
        assert (await bench.now(delivery))["state"] == state
    receiver.answers = [200]
    await bench.outbox.replay("acme", delivery.id)
    await bench.send()
    assert (await bench.now(delivery))["state"] == "delivered"
    assert receiver.ids() == [delivery.event_id] * 4


@pytest.mark.parametrize(
    ("retry_after", "shortest_s", "longest_s"),
    [(None, 80, 120), ("10", 80, 120), ("nonsense", 80, 120), ("1000", 1000, 1000), ("999999999", 86_400, 86_400)],
)
async def test_the_next_attempt_follows_the_schedule_unless_the_receiver_asks_for_more(
    retry_after: str | None, shortest_s: float, longest_s: float, bench: Bench, receivers: Any
) -> None:
    receiver, url = await receivers()
    receiver.answers = [(503, {"Retry-After": retry_after} if retry_after else {})]
    delivery = await bench.outbox.add_test("acme", url)
    before_s = time.time()
    await bench.send(webhook_schedule_s=(0, 100, 10_000))
    after_s = time.time()
    assert await bench.wait_s(delivery, since_s=before_s) >= shortest_s - 0.01
    assert await bench.wait_s(delivery, since_s=after_s) <= longest_s + 0.01


async def test_waits_are_spread_by_a_fifth_either_way(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()
    receiver.answers = [500]
    deliveries = [await bench.outbox.add_test("acme", url) for _ in range(30)]
    before_s = time.time()
    for _ in range(8):
        # At most 4 to one address at once.
        await bench.send(webhook_schedule_s=(0, 10_000))
    waits_s = [await bench.wait_s(delivery, since_s=before_s) for delivery in deliveries]
    assert min(waits_s) < 10_000 < max(waits_s)
    assert len({round(wait_s) for wait_s in waits_s}) > 10


@pytest.mark.parametrize("error", [NotFound("there is no such edit"), Gone("the edit was deleted")])
async def test_an_event_about_something_that_is_gone_is_given_up(error: Exception, bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()

    async def gone(_: Delivery) -> bytes:
        raise error

    bench.rendered = gone
    delivery = await bench.outbox.add_test("acme", url)
    await bench.send()
    stored = await bench.now(delivery)
    assert (stored["state"], stored["error"], receiver.received) == ("failed", str(error), [])


async def test_our_own_trouble_costs_no_attempt(bench: Bench, receivers: Any) -> None:
    receiver, url = await receivers()

    async def unavailable(_: Delivery) -> bytes:
        raise StorageUnavailable("the picture storage does not answer")

    bench.rendered = unavailable
    delivery = await bench.outbox.add_test("acme", url)
    before_s = time.time()
    await bench.send()
    assert ((await bench.now(delivery))["tries"], receiver.received) == ("0", [])
    assert await bench.wait_s(delivery, since_s=before_s) >= 29


async def test_one_event_that_cannot_be_made_stops_no_other(
    bench: Bench, receivers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    receiver, url = await receivers()
    bad = await bench.outbox.add_test("bad", url)
    good = await bench.outbox.add_test("good", url)

    async def fragile(delivery: Delivery) -> bytes:
        if delivery.tenant == "bad":
            raise KeyError("broken")
        return b"{}"

    bench.rendered = fragile
    await bench.send()
    assert receiver.ids() == [good.event_id]
    stored = await bench.now(bad)
    assert (stored["state"], stored["error"]) == ("pending", "the event could not be made")
    assert "KeyError" in caplog.text
