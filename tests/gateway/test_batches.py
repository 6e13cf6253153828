"""Submitting batches, in every form."""

import asyncio
import base64
import gzip
import io
import json
from typing import Any

import aiohttp
import pytest

from tests.gateway.batch_calls import LINES, PNG, URL, accepted, end, form_with, ndjson, results_of, send, take
from tests.gateway.conftest import Api
from tests.pictures import encoded, photo

B64 = base64.b64encode(PNG).decode()


async def test_lines_become_edits_in_their_order(api: Api) -> None:
    items = [{"custom_id": f"n{n}", "image_url": URL, "prompt": f"a hat {n}"} for n in range(700)]
    batch = await accepted(api, items, name="hats", metadata={"a": "b"})
    assert (batch["status"], batch["name"], batch["metadata"], batch["priority"]) == ("running", "hats", {"a": "b"}, "bulk")
    assert batch["counts"] == {"total": 700, "queued": 700, "running": 0, "succeeded": 0, "failed": 0, "canceled": 0}
    jobs = await results_of(api, batch["id"])
    assert [(job["custom_id"], job["prompt"]) for job in jobs] == [(item["custom_id"], item["prompt"]) for item in items]
    assert {job["batch_id"] for job in jobs} == {batch["id"]}
    assert [job["id"] for job in jobs] == sorted(job["id"] for job in jobs)
    record = await api.connections.jobs.get("t1", jobs[0]["id"])
    assert (record.spec.priority, record.deadline - record.created) == ("bulk", 86_400_000)
    assert (await api.get(f"/jobs/{jobs[5]['id']}")).json["custom_id"] == "n5"
    assert (await api.get(f"/batches/{batch['id']}")).json["counts"]["queued"] == 700


async def test_defaults_hold_where_an_item_says_nothing_else(api: Api) -> None:
    defaults = {"prompt": "a hat", "image_url": URL, "seed": 5, "metadata": {"k": "v"}, "webhook_url": "https://a.example/hook"}
    items = [{}, {"prompt": "a coat"}, {"seed": None, "metadata": {}}, {"image_base64": B64}]
    batch = await accepted(api, items, defaults=defaults)
    jobs = await results_of(api, batch["id"])
    records = [await api.connections.jobs.get("t1", job["id"]) for job in jobs]
    assert [record.spec.prompt for record in records] == ["a hat", "a coat", "a hat", "a hat"]
    assert [record.spec.seed for record in records] == [5, 5, None, 5]
    assert [record.spec.metadata for record in records] == [{"k": "v"}, {"k": "v"}, {}, {"k": "v"}]
    assert [record.spec.image.url for record in records] == [URL, URL, URL, None], "given otherwise, it replaces the default"
    assert await api.connections.storage.get(f"in/t1/{jobs[3]['id']}/image-0.png") == PNG
    await end(api, await take(api, 1))
    redis = api.connections.jobs._scripts.redis
    told = [await redis.hget(key, "event") for key in await redis.keys("whd:*")]
    assert told == ["edit.succeeded"], "an item tells of itself because the defaults ask for it"


async def test_json_says_the_same_in_any_order(api: Api) -> None:
    items = [{"image_url": URL, "prompt": f'a "[{n}]" \\ hat', "custom_id": f"n{n}"} for n in range(80)]
    for body in ({"name": "x", "items": items, "defaults": {"seed": 7}}, {"defaults": {"seed": 7}, "items": items, "name": "x"}):
        answer = await api.post("/batches", data=json.dumps(body, indent=1), headers={"Content-Type": "application/json"})
        assert (answer.status, answer.json["name"], answer.json["counts"]["total"]) == (202, "x", 80)
        jobs = await results_of(api, answer.json["id"])
        assert [job["prompt"] for job in jobs] == [item["prompt"] for item in items]
        assert (await api.connections.jobs.get("t1", jobs[79]["id"])).spec.seed == 7


@pytest.mark.parametrize("kind", ["ndjson", "json"])
async def test_a_form_brings_the_pictures_that_its_manifest_names(api: Api, kind: str) -> None:
    other = encoded(photo(size=(60, 40)), "JPEG")
    items = [
        {"image_id": "file:a.png", "prompt": "x", "reference_images": [{"id": "file:b.jpg"}]},
        {"image_id": "file:b.jpg", "prompt": "x"},
        {"image_id": "file:c.png", "prompt": "x"},
        {"image_id": "file:broken.png", "prompt": "x"},
        {"image_id": "file:a.png", "prompt": "y"},
    ]
    manifest = ndjson(items, name="form") if kind == "ndjson" else json.dumps({"name": "form", "items": items}).encode()
    form = aiohttp.FormData()
    for name, data in (("a.png", PNG), ("broken.png", b"not a picture")):
        form.add_field("files", data, filename=name, content_type="image/png")
    form.add_field("manifest", manifest, filename="manifest", content_type="application/octet-stream")
    form.add_field("more", other, filename="b.jpg", content_type="image/png")
    answer = await api.post("/batches", data=form)
    assert (answer.status, answer.json["name"]) == (202, "form"), answer.json
    jobs = await results_of(api, answer.json["id"])
    assert [job["error"] and job["error"]["code"] for job in jobs] == [None, None, "validation_failed", "not_a_picture", None]
    assert "no file part with the file name 'c.png'" in jobs[2]["error"]["message"]
    assert [job["input"] and job["input"]["format"] for job in jobs] == ["png", "jpeg", None, None, "png"]
    first, last = [(await api.connections.jobs.get("t1", jobs[n]["id"])).spec for n in (0, 4)]
    assert first.image.key == last.image.key, "put into storage once"
    assert await api.connections.storage.get(str(first.inputs[1].key)) == other


