"""What is answered of batches: their course, items, results; and what their owner can do."""

import asyncio
import base64
import io
import json
import zipfile
from typing import Any

import pytest

from shared.job import JobState
from tests.gateway.batch_calls import PNG, URL, accepted, end, results_of, take
from tests.gateway.conftest import Api

B64 = base64.b64encode(PNG).decode()


async def test_a_canary_holds_the_batch_until_it_is_released(api: Api) -> None:
    batch = await accepted(api, [{"image_url": URL, "prompt": "x"}] * 10, canary=3)
    waiting = asyncio.create_task(api.get(f"/batches/{batch['id']}?wait=60"))
    await end(api, await take(api))
    held = (await waiting).json
    assert (held["status"], held["held_reason"], held["counts"]["succeeded"], held["canary"]) == ("held", "canary", 3, 3)
    assert await take(api) == []
    answer = await api.post(f"/batches/{batch['id']}/release", json={"max_cost": 7.5})
    assert (answer.status, answer.json["status"], answer.json["cost"]["max"]) == (200, "running", 7.5)
    await end(api, await take(api))
    done = (await api.get(f"/batches/{batch['id']}?wait=60")).json
    assert (done["status"], done["finished_at"] is not None) == ("completed", True)
    for action in ("release", "cancel"):
        assert (await api.post(f"/batches/{batch['id']}/{action}")).json["code"] == "already_finished"


async def test_a_canceled_batch_ends_at_once(api: Api) -> None:
    batch = await accepted(api, [{"image_url": URL, "prompt": "x"}] * 10, stop_on_failure_rate=0.5)
    running = await take(api, 2)
    assert (await api.post(f"/batches/{batch['id']}/retry-failed")).json["code"] == "not_finished"
    canceled = (await api.post(f"/batches/{batch['id']}/cancel")).json
    assert (canceled["status"], canceled["counts"]["canceled"], canceled["finished_at"]) == ("canceled", 8, None)
    await end(api, running, JobState.CANCELED)
    assert (await api.get(f"/batches/{batch['id']}")).json["finished_at"] is not None


async def test_failed_items_are_done_again_as_a_new_batch(api: Api) -> None:
    items: list[Any] = [{"image_base64": B64, "prompt": "x", "custom_id": f"n{n}"} for n in range(5)]
    batch = await accepted(api, [*items, {"prompt": "no picture"}], name="again", max_cost=9, metadata={"a": "b"})
    taken = await take(api, 5)
    await end(api, taken[:2])
    await end(api, taken[2:], JobState.FAILED)
    answer = await api.post(f"/batches/{batch['id']}/retry-failed", headers={"Idempotency-Key": "r1"})
    child = answer.json
    assert (answer.status, child["parent_id"], child["name"], child["counts"]["total"]) == (202, batch["id"], "again", 3)
    assert (child["cost"]["max"], child["metadata"]) == (9.0, {"a": "b"})
    again = await api.post(f"/batches/{batch['id']}/retry-failed", headers={"Idempotency-Key": "r1"})
    assert (again.json["id"], again.headers["Idempotent-Replayed"]) == (child["id"], "true")
    retaken = await take(api)
    assert [record.spec.custom_id for record in retaken] == ["n2", "n3", "n4"]
    assert [record.spec.image.key for record in retaken] == [record.spec.image.key for record in taken[2:]]
    await end(api, retaken)
    nothing = await api.post(f"/batches/{child['id']}/retry-failed")
    assert (nothing.status, "no item of this batch failed" in nothing.json["detail"]) == (422, True)
    assert [one["id"] for one in (await api.get("/batches")).json["batches"]] == [child["id"], batch["id"]]


