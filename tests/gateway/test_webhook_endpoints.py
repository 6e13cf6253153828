"""Endpoints over HTTP, the list of deliveries, and their replay since a time."""

import base64
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from gateway.routes.webhook_endpoints import EventKind
from shared.batch import BatchEvent
from shared.edit import WebhookEvent
from shared.job import JobState
from tests.gateway.conftest import SCOPES, Api
from tests.pictures import samples

PNG = samples()["png"]
URL = "https://hooks.example/edit"
BEFORE_ALL = "2000-01-01T00:00:00Z"


async def make(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.post("/webhooks/endpoints", json={"url": URL, **fields})
    assert answer.status == 201, answer.json
    made: dict[str, Any] = answer.json
    return made


async def ended(api: Api, *, state: JobState = JobState.SUCCEEDED, **fields: Any) -> str:
    picture = base64.b64encode(PNG).decode()
    made = await api.post("/process", json={"image_base64": picture, "prompt": "x", **fields})
    await api.finish(made.json["id"], PNG, state=state)
    job_id: str = made.json["id"]
    return job_id


async def deliveries(api: Api, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.get("/webhooks/deliveries", params=query)).json["deliveries"]
    return found


def test_endpoints_may_ask_for_whatever_webhooks_tell() -> None:
    assert set(get_args(EventKind)) == {*WebhookEvent, *BatchEvent}


async def test_an_endpoint_is_made_looked_at_changed_and_deleted(api: Api) -> None:
    answer = await api.post("/webhooks/endpoints", json={"url": URL, "events": ["edit.failed", "edit.failed"]})
    made = answer.json
    where = f"/webhooks/endpoints/{made['id']}"
    assert answer.headers["Location"].endswith(where)
    assert (made["url"], made["events"], made["state"], made["disabled_reason"]) == (URL, ["edit.failed"], "enabled", None)
    assert (made["last_success_at"], made["last_status"], made["last_error"]) == (None, None, None)
    assert (await api.get(where)).json == made
    assert (await api.get("/webhooks/endpoints")).json == {"endpoints": [made]}
    changes = {"events": [], "description": "to the warehouse", "enabled": False}
    changed = (await api.call("PATCH", where, json=changes)).json
    assert changed == {
        **made,
        "events": [],
        "description": "to the warehouse",
        "state": "disabled",
        "disabled_reason": "by_owner",
    }
    assert (await api.call("PATCH", where, json={})).json == changed
    assert (await api.call("PATCH", where, json={"enabled": True})).json["state"] == "enabled"
    assert (await api.call("DELETE", where)).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = await api.call(method, where, **({"json": {}} if method == "PATCH" else {}))
        assert (answer.status, answer.json["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"url": "http://127.0.0.1/"}, "url_not_allowed", "/url"),
        ({"url": "https://user:secret@hooks.example/"}, "url_not_allowed", "/url"),
        ({}, "validation_failed", "/url"),
        ({"url": URL, "events": ["edit.exploded"]}, "validation_failed", "/events/0"),
        ({"url": URL, "events": "edit.failed"}, "validation_failed", "/events"),
        ({"url": URL, "description": "x" * 501}, "validation_failed", "/description"),
    ],
)
async def test_a_bad_endpoint_is_refused(api: Api, body: Any, code: str, pointer: str) -> None:
    answer = await api.post("/webhooks/endpoints", json=body)
    assert (answer.status, answer.json["code"], answer.json["errors"][0]["pointer"]) == (422, code, pointer)
    assert (await api.get("/webhooks/endpoints")).json == {"endpoints": []}


async def test_an_endpoint_cannot_be_moved_to_a_forbidden_address(api: Api) -> None:
    made = await make(api)
    answer = await api.call("PATCH", f"/webhooks/endpoints/{made['id']}", json={"url": "http://10.0.0.1/"})
    assert (answer.status, answer.json["code"]) == (422, "url_not_allowed")
    assert (await api.get(f"/webhooks/endpoints/{made['id']}")).json["url"] == URL


async def test_there_are_at_most_sixteen(api: Api) -> None:
    for _ in range(16):
        await make(api)
    answer = await api.post("/webhooks/endpoints", json={"url": URL})
    assert (answer.status, answer.json["code"]) == (422, "validation_failed")


async def test_making_one_twice_under_one_key_makes_one(api: Api) -> None:
    headers = {"Idempotency-Key": "mine"}
    answers = [
        await api.post("/webhooks/endpoints", json={"url": URL, **extra}, headers=headers) for extra in ({}, {"events": []})
    ]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json
    assert "Idempotent-Replayed" not in answers[0].headers
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    other = await api.post("/webhooks/endpoints", json={"url": URL + "/2"}, headers=headers)
    assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")


async def test_only_an_admins_key_sees_or_changes_endpoints(api: Api) -> None:
    made = await make(api)
    weaker = await api.key_of("t1", SCOPES - {"admin"})
    for method, path in (("GET", ""), ("POST", ""), ("GET", f"/{made['id']}"), ("DELETE", f"/{made['id']}")):
        assert (await api.call(method, f"/webhooks/endpoints{path}", headers=weaker)).status == 403


async def test_another_tenants_endpoints_and_deliveries_are_unknown(api: Api) -> None:
    made = await make(api)
    await ended(api)
    (delivery,) = await deliveries(api)
    other = await api.key_of("t2")
    assert (await api.get("/webhooks/endpoints", headers=other)).json == {"endpoints": []}
    for method in ("GET", "PATCH", "DELETE"):
        body = {"json": {"enabled": False}} if method == "PATCH" else {}
        assert (await api.call(method, f"/webhooks/endpoints/{made['id']}", headers=other, **body)).status == 404
    assert (await api.get("/webhooks/deliveries", headers=other)).json == {"deliveries": [], "next_cursor": None}
    assert (await api.post(f"/deliveries/{delivery['id']}/replay", headers=other)).status == 404
    replay = {"since": BEFORE_ALL, "endpoint": made["id"]}
    assert (await api.post("/webhooks/replay", json=replay, headers=other)).status == 404
    await api.connections.outbox.delivered((await api.connections.outbox.take(10))[0], 200)
    del replay["endpoint"]
    assert (await api.post("/webhooks/replay", json=replay, headers=other)).json["replayed"] == 0
    assert (await api.post("/webhooks/replay", json=replay)).json["replayed"] == 1


async def test_deliveries_are_listed_by_what_they_are(api: Api) -> None:
    everything, failures = await make(api), await make(api, url=URL + "/2", events=["edit.failed"])
    good, bad = await ended(api, webhook_url=URL), await ended(api, state=JobState.FAILED)
    found = await deliveries(api)
    assert sorted((one["job_id"], one["endpoint_id"] or "", one["event"]) for one in found) == sorted(
        [
            (good, "", "edit.succeeded"),
            (good, everything["id"], "edit.succeeded"),
            (bad, everything["id"], "edit.failed"),
            (bad, failures["id"], "edit.failed"),
        ]
    )
    assert [one["job_id"] for one in await deliveries(api, endpoint=failures["id"])] == [bad]
    assert len(await deliveries(api, status="pending")) == 4
    assert await deliveries(api, status="delivered") == []
    assert await deliveries(api, since="2999-01-01T00:00:00Z") == []
    page = (await api.get("/webhooks/deliveries?limit=3")).json
    rest = (await api.get("/webhooks/deliveries", params={"cursor": page["next_cursor"]})).json
    assert [*page["deliveries"], *rest["deliveries"]] == found
    of_job = (await api.get(f"/jobs/{good}/deliveries")).json["deliveries"]
    assert {one["id"] for one in of_job} == {one["id"] for one in found if one["job_id"] == good}


@pytest.mark.parametrize("query", ["status=lost", "endpoint=edit_1", "since=yesterday", "since=2024-02-31T00:00:00Z", "cursor=x"])
async def test_a_bad_question_for_deliveries_is_refused(api: Api, query: str) -> None:
    answer = await api.get(f"/webhooks/deliveries?{query}")
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, f"/{query.partition('=')[0]}")


