"""Looking at edits, stopping them, doing them again, deleting them."""

import asyncio
import base64
import json
from typing import Any

import aiohttp
import pytest

from tests.gateway.conftest import Api
from tests.pictures import samples

PNG = samples()["png"]
GOOD = {"image_base64": base64.b64encode(PNG).decode(), "prompt": "make it black and white"}


async def submitted(api: Api, **fields: Any) -> str:
    answer = await api.post("/process", json={**GOOD, **fields})
    assert answer.status == 202, answer.json
    job_id: str = answer.json["id"]
    return job_id


async def finished(api: Api, data: bytes = PNG, **fields: Any) -> str:
    job_id = await submitted(api, **fields)
    await api.finish(job_id, data)
    return job_id


async def test_an_unchanged_edit_is_answered_with_304(api: Api) -> None:
    job_id = await submitted(api)
    first = await api.get(f"/jobs/{job_id}")
    assert first.json["id"] == job_id
    same = await api.get(f"/jobs/{job_id}", headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status, same.body) == (304, b"")
    await api.finish(job_id, PNG)
    changed = await api.get(f"/jobs/{job_id}", headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status, changed.json["status"]) == (200, "succeeded")


async def test_each_caller_gets_links_to_the_host_it_asked(api: Api) -> None:
    job_id = await submitted(api)
    for host in ("one.example", "two.example", "one.example"):
        answer = await api.get(f"/jobs/{job_id}", headers={"Host": host})
        assert answer.json["urls"]["self"] == f"http://{host}/api/image-studio/edit/jobs/{job_id}"


async def test_a_held_look_answers_when_the_edit_ends(api: Api) -> None:
    job_id = await submitted(api)
    waiting = asyncio.create_task(api.get(f"/jobs/{job_id}?wait=60"))
    await api.finish(job_id, PNG)
    assert (await waiting).json["status"] == "succeeded"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/result"), ("GET", "/thumbnail"), ("GET", "/input"), ("GET", "/events"), ("GET", "/deliveries"),
     ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")],
)  # fmt: skip
async def test_another_tenants_edit_answers_like_one_that_never_was(api: Api, method: str, path: str) -> None:
    job_id = await submitted(api)
    foreign = await api.key_of("t2")
    answers = [await api.call(method, f"/jobs/{name}{path}", headers=foreign) for name in (job_id, "edit_" + "0" * 26)]
    for answer in answers:
        answer.json.pop("request_id")
        assert answer.json.pop("instance").endswith(path)
    assert answers[0].status == 404
    assert answers[0].json == answers[1].json


async def test_the_listing_is_paged_and_filtered(api: Api) -> None:
    ids = [await submitted(api, metadata={"n": str(n % 2)}) for n in range(5)]
    await api.post(f"/jobs/{ids[4]}/cancel")
    seen: list[str] = []
    cursor = ""
    while True:
        page = await api.get(f"/jobs?limit=2{cursor}")
        seen += [job["id"] for job in page.json["jobs"]]
        if page.json["next_cursor"] is None:
            break
        cursor = f"&cursor={page.json['next_cursor']}"
    assert seen == ids[::-1]

    async def found(query: str) -> list[str]:
        return [job["id"] for job in (await api.get(f"/jobs?{query}")).json["jobs"]]

    assert await found("metadata[n]=1") == [ids[3], ids[1]]
    assert await found("metadata%5Bn%5D=1&limit=1") == [ids[3]]
    assert await found("status=canceled") == [ids[4]]
    assert await found("created_after=2100-01-01T00:00:00Z") == []
    assert await found("model=qwen-edit") == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [("limit=0", "/limit"), ("limit=x", "/limit"), ("cursor=nonsense", "/cursor"), ("status=done", "/status"),
     ("created_after=yesterday", "/created_after"), ("created_after=2024-13-01T00:00:00Z", "/created_after"), ("page=2", "/page"),
     ("limit=1&limit=2", "/limit"), ("metadata[k]=" + "x" * 513, "/metadata/k"), ("metadata=1", "/metadata")],
)  # fmt: skip
async def test_bad_parameters_are_named(api: Api, query: str, pointer: str) -> None:
    answer = await api.get(f"/jobs?{query}")
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, pointer)


