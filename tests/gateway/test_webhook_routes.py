"""Secrets, test events, deliveries and their replay."""

import base64
import time
from typing import Any

import pytest

from shared.signing import webhook_secret
from tests.conftest import SECRET
from tests.gateway.conftest import Api
from tests.pictures import samples

PNG = samples()["png"]
URL = "https://hooks.example/edit"


async def test_the_secret_is_shown_and_rotated(api: Api) -> None:
    first = (await api.get("/webhooks/secret")).json
    assert first == {"secret": webhook_secret(SECRET, "t1", 1), "previous": None}
    assert (await api.post("/webhooks/secret")).json == first
    rotated = (await api.post("/webhooks/secret/rotate")).json
    assert rotated == {"secret": webhook_secret(SECRET, "t1", 2), "previous": first["secret"]}
    other = (await api.get("/webhooks/secret", headers=await api.key_of("t2"))).json
    assert other["secret"] == webhook_secret(SECRET, "t2", 1)


async def test_a_day_after_a_rotation_the_old_secret_signs_no_more(api: Api, real_redis: Any) -> None:
    await api.post("/webhooks/secret/rotate")
    until_s = int(await real_redis.hget("tenant:t1", "previous_until")) / 1000
    assert 86_000 < until_s - time.time() <= 86_400
    await real_redis.hset("tenant:t1", "previous_until", int(time.time() * 1000) - 1)
    assert (await api.get("/webhooks/secret")).json == {"secret": webhook_secret(SECRET, "t1", 2), "previous": None}


async def test_a_test_event_is_put_on_its_way(api: Api) -> None:
    answer = await api.post("/webhooks/test", json={"url": URL})
    assert answer.status == 202
    assert (answer.json["event"], answer.json["state"], answer.json["url"], answer.json["job_id"]) == (
        "webhook.test",
        "pending",
        URL,
        None,
    )
    assert [delivery.id for delivery in await api.connections.outbox.take(10)] == [answer.json["id"]]


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"url": "http://127.0.0.1/"}, "url_not_allowed", "/url"),
        ({"url": "gopher://x"}, "url_not_allowed", "/url"),
        ({}, "validation_failed", "/url"),
        ({"url": URL, "event": "x"}, "validation_failed", "/event"),
    ],
)
async def test_a_bad_test_request_is_refused(api: Api, body: Any, code: str, pointer: str) -> None:
    answer = await api.post("/webhooks/test", json=body)
    assert (answer.status, answer.json["code"], answer.json["errors"][0]["pointer"]) == (422, code, pointer)


async def test_deliveries_are_listed_and_replayed_under_the_same_event(api: Api) -> None:
    picture = base64.b64encode(PNG).decode()
    made = await api.post("/process", json={"image_base64": picture, "prompt": "x", "webhook_url": URL})
    assert (await api.get(f"/jobs/{made.json['id']}/deliveries")).json == {"deliveries": []}
    await api.finish(made.json["id"], PNG)
    (delivery,) = (await api.get(f"/jobs/{made.json['id']}/deliveries")).json["deliveries"]
    assert (delivery["event"], delivery["state"], delivery["job_id"]) == ("edit.succeeded", "pending", made.json["id"])
    (taken,) = await api.connections.outbox.take(10)
    await api.connections.outbox.give_up(taken, stopped=False, status=500, error="the receiver answered 500")
    (failed,) = (await api.get(f"/jobs/{made.json['id']}/deliveries")).json["deliveries"]
    assert (failed["state"], failed["last_status"], failed["tries"]) == ("failed", 500, 1)
    replayed = await api.post(f"/deliveries/{delivery['id']}/replay")
    assert (replayed.status, replayed.json["state"], replayed.json["event_id"]) == (202, "pending", delivery["event_id"])


async def test_another_tenants_delivery_is_unknown(api: Api) -> None:
    made = await api.post("/webhooks/test", json={"url": URL})
    answer = await api.post(f"/deliveries/{made.json['id']}/replay", headers=await api.key_of("t2"))
    assert (answer.status, answer.json["code"]) == (404, "not_found")
