"""Pictures that are uploaded apart."""

import io
from typing import Any

import pytest

from shared.store.uploads import UNUSED_S
from tests.gateway.conftest import Answer, Api
from tests.pictures import animated, encoded, photo, samples

PNG = samples()["png"]


async def made(api: Api) -> dict[str, Any]:
    answer = await api.post("/uploads")
    assert answer.status == 201, answer.json
    ticket: dict[str, Any] = answer.json
    assert ticket["image_id"] == ticket["id"]
    return ticket


async def put(api: Api, ticket: dict[str, Any], data: bytes) -> None:
    """As a browser would: with nothing but what the ticket says."""
    upload = ticket["upload"]
    async with api.session.request(upload["method"], upload["url"], headers=upload["headers"], data=data) as answer:
        assert answer.status == 200


async def put_here(api: Api, ticket: dict[str, Any], data: bytes, **kwargs: Any) -> Answer:
    assert ticket["content_url"].startswith(api.url)
    path = f"/uploads/{ticket['id']}/content"
    return await api.call("PUT", path, data=io.BytesIO(data), headers={"Content-Type": "application/octet-stream"}, **kwargs)


async def submitted(api: Api, upload_id: str, **fields: Any) -> Answer:
    return await api.post("/process", json={"image_id": upload_id, "prompt": "make it black and white", **fields})


@pytest.mark.parametrize("way", ["to the storage", "through the gateway"])
async def test_an_uploaded_picture_can_be_edited_by_its_id(api: Api, way: str) -> None:
    ticket = await made(api)
    if way == "to the storage":
        await put(api, ticket, PNG)
    else:
        answer = await put_here(api, ticket, PNG)
        assert (answer.status, answer.json["picture"]["format"], answer.json["image_id"]) == (200, "png", ticket["id"])
    job = await submitted(api, ticket["image_id"], reference_images=[{"id": ticket["image_id"]}])
    assert job.status == 202, job.json
    assert (job.json["input"]["width"], job.json["input"]["bytes"]) == (120, len(PNG))
    record = await api.connections.jobs.get("t1", job.json["id"])
    assert [ref.role.value for ref in record.spec.inputs] == ["image", "reference"]
    head = await api.connections.storage.head(str(record.spec.image.key))
    assert (head.content_type, head.bytes) == ("image/png", len(PNG))
    again = await submitted(api, ticket["id"])
    assert (await api.connections.jobs.get("t1", again.json["id"])).spec.image.key == record.spec.image.key
    keys = await api.connections.storage.keys_under("in/t1/upl_")
    assert keys == [record.spec.image.key], "what lies where anybody with the link can write is not kept"


async def test_what_was_looked_at_cannot_be_replaced_by_the_link(api: Api) -> None:
    ticket = await made(api)
    await put(api, ticket, PNG)
    first = await submitted(api, ticket["id"])
    await put(api, ticket, b"something else")
    second = await submitted(api, ticket["id"])
    assert first.json["input"] == second.json["input"]
    record = await api.connections.jobs.get("t1", second.json["id"])
    assert await api.connections.storage.get(str(record.spec.image.key)) == PNG
    assert (await put_here(api, ticket, PNG)).status == 200, "the same once more is no harm"
    other = await put_here(api, ticket, encoded(photo(size=(60, 40)), "PNG"))
    assert (other.status, other.json["code"]) == (409, "already_finished")


@pytest.mark.parametrize(
    ("data", "code"), [(b"", "not_a_picture"), (b"hello" * 99, "not_a_picture"), (PNG[: len(PNG) // 2], "truncated_picture")]
)
async def test_what_is_no_picture_is_refused_when_it_is_looked_at(api: Api, data: bytes, code: str) -> None:
    ticket = await made(api)
    refused = await put_here(api, ticket, data)
    assert (refused.status, refused.json["code"]) == (422, code)
    await put(api, ticket, data)
    answer = await submitted(api, ticket["id"])
    assert (answer.status, answer.json["code"], answer.json["errors"][0]["pointer"]) == (422, code, "/image_id")
    assert (await put_here(api, ticket, PNG)).status == 200, "it was not taken yet"


@pytest.mark.parametrize("gateway_settings", [{"image_max_bytes": 5_000}], indirect=True)
async def test_a_picture_that_is_too_large_is_not_even_read(api: Api) -> None:
    ticket = await made(api)
    assert len(PNG) > 5_000
    assert (await put_here(api, ticket, PNG)).json["code"] == "picture_too_large"
    await put(api, ticket, PNG)
    assert (await submitted(api, ticket["id"])).json["code"] == "picture_too_large"


async def test_an_upload_without_content_and_one_that_never_was(api: Api) -> None:
    ticket = await made(api)
    answer = await submitted(api, ticket["id"])
    assert answer.json["errors"] == [
        {"pointer": "/image_id", "code": "not_found", "message": "nothing was uploaded under this id yet"}
    ]
    await put(api, ticket, PNG)
    assert (await submitted(api, ticket["id"])).status == 202, "what was not found is not remembered beyond its request"
    answer = await submitted(api, "upl_" + "0" * 26)
    assert answer.json["errors"][0]["message"] == "you have no upload with this id"


async def test_another_tenants_upload_is_none(api: Api) -> None:
    ticket, foreign = await made(api), await api.key_of("t2")
    await put(api, ticket, PNG)
    answers = [
        await api.call("PUT", f"/uploads/{name}/content", data=PNG, headers={**foreign, "Content-Type": "image/png"})
        for name in (ticket["id"], "upl_" + "0" * 26)
    ]
    assert [(answer.status, answer.json["detail"]) for answer in answers] == [(404, "you have no upload with this id")] * 2
    body = {"image_id": ticket["id"], "prompt": "x"}
    answer = await api.call("POST", "/process", json=body, headers=foreign)
    assert answer.json["errors"][0]["code"] == "not_found"


async def test_frames_are_asked_for_by_each_edit(api: Api) -> None:
    ticket = await made(api)
    await put(api, ticket, animated("GIF"))
    assert (await submitted(api, ticket["id"])).json["code"] == "animated_image"
    assert (await submitted(api, ticket["id"], animated="first")).status == 202


async def test_an_unused_upload_is_forgotten_after_a_day_and_a_used_one_kept_longer(api: Api) -> None:
    redis = api.connections.jobs._scripts.redis
    ticket = await made(api)
    await put_here(api, ticket, PNG)
    assert UNUSED_S - 60 < await redis.ttl(f"upload:{ticket['id']}") <= UNUSED_S
    await submitted(api, ticket["id"])
    assert await redis.ttl(f"upload:{ticket['id']}") > api.connections.settings.retention_s - 60
    await redis.delete(f"upload:{ticket['id']}")
    assert (await submitted(api, ticket["id"])).status == 422