async def test_what_a_disabled_endpoint_missed_is_replayed_once_it_is_enabled(api: Api) -> None:
    made = await make(api)
    await ended(api)
    await api.call("PATCH", f"/webhooks/endpoints/{made['id']}", json={"enabled": False})
    assert await api.connections.outbox.take(10) == []
    (stopped,) = await deliveries(api, status="stopped")
    asked = {"since": BEFORE_ALL, "endpoint": made["id"]}
    for answer in (await api.post(f"/deliveries/{stopped['id']}/replay"), await api.post("/webhooks/replay", json=asked)):
        assert (answer.status, answer.json["code"]) == (409, "endpoint_disabled")
    await api.call("PATCH", f"/webhooks/endpoints/{made['id']}", json={"enabled": True})
    answer = await api.post("/webhooks/replay", json=asked)
    assert (answer.status, answer.json) == (202, {"replayed": 1, "next_cursor": None})
    (again,) = await api.connections.outbox.take(10)
    assert (again.id, again.event_id) == (stopped["id"], stopped["event_id"])


async def test_a_dead_endpoint_is_listed_with_its_reason_and_so_is_what_it_did_not_take(api: Api) -> None:
    """Dead: it answered 410, or nothing but failures for five days."""
    outbox = api.connections.outbox
    made = [await make(api, url=f"https://{name}.example/") for name in ("gone", "failing", "well")]
    redis = api.connections.jobs._scripts.redis
    await redis.hset(f"endpoint:{made[1]['id']}", "failing_since", 1)
    job_id = await ended(api)
    for delivery in await outbox.take(10):
        if delivery.endpoint == made[2]["id"]:
            await outbox.delivered(delivery, 200)
        else:
            is_gone = delivery.endpoint == made[0]["id"]
            await outbox.give_up(delivery, stopped=is_gone, status=410 if is_gone else 500, error="the receiver said no")
    listed = (await api.get("/webhooks/endpoints")).json["endpoints"]
    assert [(one["id"], one["state"], one["disabled_reason"], one["last_status"]) for one in listed] == [
        (made[0]["id"], "disabled", "gone", 410),
        (made[1]["id"], "disabled", "failing", 500),
        (made[2]["id"], "enabled", None, 200),
    ]
    await ended(api)
    assert {delivery.endpoint for delivery in await outbox.take(10)} == {made[2]["id"]}, "the dead get nothing"
    missed = [one for one in await deliveries(api) if one["state"] in ("stopped", "failed")]
    assert {(one["endpoint_id"], one["job_id"]) for one in missed} == {(one["id"], job_id) for one in made[:2]}


async def test_a_replay_begins_at_the_time_that_is_given(api: Api) -> None:
    await make(api)
    outbox, redis = api.connections.outbox, api.connections.jobs._scripts.redis
    jobs = [await ended(api) for _ in range(3)]
    for year, delivery in zip((2020, 2021, 2022), reversed(await deliveries(api)), strict=True):
        await redis.zadd("whds:t1", {delivery["id"]: datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000})
    for delivery in await outbox.take(10):
        await outbox.give_up(delivery, stopped=False, status=500, error="no")
    answer = await api.post("/webhooks/replay", json={"since": "2021-01-01T00:00:00Z", "status": "failed"})
    assert (answer.status, answer.json["replayed"]) == (202, 2)
    assert {delivery.job_id for delivery in await outbox.take(10)} == set(jobs[1:])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({}, "/since"), ({"since": "now"}, "/since"), ({"since": BEFORE_ALL, "status": "odd"}, "/status"), ({"since": 1}, "/since")],
)
async def test_a_bad_replay_is_refused(api: Api, body: Any, pointer: str) -> None:
    answer = await api.post("/webhooks/replay", json=body)
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, pointer)