async def test_the_result_is_streamed_whole_and_in_ranges(api: Api) -> None:
    data = bytes(range(256)) * 4_000
    job_id = await finished(api, data)
    whole = await api.get(f"/jobs/{job_id}/result")
    assert (whole.status, whole.body, whole.headers["Content-Type"]) == (200, data, "image/png")
    assert whole.headers["Content-Length"] == str(len(data))
    for header, part in (("bytes=10-19", data[10:20]), ("bytes=1023990-", data[-10:]), ("bytes=-5", data[-5:])):
        ranged = await api.get(f"/jobs/{job_id}/result", headers={"Range": header})
        assert (ranged.status, ranged.body) == (206, part)
        assert ranged.headers["Content-Range"].endswith(f"/{len(data)}")
    beyond = await api.get(f"/jobs/{job_id}/result", headers={"Range": "bytes=9999999-"})
    assert (beyond.status, beyond.json["code"]) == (416, "range_not_satisfiable")
    known = await api.get(f"/jobs/{job_id}/result", headers={"If-None-Match": whole.headers["ETag"]})
    assert known.status == 304
    stale = await api.get(f"/jobs/{job_id}/result", headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (stale.status, len(stale.body)) == (200, len(data))


async def test_the_result_can_be_fetched_from_the_storage(api: Api) -> None:
    job_id = await finished(api)
    answer = await api.get(f"/jobs/{job_id}/result?redirect=1")
    assert answer.status == 302
    async with api.session.get(answer.headers["Location"]) as fetched:
        assert await fetched.read() == PNG


async def test_thumbnail_and_input_are_streamed(api: Api) -> None:
    job_id = await finished(api)
    small = await api.get(f"/jobs/{job_id}/thumbnail")
    assert (small.status, small.headers["Content-Type"], small.body) == (200, "image/webp", b"RIFF-thumbnail")
    assert (await api.get(f"/jobs/{job_id}/thumbnail?w=1024")).status == 404
    assert (await api.get(f"/jobs/{job_id}/thumbnail?w=64")).status == 422
    source = await api.get(f"/jobs/{job_id}/input")
    assert (source.headers["Content-Type"], source.body) == ("image/png", PNG)


async def test_an_input_that_came_as_a_url_is_there_once_the_worker_kept_it(api: Api) -> None:
    answer = await api.post("/process", json={"image_url": "https://example.com/a.png", "prompt": "x"})
    job_id = answer.json["id"]
    assert (await api.get(f"/jobs/{job_id}/input")).status == 404
    await api.connections.storage.put(f"in/t1/{job_id}/image-0.png", PNG, content_type="image/png")
    assert (await api.get(f"/jobs/{job_id}/input")).body == PNG


async def test_what_has_no_result_says_why(api: Api) -> None:
    job_id = await submitted(api)
    assert (await api.get(f"/jobs/{job_id}/result")).json["code"] == "not_finished"
    await api.post(f"/jobs/{job_id}/cancel")
    answer = await api.get(f"/jobs/{job_id}/result")
    assert (answer.status, answer.json["detail"]) == (404, "the edit has no result: it was canceled")


async def test_a_result_that_vanished_is_gone(api: Api) -> None:
    job_id = await finished(api)
    await api.connections.storage.delete([f"out/t1/{job_id}/1/0.png"])
    assert (await api.get(f"/jobs/{job_id}/result")).json["code"] == "gone"


async def test_a_queued_edit_is_canceled_at_once_and_only_while_unfinished(api: Api) -> None:
    job_id = await submitted(api)
    for _ in range(2):
        answer = await api.post(f"/jobs/{job_id}/cancel")
        assert (answer.status, answer.json["status"]) == (200, "canceled")
    done = await finished(api)
    answer = await api.post(f"/jobs/{done}/cancel")
    assert (answer.status, answer.json["code"]) == (409, "already_finished")


async def test_a_retry_is_a_new_edit_with_the_old_pictures(api: Api) -> None:
    first = await finished(api, metadata={"a": "b"}, seed=5)
    keys, _ = await api.stored()
    answer = await api.post(f"/jobs/{first}/retry", json={"prompt": "make it sepia", "seed": None})
    assert (answer.status, answer.json["parent_id"], answer.json["prompt"]) == (202, first, "make it sepia")
    assert answer.json["metadata"] == {"a": "b"}
    record = await api.connections.jobs.get("t1", answer.json["id"])
    assert (record.spec.seed, record.spec.image.key) == (None, f"in/t1/{first}/image-0.png")
    assert (await api.stored())[0] == keys
    plain = await api.post(f"/jobs/{first}/retry", headers={"Idempotency-Key": "r1"})
    again = await api.post(f"/jobs/{first}/retry", headers={"Idempotency-Key": "r1"})
    assert (plain.status, plain.json["id"]) == (202, again.json["id"])


async def test_a_retry_is_checked_like_a_submit(api: Api) -> None:
    first = await submitted(api)
    assert (await api.post(f"/jobs/{first}/retry")).json["code"] == "not_finished"
    await api.finish(first, PNG)
    cases = [
        ({"model": "nope"}, "/model", 422),
        ({"operation": "inpaint"}, "/mask_base64", 422),
        ({"image_base64": "x"}, "/image_base64", 422),
    ]
    for body, pointer, status in cases:
        answer = await api.post(f"/jobs/{first}/retry", json=body)
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (status, pointer)
    assert (await api.post(f"/jobs/{first}/retry", data=b"[", headers={"Content-Type": "application/json"})).status == 400
    assert (await api.post(f"/jobs/{first}/retry", data=b"x", headers={"Content-Type": "text/plain"})).status == 415


async def test_a_deleted_edit_leaves_nothing_but_the_word_gone(api: Api) -> None:
    job_id = await submitted(api)
    assert (await api.call("DELETE", f"/jobs/{job_id}")).json["code"] == "not_finished"
    await api.finish(job_id, PNG)
    assert (await api.call("DELETE", f"/jobs/{job_id}")).status == 204
    assert (await api.stored()) == ([], 0)
    for path in ("", "/result", "/events"):
        assert (await api.get(f"/jobs/{job_id}{path}")).json["code"] == "gone"
    assert (await api.call("DELETE", f"/jobs/{job_id}")).status == 410


async def events_of(answer: aiohttp.ClientResponse) -> list[tuple[str, Any]]:
    """All events until the stream ends, as (id, data)."""
    found = []
    for block in (await answer.text()).strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if lines:
            assert lines["event"] == "status"
            found.append((lines["id"], json.loads(lines["data"])))
    return found


async def test_events_tell_the_course_and_end_with_the_edit(api: Api) -> None:
    job_id = await submitted(api)
    url = f"{api.url}/api/image-studio/edit/jobs/{job_id}/events"
    async with api.session.get(url, headers=api.headers) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["X-Request-Id"]
        first = await answer.content.readuntil(b"\n\n")
        assert b'"status":"queued"' in first
        await api.finish(job_id, PNG)
        events = await events_of(answer)
    assert events[-1][1]["status"] == "succeeded"
    last_id = events[-1][0]
    async with api.session.get(url, headers={**api.headers, "Last-Event-ID": "0"}) as answer:
        assert [data["status"] for _, data in await events_of(answer)] == ["succeeded"]
    assert (await api.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": last_id})).status == 204


async def test_events_of_a_resumed_stream_leave_out_what_is_known(api: Api) -> None:
    job_id = await submitted(api)
    version = str((await api.connections.jobs.get("t1", job_id)).version)
    url = f"{api.url}/api/image-studio/edit/jobs/{job_id}/events"
    async with api.session.get(url, headers={**api.headers, "Last-Event-ID": version}) as answer:
        await api.finish(job_id, PNG)
        events = await events_of(answer)
    assert [data["status"] for _, data in events][-1] == "succeeded"
    assert version not in [name for name, _ in events]


async def test_a_waiting_edit_says_how_many_of_ones_own_come_first(api: Api) -> None:
    first, second = [(await submitted(api)) for _ in range(2)]
    seen = [(await api.get(f"/jobs/{job_id}")).json["progress"] for job_id in (first, second)]
    assert [progress["queue_position"] for progress in seen] == [0, 1]
    await api.finish(first)
    moved = await api.get(f"/jobs/{second}")
    assert moved.json["progress"]["queue_position"] == 0
