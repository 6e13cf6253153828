"""Submitting edits."""

import asyncio
import base64
import hashlib
import io
import json
from typing import Any

import aiohttp
import pytest

from shared.job import JobState
from tests.gateway.conftest import Api
from tests.gateway.test_bad_input import form_of
from tests.pictures import encoded, photo, rotated, samples
from tests.servers import RedisServer, S3Server

PNG = samples()["png"]
B64 = base64.b64encode(PNG).decode()
GOOD = {"image_base64": B64, "prompt": "make it black and white"}


async def accepted(api: Api, **kwargs: Any) -> dict[str, Any]:
    answer = await api.post("/process", **kwargs)
    assert answer.status == 202, answer.json
    assert answer.headers["Location"] == f"{api.url}/api/image-studio/edit/jobs/{answer.json['id']}"
    document: dict[str, Any] = answer.json
    return document


@pytest.mark.parametrize("text", [B64, "data:image/png;base64," + B64, "data:text/plain;charset=x;base64," + B64])
async def test_base64_is_taken_bare_and_as_a_data_uri(api: Api, text: str) -> None:
    job = await accepted(api, json={"image_base64": text, "prompt": "x", "metadata": {"a": "b"}})
    assert (job["status"], job["metadata"], job["requested_model"]) == ("queued", {"a": "b"}, None)
    assert job["input"] == {
        "width": 120,
        "height": 80,
        "format": "png",
        "bytes": len(PNG),
        "sha256": hashlib.sha256(PNG).hexdigest(),
    }
    assert await api.connections.storage.get(f"in/t1/{job['id']}/image-0.png") == PNG


@pytest.mark.parametrize("name", [name for name in samples() if name != "png"])
async def test_every_format_is_told_by_its_content(api: Api, name: str) -> None:
    job = await accepted(api, data=form_of({"image": samples()[name], "prompt": "x"}))
    assert job["input"]["format"] == name.split("_")[0]


async def test_the_size_is_the_upright_one(api: Api) -> None:
    job = await accepted(api, data=form_of({"image": rotated(6), "prompt": "x"}))
    assert (job["input"]["width"], job["input"]["height"]) == (120, 80)


@pytest.mark.parametrize("as_parts", [True, False])
async def test_a_form_takes_files_and_typed_texts(api: Api, as_parts: bool) -> None:
    mask = encoded(photo(size=(120, 80)).convert("L"), "PNG")
    fields = {"prompt": "a hat", "operation": "general_edit", "metadata": {"k": "v"}, "strict": False}
    if as_parts:
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    else:
        texts = {"request": json.dumps(fields)}
    form = form_of({"image": PNG, "mask": mask, **texts})
    form.add_field("reference_images", samples()["jpeg"], filename="a")
    form.add_field("reference_images", samples()["webp"], filename="b")
    job = await accepted(api, data=form)
    assert (job["operation"], job["prompt"], job["metadata"]) == ("general_edit", "a hat", {"k": "v"})
    keys, _ = await api.stored()
    folder = f"in/t1/{job['id']}/"
    assert keys == [folder + name for name in ("image-0.png", "mask-0.png", "reference-0.jpg", "reference-1.webp")]


async def test_a_large_picture_goes_through_a_file_and_arrives_whole(api: Api, tmp_path: Any) -> None:
    picture = encoded(photo(size=(1_500, 1_500)), "BMP")
    job = await accepted(api, data=form_of({"image": io.BytesIO(picture), "prompt": "x"}))
    assert job["input"]["sha256"] == hashlib.sha256(picture).hexdigest()
    assert await api.connections.storage.get(f"in/t1/{job['id']}/image-0.bmp") == picture


async def test_a_large_picture_in_base64_arrives_whole(api: Api) -> None:
    picture = encoded(photo(size=(1_000, 1_000)), "BMP")
    body = io.BytesIO(json.dumps({"image_base64": base64.b64encode(picture).decode(), "prompt": "x"}).encode())
    job = await accepted(api, data=body, headers={"Content-Type": "application/json"})
    assert await api.connections.storage.get(f"in/t1/{job['id']}/image-0.bmp") == picture


