"""What is wrong with a batch, or with an item of it: said, and nothing accepted that is not reported."""

import asyncio
import base64
import gzip
import io
import json
from typing import Any

import aiohttp
import pytest

from shared.batch import ITEMS_MAX, LINE_MAX_BYTES
from shared.errors import StorageUnavailable, StoreUnavailable
from shared.job import Course, JobState
from tests.gateway.batch_calls import LINES, PNG, URL, accepted, form_with, ndjson, nothing_left, results_of, send, take
from tests.gateway.conftest import Api

B64 = base64.b64encode(PNG).decode()


async def test_three_broken_lines_of_a_thousand_fail_alone_and_say_why(api: Api) -> None:
    items: list[Any] = [{"image_url": URL, "prompt": "a hat", "custom_id": f"n{n}"} for n in range(1000)]
    items[16] = {"image_url": URL, "prompt": 5, "custom_id": "n16"}
    items[500] = b'{"image_url": oops}\n'
    items[999] = {"image_url": "ftp://example.com/a.png", "promt": "a hat"}
    batch = await accepted(api, items)
    assert batch["counts"] == {"total": 1000, "queued": 997, "running": 0, "succeeded": 0, "failed": 3, "canceled": 0}
    page = await api.get(f"/batches/{batch['id']}/items?status=failed")
    errors = [job["error"] for job in page.json["items"]]
    assert [(error["line"], error["code"], error["by"], error["stage"]) for error in errors] == [
        (17, "validation_failed", "caller", "reading"),
        (501, "invalid_json", "caller", "reading"),
        (1000, "validation_failed", "caller", "reading"),
    ]
    assert errors[0]["message"] == "line 17, prompt: Input should be a valid string"
    assert [fault["pointer"] for fault in errors[2]["errors"]] == ["/image_url", "/promt"]
    assert "did you mean prompt" in errors[2]["errors"][1]["message"]
    assert [job["custom_id"] for job in page.json["items"]] == ["n16", None, None]
    job_id = page.json["items"][0]["id"]
    assert (await api.get(f"/jobs/{job_id}")).json["status"] == "failed"
    assert (await api.get(f"/jobs/{job_id}/input")).status == 404
    done = 0
    while taken := await take(api):
        done += len(taken)
        for record in taken:
            await api.leases.finish(record, JobState.SUCCEEDED, Course())
    assert done == 997
    batch = (await api.get(f"/batches/{batch['id']}")).json
    assert (batch["status"], batch["counts"]["succeeded"], batch["eta_s"]) == ("completed_with_errors", 997, None)


async def test_all_or_nothing_lists_what_is_wrong_and_leaves_nothing(api: Api) -> None:
    items: list[Any] = [{"image_base64": B64, "prompt": "a hat"} for _ in range(400)]
    items[300:300] = [{"image_id": "upl_" + "0" * 26, "prompt": "x"} for _ in range(150)]
    items[5] = {"image_url": URL}
    answer = await send(api, items, all_or_nothing=True)
    assert (answer.status, answer.json["code"], len(answer.json["errors"])) == (422, "validation_failed", 100)
    assert answer.json["detail"].startswith("151 of 550 items are broken, nothing was accepted: line 7: ")
    assert answer.json["errors"][0] == {
        "pointer": "/items/5/prompt",
        "code": "missing_field",
        "message": "line 7: general_edit needs prompt",
    }
    assert answer.json["errors"][1]["pointer"] == "/items/300/image_id"
    await nothing_left(api)


async def test_one_name_belongs_to_one_item(api: Api) -> None:
    items = [{"image_url": URL, "prompt": "x", "custom_id": name} for name in ("a", "b", "a", "é", "x" * 65)]
    batch = await accepted(api, items)
    jobs = await results_of(api, batch["id"])
    assert [(job["custom_id"], job["status"]) for job in jobs] == [
        ("a", "queued"),
        ("b", "queued"),
        (None, "failed"),
        (None, "failed"),
        (None, "failed"),
    ]
    assert jobs[2]["error"]["message"] == "line 3, custom_id: an earlier item of this batch has the custom_id 'a'"