async def test_batches_are_listed_newest_first(api: Api) -> None:
    ids = [(await accepted(api, [{"image_url": URL, "prompt": "x"}]))["id"] for _ in range(5)]
    seen, cursor = [], ""
    while True:
        page = (await api.get(f"/batches?limit=2{cursor}")).json
        seen += [batch["id"] for batch in page["batches"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == ids[::-1]
    assert (await api.get("/batches?cursor=nonsense")).json["errors"][0]["pointer"] == "/cursor"
    assert (await api.get("/batches", headers=await api.key_of("t2"))).json["batches"] == []


async def test_items_are_paged_in_order_and_listed_among_the_edits(api: Api) -> None:
    alone = (await api.post("/process", json={"image_url": URL, "prompt": "x"})).json["id"]
    batch = await accepted(api, [{"image_url": URL, "prompt": "x", "custom_id": f"n{n}", "seed": n} for n in range(7)])
    seen, cursor = [], ""
    while cursor is not None:
        page = (await api.get(f"/batches/{batch['id']}/items?limit=3{cursor and '&cursor=' + cursor}")).json
        seen += [job["custom_id"] for job in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [f"n{n}" for n in range(7)]
    assert (await api.get(f"/batches/{batch['id']}/items?status=running")).json == {"items": [], "next_cursor": None}
    assert (await api.get(f"/batches/{batch['id']}/items?cursor=x")).status == 422
    listed, cursor = [], ""
    while cursor is not None:
        page = (await api.get(f"/jobs?batch_id={batch['id']}&limit=3{cursor and '&cursor=' + cursor}")).json
        listed += [job["custom_id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
    assert listed == seen[::-1], "newest first"
    assert alone in [job["id"] for job in (await api.get("/jobs")).json["jobs"]]
    assert (await api.get(f"/jobs?batch_id={batch['id']}", headers=await api.key_of("t2"))).json["jobs"] == []


async def test_the_archive_has_every_result_and_says_what_became_of_the_others(api: Api) -> None:
    large = PNG + bytes(700_000)
    names = ("../../etc/passwd", "a b", "é", None, "a b")
    items = [{"image_url": URL, "prompt": "x", **({"custom_id": name} if name else {})} for name in names]
    batch = await accepted(api, [*items, *[{"image_url": URL, "prompt": "x"}] * 15])
    taken = await take(api)
    await end(api, taken[:2], data=large)
    await end(api, taken[2:3], JobState.FAILED)
    await end(api, taken[3:])
    records = [await api.connections.jobs.get("t1", record.id) for record in taken]
    assert records[1].course.output is not None
    await api.connections.storage.delete([records[1].course.output.key])
    answer = await api.get(f"/batches/{batch['id']}/archive")
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{batch["id"]}.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        assert archive.namelist()[0] == "000000-_etc_passwd.png"
        assert archive.read("000000-_etc_passwd.png") == large
        assert sorted(line["file"] for line in manifest if line["file"]) == archive.namelist()[:-1]
    assert [line["status"] for line in manifest[:5]] == ["succeeded", "succeeded", "failed", "failed", "failed"]
    assert (manifest[0]["custom_id"], manifest[1]["file"], len(manifest)) == (names[0], None, 20)


async def test_results_say_what_is_gone(api: Api) -> None:
    batch = await accepted(api, [{"image_url": URL, "prompt": "x"}] * 2)
    taken = await take(api, 2)
    await end(api, taken)
    assert (await api.call("DELETE", f"/jobs/{taken[0].id}")).status == 204
    jobs = await results_of(api, batch["id"])
    assert jobs[0] == {"id": taken[0].id, "object": "edit", "status": "gone"}
    assert jobs[1]["output"]["url"].startswith("http")
    assert len((await api.get(f"/batches/{batch['id']}/items")).json["items"]) == 1


async def test_the_course_of_a_batch_can_be_followed(api: Api) -> None:
    batch = await accepted(api, [{"image_url": URL, "prompt": "x"}] * 3)
    url = f"{api.url}/api/image-studio/edit/batches/{batch['id']}/events"
    async with api.session.get(url, headers=api.headers) as answer:
        first = await answer.content.readuntil(b"\n\n")
        assert b'"queued":3' in first
        await end(api, await take(api, 3))
        blocks = (await answer.text()).strip().split("\n\n")
    last = dict(line.split(": ", 1) for line in blocks[-1].split("\n"))
    assert json.loads(last["data"])["status"] == "completed"
    assert (await api.get(f"/batches/{batch['id']}/events", headers={"Last-Event-ID": last["id"]})).status == 204
    assert len(blocks) <= 3, "no event for every change"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/items"), ("GET", "/results"), ("GET", "/archive"), ("GET", "/events"), ("POST", "/cancel"),
     ("POST", "/release"), ("POST", "/retry-failed")],
)  # fmt: skip
async def test_another_tenants_batch_answers_like_one_that_never_was(api: Api, method: str, path: str) -> None:
    batch = await accepted(api, [{"image_url": URL, "prompt": "x"}])
    foreign = await api.key_of("t2")
    answers = [await api.call(method, f"/batches/{name}{path}", headers=foreign) for name in (batch["id"], "batch_" + "0" * 26)]
    for answer in answers:
        answer.json.pop("request_id")
        answer.json.pop("instance")
    assert answers[0].status == 404
    assert answers[0].json == answers[1].json