async def test_a_url_is_accepted_unfetched(api: Api) -> None:
    job = await accepted(api, json={"image_url": "https://example.com/a.png", "prompt": "x"})
    assert job["input"] is None
    assert (await api.stored())[0] == []


async def test_the_result_of_an_earlier_edit_is_an_input(api: Api) -> None:
    first = await accepted(api, json=GOOD)
    await api.finish(first["id"], PNG)
    second = await accepted(api, json={"image_id": first["id"], "prompt": "x"})
    record = await api.connections.jobs.get("t1", second["id"])
    assert record.spec.image.key == f"out/t1/{first['id']}/1/0.png"
    assert second["input"]["sha256"] == "ab" * 32


async def test_an_unfinished_edit_is_no_input(api: Api) -> None:
    first = await accepted(api, json=GOOD)
    assert (await api.post("/process", json={"image_id": first["id"], "prompt": "x"})).status == 422


async def test_the_same_request_with_the_same_key_is_the_same_edit(api: Api) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await api.post("/process", json=GOOD, headers=headers)
    as_form = form_of({"image": PNG, "prompt": "make it black and white"})
    again = await api.post("/process", data=as_form, headers=headers)
    assert (first.status, again.status) == (202, 202)
    assert first.json["id"] == again.json["id"]
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    keys, count = await api.stored()
    assert (len(keys), count) == (1, 1)


async def test_another_request_with_the_same_key_is_refused(api: Api) -> None:
    headers = {"Idempotency-Key": "k1"}
    await accepted(api, json=GOOD, headers=headers)
    answer = await api.post("/process", json={**GOOD, "prompt": "make it green"}, headers=headers)
    assert (answer.status, answer.json["code"]) == (422, "idempotency_mismatch")
    assert (await api.post("/process", json=GOOD, headers={"Idempotency-Key": ""})).status == 422
    assert [len(found) if isinstance(found, list) else found for found in await api.stored()] == [1, 1]


async def test_a_key_whose_request_was_refused_can_be_used_again(api: Api) -> None:
    headers = {"Idempotency-Key": "k1"}
    assert (await api.post("/process", json={"prompt": "x"}, headers=headers)).status == 422
    await accepted(api, json=GOOD, headers=headers)


async def test_equal_requests_at_the_same_time_make_one_edit(api: Api) -> None:
    answers = await asyncio.gather(*(api.post("/process", json=GOOD, headers={"Idempotency-Key": "k1"}) for _ in range(6)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.json["id"] for answer in answers}) == 1
    keys, count = await api.stored()
    assert (len(keys), count) == (1, 1)


@pytest.mark.parametrize("how", ["query", "header"])
async def test_who_waits_gets_the_finished_edit(api: Api, how: str) -> None:
    extra: dict[str, Any] = {"params": {"wait": 30}} if how == "query" else {"headers": {"Prefer": "respond-async, wait=30"}}
    waiting = asyncio.create_task(api.post("/process", json=GOOD, **extra))
    job_id = await only_job(api)
    await api.finish(job_id, PNG)
    answer = await waiting
    assert (answer.status, answer.json["status"]) == (200, "succeeded")
    assert answer.headers.get("Preference-Applied") == (None if how == "query" else "wait=30")
    async with api.session.get(answer.json["output"]["url"]) as fetched:
        assert await fetched.read() == PNG


async def test_who_waits_in_vain_gets_the_unfinished_edit(api: Api) -> None:
    answer = await api.post("/process", json=GOOD, headers={"Prefer": "wait=1"})
    assert (answer.status, answer.json["status"], answer.headers["Preference-Applied"]) == (202, "queued", "wait=1")