async def test_a_line_that_is_too_long_fails_alone(api: Api) -> None:
    long = json.dumps({"image_url": URL, "prompt": "x" * LINE_MAX_BYTES}).encode() + b"\n"
    batch = await accepted(api, [{"image_url": URL, "prompt": "x"}, long, long[: LINE_MAX_BYTES // 2] + b"\n", b"", b"\n", long])
    jobs = await results_of(api, batch["id"])
    assert [(job["error"] or {}).get("code") for job in jobs] == [None, "body_too_large", "invalid_json", "body_too_large"]
    assert [(job["error"] or {}).get("line") for job in jobs] == [None, 2, 3, 5]
    body = io.BytesIO(json.dumps({"items": [json.loads(long), {"image_url": URL, "prompt": "x"}]}).encode())
    answer = await api.post("/batches", data=body, headers={"Content-Type": "application/json"})
    jobs = await results_of(api, answer.json["id"])
    assert [job["status"] for job in jobs] == ["failed", "queued"]
    assert jobs[0]["error"]["message"].startswith("item 1: an item has at most 1048576 bytes")


async def test_a_thousand_references_to_one_missing_upload_are_looked_up_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, get = [], api.connections.uploads.get

    async def counted(tenant: str, upload_id: str) -> Any:
        looked.append(upload_id)
        return await get(tenant, upload_id)

    monkeypatch.setattr(api.connections.uploads, "get", counted)
    batch = await accepted(api, [{"image_id": "upl_" + "0" * 26, "prompt": "x"}] * 1000)
    assert (batch["counts"]["failed"], batch["status"], len(looked)) == (1000, "completed_with_errors", 1)
    page = await api.get(f"/batches/{batch['id']}/items?limit=1")
    error = page.json["items"][0]["error"]
    assert error["message"] == "line 1, image_id: you have no upload with this id"
    assert error["errors"][0]["code"] == "not_found"
    assert (await api.get(f"/batches/{batch['id']}/archive")).status == 200


BROKEN: dict[str, tuple[bytes, dict[str, str], int, str, str]] = {
    "nothing": (b"", LINES, 422, "validation_failed", "/items"),
    "blank lines": (b"\n \n", LINES, 422, "validation_failed", "/items"),
    "fields without items": (b'{"defaults": {}}', LINES, 422, "validation_failed", "/items"),
    "no items": (b'{"items": [ ]}', {"Content-Type": "application/json"}, 422, "validation_failed", "/items"),
    "items left out": (b'{"name": "x"}', {"Content-Type": "application/json"}, 422, "validation_failed", "/items"),
    "items of another kind": (b'{"items": 5}', {"Content-Type": "application/json"}, 422, "validation_failed", "/items"),
    "not JSON": (b'{"items": [{"a": 1}', {"Content-Type": "application/json"}, 400, "invalid_json", "/items"),
    "not JSON after the items": (b'{"items": [{}] oops}', {"Content-Type": "application/json"}, 400, "invalid_json", ""),
    "broken inside of an item": (b'{"items": [{}, {]]}', {"Content-Type": "application/json"}, 400, "invalid_json", "/items"),
    "a comma too many": (b'{"items": [{},]}', {"Content-Type": "application/json"}, 400, "invalid_json", "/items/1"),
    "items twice": (b'{"items": [{}], "items": [{}]}', {"Content-Type": "application/json"}, 422, "validation_failed", "/items"),
    "unknown field": (ndjson([{}], nam="x"), LINES, 422, "validation_failed", "/nam"),
    "unknown default": (ndjson([{}], defaults={"promt": "x"}), LINES, 422, "validation_failed", "/defaults/promt"),
    "another priority": (
        ndjson([{}], defaults={"priority": "interactive"}),
        LINES,
        422,
        "validation_failed",
        "/defaults/priority",
    ),
    "webhook": (ndjson([{}], webhook_url="http://user@example.com/"), LINES, 422, "url_not_allowed", "/webhook_url"),
    "rate": (ndjson([{}], stop_on_failure_rate=0), LINES, 422, "validation_failed", "/stop_on_failure_rate"),
    "content type": (b"a,b", {"Content-Type": "text/csv"}, 415, "unsupported_media_type", ""),
    "encoding": (b"", {**LINES, "Content-Encoding": "br"}, 415, "unsupported_media_type", ""),
    "not gzip": (b"{}\n", {**LINES, "Content-Encoding": "gzip"}, 415, "unsupported_media_type", ""),
    "half of a gzip": (gzip.compress(b"{}\n" * 99)[:-9], {**LINES, "Content-Encoding": "gzip"}, 400, "incomplete_body", ""),
    "ends in a line": (ndjson([{}] * 600) + b'{"prompt": "a', LINES, 400, "incomplete_body", ""),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_wrong_as_a_whole_is_refused_and_leaves_nothing(api: Api, name: str) -> None:
    body, headers, status, code, pointer = BROKEN[name]
    answer = await api.post("/batches", data=body, headers=headers)
    assert (answer.status, answer.json["code"]) == (status, code), answer.json
    if answer.json.get("errors"):
        assert answer.json["errors"][0]["pointer"].startswith(pointer)
    await nothing_left(api)


async def test_a_last_line_without_its_end_is_a_line(api: Api) -> None:
    items = ndjson([{"image_url": URL, "prompt": "x"}] * 2)
    assert (await accepted(api, [items.rstrip(b"\n")]))["counts"]["queued"] == 2


async def test_more_than_a_hundred_thousand_items_are_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.batches import expand

    assert ITEMS_MAX == 100_000
    monkeypatch.setattr(expand, "ITEMS_MAX", 600)
    answer = await send(api, [{"image_url": URL, "prompt": "x"}] * 601)
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/items")
    assert "at most 600 items" in answer.json["detail"]
    await nothing_left(api)
    assert (await send(api, [{"image_url": URL, "prompt": "x"}] * 600)).status == 202


async def test_a_bomb_is_refused_before_it_goes_off(api: Api) -> None:
    bomb = gzip.compress(bytes(100 * 1024 * 1024), 1)
    answer = await api.post("/batches", data=bomb, headers={**LINES, "Content-Encoding": "gzip"})
    assert (answer.status, answer.json["code"]) == (413, "body_too_large")
    await nothing_left(api)


async def test_a_caller_that_goes_away_leaves_nothing(api: Api) -> None:
    async def half() -> Any:
        yield ndjson([{"image_base64": B64, "prompt": "x"}] * 300)
        raise aiohttp.ClientError("gone")

    with pytest.raises(aiohttp.ClientError):
        await api.post("/batches", data=half(), headers=LINES)
    redis = api.connections.jobs._scripts.redis
    async with asyncio.timeout(20):
        while await redis.keys("batch:*") or await redis.keys("job:*"):
            await asyncio.sleep(0.02)
    async with asyncio.timeout(20):
        while await api.connections.storage.keys_under(""):
            await asyncio.sleep(0.02)


async def test_money_and_quota_refuse_a_batch_whole(api: Api) -> None:
    redis = api.connections.jobs._scripts.redis
    paid = [{"image_url": URL, "prompt": "a hat", "model": "qwen-edit"}] * 300
    answer = await send(api, paid, max_cost=5.98)
    assert (answer.status, answer.json["code"]) == (402, "budget_exceeded"), answer.json
    await nothing_left(api)
    await redis.hset("tenant:t1", mapping={"daily_limit": 5_990_000})
    assert (await send(api, paid)).json["code"] == "budget_exceeded"
    await nothing_left(api)
    await redis.hset("tenant:t1", mapping={"daily_limit": 6_000_000, "batch_quota": 299})
    assert (await send(api, paid)).json["code"] == "queue_full"
    await nothing_left(api)
    await redis.hset("tenant:t1", mapping={"batch_quota": 300})
    batch = await accepted(api, paid, max_cost=6)
    assert batch["cost"] == {"estimated": 6.0, "actual": 0.0, "max": 6.0}
    assert (await api.get(f"/jobs/{(await results_of(api, batch['id']))[0]['id']}")).json["cost"]["estimated"] == 0.02


@pytest.mark.parametrize("what", ["redis", "storage"])
async def test_an_outage_in_the_middle_refuses_the_batch_whole(api: Api, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    owner, name = (api.connections.batches, "stage") if what == "redis" else (api.connections.storage, "put")
    error = StoreUnavailable("away") if what == "redis" else StorageUnavailable("away")
    real, calls = getattr(owner, name), 0

    async def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error
        return await real(*arguments, **options)

    monkeypatch.setattr(owner, name, failing)
    answer = await send(api, [{"image_base64": B64, "prompt": "x"}] * 600)
    assert (answer.status, answer.json["code"], "Retry-After" in answer.headers) == (503, error.code, True)
    await nothing_left(api)


async def test_a_promise_that_nobody_heard_of_is_said_to_be_possible(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = api.connections.batches.commit

    async def unheard(*arguments: Any, **options: Any) -> int:
        await commit(*arguments, **options)
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(api.connections.batches, "commit", unheard)
    answer = await send(api, [{"image_base64": B64, "prompt": "x"}], headers={"Idempotency-Key": "u1"})
    (batch,) = (await api.get("/batches")).json["batches"]
    assert (answer.status, answer.json["code"]) == (503, "store_unavailable")
    assert f"may have been accepted as {batch['id']}" in answer.json["detail"]
    (job,) = await results_of(api, batch["id"])
    assert (await api.get(f"/jobs/{job['id']}/input")).body == PNG
    again = await send(api, [{"image_base64": B64, "prompt": "x"}], headers={"Idempotency-Key": "u1"})
    assert (again.status, again.json["id"]) == (202, batch["id"])


async def test_a_refused_form_leaves_no_picture(api: Api) -> None:
    good = ndjson([{"image_id": "file:a", "prompt": "x"}])
    refused = {
        "/manifest": form_with(None, a=PNG),
        "/items": form_with(b"\n", a=PNG),
        "": form_with(good + b'{"x": "', a=PNG),
        "/items/0/image_id": form_with(ndjson([{"image_id": "file:b", "prompt": "x"}], all_or_nothing=True), a=PNG),
    }
    for pointer, form in refused.items():
        answer = await api.post("/batches", data=form)
        assert answer.status in (400, 422)
        assert answer.json["errors"][0]["pointer"] == pointer
        await nothing_left(api)
    twice = form_with(good, a=PNG)
    twice.add_field("files", PNG, filename="a")
    assert "two files have the name 'a'" in (await api.post("/batches", data=twice)).json["detail"]
    nameless = form_with(good)
    nameless.add_field("files", "text")
    assert (await api.post("/batches", data=nameless)).json["errors"][0]["pointer"] == "/files"
    await nothing_left(api)
