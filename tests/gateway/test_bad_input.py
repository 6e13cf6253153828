"""Whatever is wrong with a submit: a problem with a stable code and a pointer, and nothing stored."""

import asyncio
import base64
import json
import socket
from typing import Any

import aiohttp
import pytest

from tests.gateway.conftest import Api
from tests.pictures import animated, encoded, header_only_png, photo, samples

PNG = samples()["png"]
B64 = base64.b64encode(PNG).decode()
GOOD = {"image_base64": B64, "prompt": "make it black and white"}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def nothing_stored(api: Api) -> None:
    assert await api.stored() == ([], 0)


def problem_of(answer: Any) -> list[tuple[str, str]]:
    """What is wrong, after checking that the answer is a whole problem."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == answer.status
    assert problem["type"].endswith("/errors#" + problem["code"])
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert problem["instance"].endswith("/process")
    assert problem["title"]
    assert problem["detail"]
    return [(error["pointer"], error["code"]) for error in problem["errors"]]


CASES: dict[str, tuple[dict[str, Any], str, list[tuple[str, str]]]] = {
    "broken base64": ({**GOOD, "image_base64": "abc$"}, "invalid_base64", [("/image_base64", "invalid_base64")]),
    "base64 without padding": (
        {**GOOD, "image_base64": b64(PNG[: len(PNG) // 3 * 3 - 1]).rstrip("=")},
        "invalid_base64",
        [("/image_base64", "invalid_base64")],
    ),
    "base64 with line ends": (
        {**GOOD, "image_base64": B64[:76] + "\n" + B64[76:]},
        "invalid_base64",
        [("/image_base64", "invalid_base64")],
    ),
    "base64 of the URL alphabet": ({**GOOD, "image_base64": "-_-_"}, "invalid_base64", [("/image_base64", "invalid_base64")]),
    "empty base64": ({**GOOD, "image_base64": ""}, "invalid_base64", [("/image_base64", "invalid_base64")]),
    "data URI without base64": (
        {**GOOD, "image_base64": "data:image/png,x"},
        "invalid_base64",
        [("/image_base64", "invalid_base64")],
    ),
    "not a picture": ({**GOOD, "image_base64": b64(b"hello" * 50)}, "not_a_picture", [("/image_base64", "not_a_picture")]),
    "svg": (
        {**GOOD, "image_base64": b64(b"<svg xmlns='http://www.w3.org/2000/svg'/>")},
        "not_a_picture",
        [("/image_base64", "not_a_picture")],
    ),
    "truncated": (
        {**GOOD, "image_base64": b64(PNG[: len(PNG) // 2])},
        "truncated_picture",
        [("/image_base64", "truncated_picture")],
    ),
    "truncated jpeg": (
        {**GOOD, "image_base64": b64(samples()["jpeg"][:-400])},
        "truncated_picture",
        [("/image_base64", "truncated_picture")],
    ),
    "too many pixels": (
        {**GOOD, "image_base64": b64(header_only_png((16_000, 16_000)))},
        "picture_too_large",
        [("/image_base64", "picture_too_large")],
    ),
    "too long a side": (
        {**GOOD, "image_base64": b64(header_only_png((16_385, 1)))},
        "picture_too_large",
        [("/image_base64", "picture_too_large")],
    ),
    "animated": ({**GOOD, "image_base64": b64(animated("GIF"))}, "animated_image", [("/image_base64", "animated_image")]),
    "no picture": ({"prompt": "x"}, "validation_failed", [("/image_base64", "missing_field")]),
    "two ways": ({**GOOD, "image_url": "https://a.example/x.png"}, "validation_failed", [("/image_url", "invalid_value")]),
    "unknown field": ({**GOOD, "promt": "x"}, "validation_failed", [("/promt", "unknown_field")]),
    "missing prompt": ({"image_base64": B64}, "validation_failed", [("/prompt", "missing_field")]),
    "blank prompt": ({"image_base64": B64, "prompt": " \n"}, "validation_failed", [("/prompt", "missing_field")]),
    "prompt too long": ({"image_base64": B64, "prompt": "x" * 8_001}, "validation_failed", [("/prompt", "invalid_value")]),
    "unknown model": ({**GOOD, "model": "qwen-edti"}, "unknown_model", [("/model", "unknown_model")]),
    "unknown provider": ({**GOOD, "provider": "acme"}, "validation_failed", [("/provider", "invalid_value")]),
    "unknown operation": ({**GOOD, "operation": "inpant"}, "validation_failed", [("/operation", "invalid_value")]),
    "file URL": ({"image_url": "file:///etc/passwd", "prompt": "x"}, "url_not_allowed", [("/image_url", "url_not_allowed")]),
    "loopback URL": (
        {"image_url": "http://127.0.0.1/x.png", "prompt": "x"},
        "url_not_allowed",
        [("/image_url", "url_not_allowed")],
    ),
    "metadata service": (
        {"image_url": "http://169.254.169.254/", "prompt": "x"},
        "url_not_allowed",
        [("/image_url", "url_not_allowed")],
    ),
    "URL with credentials": (
        {"image_url": "https://u:p@a.example/", "prompt": "x"},
        "url_not_allowed",
        [("/image_url", "url_not_allowed")],
    ),
    "forbidden port": (
        {**GOOD, "webhook_url": "https://a.example:22/"},
        "url_not_allowed",
        [("/webhook_url", "url_not_allowed")],
    ),
    "wrong types": (
        {**GOOD, "seed": "1", "strict": "no"},
        "validation_failed",
        [("/strict", "wrong_type"), ("/seed", "wrong_type")],
    ),
    "size too large": ({**GOOD, "size": "99999x1"}, "validation_failed", [("/size", "invalid_value")]),
    "unknown earlier edit": ({"image_id": "edit_" + "0" * 26, "prompt": "x"}, "validation_failed", [("/image_id", "not_found")]),
    "upload that is not": ({"image_id": "upl_" + "0" * 26, "prompt": "x"}, "validation_failed", [("/image_id", "not_found")]),
    "mask missing": ({**GOOD, "operation": "inpaint"}, "validation_failed", [("/mask_base64", "missing_field")]),
    "field of another operation": (
        {"image_base64": B64, "operation": "remove_background", "prompt": "x", "mask_base64": B64},
        "validation_failed",
        [("/prompt", "unsupported_field"), ("/mask_base64", "unsupported_field")],
    ),
    "nothing to outpaint": (
        {"image_base64": B64, "operation": "outpaint"},
        "validation_failed",
        [("/expand_left", "missing_field")],
    ),
    "mask of another size": (
        {**GOOD, "mask_base64": b64(encoded(photo(size=(10, 10)), "PNG"))},
        "mask_invalid",
        [("/mask_base64", "mask_invalid")],
    ),
    "bad reference": (
        {**GOOD, "reference_images": [{"base64": B64}, {"base64": "?"}]},
        "invalid_base64",
        [("/reference_images/1", "invalid_base64")],
    ),
    "everything at once": (
        {"image_base64": "?", "webhook_url": "http://localhost/", "model": "nope"},
        "validation_failed",
        [
            ("/prompt", "missing_field"),
            ("/model", "unknown_model"),
            ("/webhook_url", "url_not_allowed"),
            ("/image_base64", "invalid_base64"),
        ],
    ),
}


@pytest.mark.parametrize(("body", "code", "errors"), CASES.values(), ids=CASES)
async def test_bad_json_is_refused_and_nothing_is_stored(api: Api, body: Any, code: str, errors: list[tuple[str, str]]) -> None:
    answer = await api.post("/process", json=body)
    assert (answer.status, answer.json["code"]) == (422, code), answer.json
    assert problem_of(answer) == errors
    await nothing_stored(api)


FORM_CASES: dict[str, tuple[dict[str, Any], str, list[tuple[str, str]]]] = {
    "not a picture": ({"image": b"hello", "prompt": "x"}, "not_a_picture", [("/image", "not_a_picture")]),
    "truncated": ({"image": PNG[:-100], "prompt": "x"}, "truncated_picture", [("/image", "truncated_picture")]),
    "empty file": ({"image": b"", "prompt": "x"}, "not_a_picture", [("/image", "not_a_picture")]),
    "no picture": ({"prompt": "x"}, "validation_failed", [("/image_base64", "missing_field")]),
    "two ways": ({"image": PNG, "prompt": "x", "image_base64": B64}, "validation_failed", [("/image_base64", "invalid_value")]),
    "wrong type": ({"image": PNG, "prompt": "x", "seed": "many"}, "validation_failed", [("/seed", "wrong_type")]),
    "unknown text": ({"image": PNG, "promt": "x"}, "validation_failed", [("/promt", "unknown_field")]),
    "unknown file": ({"picture": PNG, "prompt": "x"}, "validation_failed", [("/picture", "unknown_field")]),
    "request not JSON": ({"image": PNG, "request": "{"}, "invalid_json", [("/request", "invalid_json")]),
    "request not an object": ({"image": PNG, "request": "[]"}, "invalid_json", [("/request", "invalid_json")]),
    "field twice": (
        {"image": PNG, "prompt": "x", "request": '{"prompt": "y"}'},
        "validation_failed",
        [("/prompt", "invalid_value")],
    ),
}


def form_of(parts: dict[str, Any]) -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in parts.items():
        form.add_field(name, value, **({"filename": "x.bin"} if not isinstance(value, str) else {}))
    return form


@pytest.mark.parametrize(("parts", "code", "errors"), FORM_CASES.values(), ids=FORM_CASES)
async def test_a_bad_form_is_refused_and_nothing_is_stored(
    api: Api, parts: dict[str, Any], code: str, errors: list[tuple[str, str]]
) -> None:
    answer = await api.post("/process", data=form_of(parts))
    assert answer.json["code"] == code, answer.json
    assert problem_of(answer) == errors
    await nothing_stored(api)


RAW_CASES: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "not JSON": (b"{not json", {"Content-Type": "application/json"}, 400, "invalid_json"),
    "cut JSON": (json.dumps(GOOD).encode()[:-5], {"Content-Type": "application/json"}, 400, "invalid_json"),
    "empty": (b"", {"Content-Type": "application/json"}, 400, "invalid_json"),
    "wrong content type": (b"hello", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
    "the picture itself": (PNG, {"Content-Type": "image/png"}, 415, "unsupported_media_type"),
    "compressed": (b"x", {"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
    "form without boundary": (b"x", {"Content-Type": "multipart/form-data"}, 400, "invalid_multipart"),
    "form that is none": (b"x" * 99, {"Content-Type": "multipart/form-data; boundary=b"}, 400, "incomplete_body"),
    "form cut off": (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + PNG,
        {"Content-Type": "multipart/form-data; boundary=b"},
        400,
        "incomplete_body",
    ),
}


@pytest.mark.parametrize(("body", "headers", "status", "code"), RAW_CASES.values(), ids=RAW_CASES)
async def test_a_bad_body_is_refused_and_nothing_is_stored(
    api: Api, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await api.post("/process", data=body, headers=headers)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert problem_of(answer)[0][0] == ""
    await nothing_stored(api)


async def test_a_body_over_the_limit_is_refused_before_it_is_read(api: Api) -> None:
    head = head_of(api, "application/json", "Content-Length: 33554433\r\n")
    assert (await raw(api, head))[1]["code"] == "body_too_large"
    await nothing_stored(api)


async def test_a_chunked_body_over_the_limit_is_refused_while_it_is_read(api: Api) -> None:
    async def pieces() -> Any:
        for _ in range(40):
            yield b" " * 1024 * 1024

    answer = await api.post("/process", data=pieces(), headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["code"]) == (413, "body_too_large")
    await nothing_stored(api)


@pytest.mark.parametrize("gateway_settings", [{"image_max_bytes": 5_000}], indirect=True)
@pytest.mark.parametrize("as_form", [True, False])
async def test_a_picture_with_too_many_bytes_is_refused(api: Api, as_form: bool) -> None:
    body: Any = {"data": form_of({"image": PNG, "prompt": "x"})} if as_form else {"json": GOOD}
    answer = await api.post("/process", **body)
    assert (answer.status, answer.json["code"]) == (422, "picture_too_large")
    await nothing_stored(api)


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=b"])
@pytest.mark.parametrize("length", ["Content-Length: 5000\r\n", "Transfer-Encoding: chunked\r\n"])
async def test_a_body_that_stops_half_way_is_answered_to_who_still_listens(api: Api, kind: str, length: str) -> None:
    start = b"100\r\n" + b" " * 10 if "chunked" in length else b'{"prompt": '
    status, problem = await raw(api, head_of(api, kind, length) + start, half_close=True)
    assert (status, problem["code"]) == (400, "incomplete_body")
    await nothing_stored(api)


async def test_a_client_that_vanishes_half_way_leaves_nothing(api: Api) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
    writer.write(head_of(api, "application/json", "Content-Length: 5000\r\n") + b"{")
    await writer.drain()
    writer.transport.abort()
    await nothing_stored(api)
    assert (await api.post("/process", json=GOOD)).status == 202


async def test_another_tenants_edit_is_no_input(api: Api) -> None:
    made = await api.post("/process", json=GOOD)
    await api.finish(made.json["id"], PNG)
    foreign = await api.key_of("t2")
    answer = await api.post("/process", json={"image_id": made.json["id"], "prompt": "x"}, headers=foreign)
    unknown = await api.post("/process", json={"image_id": "edit_" + "0" * 26, "prompt": "x"}, headers=foreign)
    assert answer.status == unknown.status == 422
    assert (
        answer.json["errors"]
        == unknown.json["errors"]
        == [{"pointer": "/image_id", "code": "not_found", "message": "you have no edit with this id and a result"}]
    )


async def test_the_nearest_names_are_named(api: Api) -> None:
    answer = await api.post("/process", json={**GOOD, "model": "qwen-edti"})
    assert "did you mean qwen-edit" in answer.json["detail"]
    answer = await api.post("/process", json={**GOOD, "promt": "x"})
    assert "did you mean prompt" in answer.json["errors"][0]["message"]


def head_of(api: Api, kind: str, more: str) -> bytes:
    lines = (
        f"POST /api/image-studio/edit/process HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\nContent-Type: {kind}\r\n"
    )
    return f"{lines}{more}\r\n".encode()


async def raw(api: Api, data: bytes, *, half_close: bool = False) -> tuple[int, Any]:
    """Status and problem of an answer to raw bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
    try:
        writer.write(data)
        if half_close:
            await writer.drain()
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        async with asyncio.timeout(10):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length"))
            return int(head.split()[1]), json.loads(await reader.readexactly(length))
    finally:
        writer.close()