async def test_a_finished_edit_can_come_with_its_picture(api: Api) -> None:
    waiting = asyncio.create_task(api.post("/process?wait=30", json={**GOOD, "response_format": "b64"}))
    await api.finish(await only_job(api), PNG)
    answer = await waiting
    assert answer.status == 200
    assert answer.json["success"] is True
    assert (answer.json["width"], answer.json["height"]) == (120, 80)
    assert answer.json["image_base64"] == "data:image/png;base64," + B64


async def test_a_failed_edit_has_no_picture_to_come_with(api: Api) -> None:
    waiting = asyncio.create_task(api.post("/process?wait=30", json={**GOOD, "response_format": "b64"}))
    await api.finish(await only_job(api), state=JobState.CANCELED)
    answer = await waiting
    assert (answer.status, answer.json["status"]) == (200, "canceled")
    assert "image_base64" not in answer.json


async def test_the_request_id_is_kept_and_echoed(api: Api) -> None:
    answer = await api.post("/process", json=GOOD, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["X-Request-Id"] == answer.json["request_id"] == "mine-1"
    made = await api.post("/process", json=GOOD, headers={"X-Request-Id": "x" * 129})
    assert made.headers["X-Request-Id"].startswith("req_")


async def test_the_body_is_asked_for_only_after_the_headers_were_judged(api: Api) -> None:
    answer = await api.post("/process", data=form_of({"image": PNG, "prompt": "x"}), expect100=True)
    assert answer.status == 202
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
    writer.write(b"POST /api/image-studio/edit/process HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
    writer.close()


@pytest.mark.parametrize("gateway_settings", [{"queue_quota": 1}], indirect=True)
async def test_a_full_queue_is_told_and_nothing_stays_behind(api: Api) -> None:
    await accepted(api, json=GOOD)
    answer = await api.post("/process", json=GOOD)
    assert (answer.status, answer.json["code"], answer.json["retryable"]) == (429, "queue_full", True)
    assert int(answer.headers["Retry-After"]) >= 1
    keys, count = await api.stored()
    assert (len(keys), count) == (1, 1)


async def only_job(api: Api) -> str:
    """The id of the tenant's only edit, once it is there."""
    async with asyncio.timeout(10):
        while True:
            page = await api.connections.jobs.page("t1")
            if page.records:
                return page.records[0].id
            await asyncio.sleep(0.005)


@pytest.fixture
def frozen(s3_server: S3Server, redis_server: RedisServer) -> Any:
    yield (s3_server, redis_server)
    s3_server.thaw()
    redis_server.thaw()


@pytest.mark.parametrize("gateway_settings", [{"storage_timeout_s": 0.5}], indirect=True)
async def test_without_storage_the_answer_is_503_and_nothing_is_promised(api: Api, frozen: Any) -> None:
    frozen[0].freeze()
    answer = await api.post("/process", json=GOOD)
    assert (answer.status, answer.json["code"]) == (503, "storage_unavailable")
    frozen[0].thaw()
    assert (await api.connections.jobs.page("t1")).records == []


@pytest.mark.parametrize("gateway_settings", [{"redis_timeout_s": 0.5}], indirect=True)
async def test_without_redis_the_answer_is_503(api: Api, frozen: Any) -> None:
    frozen[1].freeze()
    answer = await api.post("/process", json=GOOD)
    assert (answer.status, answer.json["code"], answer.json["retryable"]) == (503, "store_unavailable", True)
    ready = await api.get("//readyz")
    assert (ready.status, ready.json) == (503, {"status": "not_ready", "store": "down", "storage": "ok", "load": "ok"})
    assert (await api.get("//healthz")).status == 200
    assert b"edit_studio_store_up 0" in (await api.get("//metrics")).body
    frozen[1].thaw()


async def test_any_body_size_is_answered_with_a_session_that_goes_on(api: Api) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        for body in (b"{", json.dumps(GOOD).encode(), b"{"):
            headers = {**api.headers, "Content-Type": "application/json"}
            async with session.post(f"{api.url}/api/image-studio/edit/process", data=body, headers=headers) as answer:
                assert answer.status in (202, 400)