async def test_gzip_is_unpacked_member_by_member(api: Api) -> None:
    lines = [json.dumps({"image_url": URL, "prompt": f"a hat {n}"}).encode() + b"\n" for n in range(300)]
    body = b"".join(gzip.compress(b"".join(lines[n : n + 100])) for n in range(0, 300, 100))
    answer = await api.post("/batches", data=body, headers={**LINES, "Content-Encoding": "gzip"})
    assert (answer.status, answer.json["counts"]["total"]) == (202, 300)
    plain = await api.post(
        "/batches",
        data=gzip.compress(json.dumps({"items": [{"image_url": URL, "prompt": "x"}]}).encode()),
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    assert (plain.status, plain.json["counts"]["total"]) == (202, 1)


async def test_one_key_makes_one_batch(api: Api) -> None:
    items = [{"image_url": URL, "prompt": "x", "metadata": {"a": "1"}}] * 300
    first = await send(api, items, headers={"Idempotency-Key": "b1"}, name="x")
    again = await send(api, [dict(reversed(item.items())) for item in items], headers={"Idempotency-Key": "b1"}, name="x")
    assert (first.status, again.status, again.json["id"]) == (202, 202, first.json["id"])
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    for others, fields in ((items[:-1], {"name": "x"}), (items, {"name": "y"}), ([*items[:-1], b"{\n"], {"name": "x"})):
        other = await send(api, others, headers={"Idempotency-Key": "b1"}, **fields)
        assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")
    single = await api.post("/process", json=items[0], headers={"Idempotency-Key": "b1"})
    assert single.json["code"] == "idempotency_mismatch"
    assert len((await api.get("/batches")).json["batches"]) == 1


async def test_a_key_is_busy_while_its_batch_is_read(api: Api) -> None:
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Any:
        yield ndjson([{"image_url": URL, "prompt": "x"}] * 300)
        reading.set()
        await go_on.wait()
        yield ndjson([{"image_url": URL, "prompt": "x"}])

    headers = {**LINES, "Idempotency-Key": "b2"}
    first = asyncio.create_task(api.post("/batches", data=slow(), headers=headers))
    await reading.wait()
    redis = api.connections.jobs._scripts.redis
    async with asyncio.timeout(10):
        while not await redis.keys("job:*"):
            await asyncio.sleep(0.01)
    second = await send(api, [{"image_url": URL, "prompt": "x"}], headers={"Idempotency-Key": "b2"})
    assert (second.status, second.json["code"], second.headers["Retry-After"]) == (409, "idempotency_in_flight", "1")
    assert (await api.get("/jobs")).json["jobs"] == [], "what is not promised is not listed"
    assert (await api.get("/batches")).json["batches"] == []
    go_on.set()
    answer = await first
    assert (answer.status, answer.json["counts"]["total"]) == (202, 301)
    assert len((await api.get("/jobs?limit=100")).json["jobs"]) == 100


async def test_items_that_are_alike_are_done_once_if_asked(api: Api) -> None:
    items = [
        {"image_base64": B64, "prompt": "a hat", "custom_id": "a", "metadata": {"n": "1"}},
        {"image_base64": "data:image/png;base64," + B64, "prompt": "a hat", "custom_id": "b"},
        {"image_base64": B64, "prompt": "a coat"},
        {"image_base64": B64, "prompt": "a hat", "seed": 1},
    ]
    batch = await accepted(api, items, dedupe=True)
    taken = await take(api)
    assert [record.spec.custom_id for record in taken] == ["a", None, None]
    await end(api, taken)
    await api.connections.batches.step_through()
    jobs = await results_of(api, batch["id"])
    assert {job["status"] for job in jobs} == {"succeeded"}
    assert jobs[0]["output"]["sha256"] == jobs[1]["output"]["sha256"]
    await accepted(api, items)
    assert len(await take(api)) == 4, "unless it is asked for, each is done"


async def test_ten_thousand_lines_are_accepted(api: Api) -> None:
    body = ndjson({"image_url": URL, "prompt": "a hat", "custom_id": f"n{n}"} for n in range(10_000))
    clock = asyncio.get_running_loop().time
    began = clock()
    answer = await api.post("/batches", data=io.BytesIO(body), headers=LINES)
    print(f"10 000 lines, {len(body)} bytes: {clock() - began:.2f} s")
    assert (answer.status, answer.json["counts"]["queued"]) == (202, 10_000)


async def test_a_repeated_form_is_told_by_its_pictures_and_stores_none(api: Api) -> None:
    manifest, key = ndjson([{"image_id": "file:a", "prompt": "x"}]), {"Idempotency-Key": "f1"}
    first = await api.post("/batches", data=form_with(manifest, a=PNG), headers=key)
    keys = await api.connections.storage.keys_under("")
    again = await api.post("/batches", data=form_with(manifest, a=PNG), headers=key)
    assert (again.status, again.json["id"]) == (202, first.json["id"])
    other = await api.post("/batches", data=form_with(manifest, a=encoded(photo(size=(60, 40)), "PNG")), headers=key)
    assert other.json["code"] == "idempotency_mismatch"
    assert await api.connections.storage.keys_under("") == keys
