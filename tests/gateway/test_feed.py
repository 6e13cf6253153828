"""The tenant's feed: in order, from a cursor on, held until there is something."""

import asyncio
import base64
from typing import Any

import pytest

from shared.job import JobState
from shared.store.batches import NewBatch, NewItem
from tests.conftest import fresh_id, make_job
from tests.gateway.conftest import Api
from tests.pictures import samples

PNG = samples()["png"]


async def submitted(api: Api, **options: Any) -> str:
    body = {"image_base64": base64.b64encode(PNG).decode(), "prompt": "x"}
    job_id: str = (await api.post("/process", json=body, **options)).json["id"]
    return job_id


async def finished(api: Api) -> str:
    job_id = await submitted(api)
    await api.finish(job_id, PNG)
    return job_id


async def feed(api: Api, **query: Any) -> dict[str, Any]:
    answer = await api.get("/events", params=query)
    assert answer.status == 200, answer.json
    page: dict[str, Any] = answer.json
    return page


def kinds(page: dict[str, Any]) -> list[str]:
    return [event["type"] for event in page["events"]]


async def test_every_change_comes_once_and_in_order(api: Api) -> None:
    one = await finished(api)
    two = await submitted(api)
    page = await feed(api)
    assert [(event["type"], event["edit_id"], event["batch_id"], event["status"]) for event in page["events"]] == [
        ("edit.queued", one, None, "queued"),
        ("edit.running", one, None, "running"),
        ("edit.succeeded", one, None, "succeeded"),
        ("edit.queued", two, None, "queued"),
    ]
    assert page["next_cursor"] == page["events"][-1]["id"]
    assert [event["data"] for event in page["events"]] == [None] * 4
    walked, cursor = [], "0-0"
    while (step := await feed(api, after=cursor, limit=1))["events"]:
        walked += step["events"]
        cursor = step["next_cursor"]
    assert walked == page["events"]
    assert (await feed(api, after=walked[1]["id"]))["events"] == walked[2:]
    assert (await feed(api, after=cursor))["next_cursor"] == cursor


async def test_an_event_names_the_webhook_that_tells_of_it(api: Api) -> None:
    endpoint = await api.post("/webhooks/endpoints", json={"url": "https://hooks.example/"})
    assert endpoint.status == 201
    await finished(api)
    (delivery,) = (await api.get("/webhooks/deliveries")).json["deliveries"]
    assert (await feed(api))["events"][-1]["event_id"] == delivery["event_id"]


async def test_a_batchs_changes_are_in_it(api: Api) -> None:
    batches, batch_id = api.connections.batches, fresh_id("batch")
    items = [NewItem(id=job.id, lane=job.lane, spec=job.spec, deadline_s=900) for job in (make_job() for _ in range(2))]
    await batches.open(NewBatch(batch_id, "t1", canary=1))
    await batches.stage(batch_id, items, first_index=0, bulk=True, request_id="r", key_id="k")
    await batches.commit(batch_id, fingerprint="f")
    await api.finish(items[0].id, PNG)
    page = await feed(api, expand="true")
    assert kinds(page) == ["batch.running", "edit.succeeded", "batch.held"]
    held = page["events"][-1]
    assert (held["batch_id"], held["edit_id"], held["status"]) == (batch_id, None, "held")
    assert (held["data"]["object"], held["data"]["id"], held["data"]["held_reason"]) == ("batch", batch_id, "canary")


async def test_an_expanded_event_has_the_edit_as_it_stands(api: Api) -> None:
    kept, deleted = await finished(api), await finished(api)
    await api.call("DELETE", f"/jobs/{deleted}")
    events = (await feed(api, expand="true"))["events"]
    assert [event["data"] and event["data"]["status"] for event in events] == ["succeeded"] * 3 + [None] * 3
    assert events[0]["data"] | {"output": None} == (await api.get(f"/jobs/{kept}")).json | {"output": None}


async def test_an_expanded_answer_has_at_most_twenty(api: Api) -> None:
    for _ in range(21):
        await api.connections.jobs.accept(make_job())
    first = await feed(api, expand="true", limit=100)
    assert len(first["events"]) == 20
    assert len((await feed(api, expand="true", after=first["next_cursor"]))["events"]) == 1
    assert len((await feed(api))["events"]) == 21


async def test_a_held_question_is_answered_by_the_next_event(api: Api) -> None:
    cursor = (await feed(api, after="latest"))["next_cursor"]
    assert cursor == "0-0"
    waiting = asyncio.create_task(feed(api, after=cursor, wait=60))
    latest = asyncio.create_task(feed(api, after="latest", wait=60))
    async with asyncio.timeout(10):
        while len(api.connections.changes._watches["feed:t1"]) < 2:
            await asyncio.sleep(0.01)
        job_id = await submitted(api)
        for page in (await waiting, await latest):
            assert [(event["type"], event["edit_id"]) for event in page["events"]] == [("edit.queued", job_id)]


async def test_latest_leaves_out_what_was(api: Api) -> None:
    await finished(api)
    page = await feed(api, after="latest")
    assert page["events"] == []
    await submitted(api)
    assert kinds(await feed(api, after=page["next_cursor"])) == ["edit.queued"]


async def test_another_tenants_events_are_not_in_it_and_do_not_wake(api: Api) -> None:
    await submitted(api)
    other = await api.key_of("t2")
    assert (await api.get("/events", headers=other)).json == {"events": [], "next_cursor": "0-0"}
    assert (await api.get("/events?wait=1", headers=other)).json["events"] == []
    await submitted(api, headers=other)
    assert len((await feed(api))["events"]) == 1


async def test_a_cursor_that_is_too_old_is_told_so(api: Api, real_redis: Any) -> None:
    for _ in range(3):
        await submitted(api)
    first, second, _ = (await feed(api))["events"]
    await real_redis.xtrim("feed:t1", maxlen=2, approximate=False)
    answer = await api.get("/events", params={"after": first["id"]})
    assert (answer.status, answer.json["code"]) == (410, "gone")
    assert "after=latest" in answer.json["detail"]
    assert len((await feed(api, after=second["id"]))["events"]) == 1
    assert len((await feed(api))["events"]) == 2
    assert (await feed(api, after="latest"))["events"] == []


@pytest.mark.parametrize("query", ["after=x", "after=1-", "wait=121", "limit=0", "limit=1001", "expand=perhaps"])
async def test_a_bad_question_is_refused(api: Api, query: str) -> None:
    answer = await api.get(f"/events?{query}")
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, f"/{query.partition('=')[0]}")


async def test_the_end_of_an_edit_in_any_state_is_told(api: Api) -> None:
    job_id = await submitted(api)
    await api.post(f"/jobs/{job_id}/cancel")
    failed = await submitted(api)
    await api.finish(failed, state=JobState.FAILED)
    assert kinds(await feed(api)) == ["edit.queued", "edit.canceled", "edit.queued", "edit.running", "edit.failed"]
