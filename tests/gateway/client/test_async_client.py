"""The client against a server that answers, refuses, hangs up and stays silent."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import MultipartReader, web
from pytest_aiohttp.plugin import AiohttpServer

from gateway.client.api_error import ApiError
from gateway.client.async_client import AsyncClient
from tests.servers import free_port

_API = "/api/image-studio/edit"
_KEY = "es_test"


class Service:
    """What the requests were, and the event streams still to be given."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        self.headers: list[dict[str, str]] = []
        self.job: Any = {"id": "edit_1", "status": "queued"}
        self.streams: list[list[str]] = []
        self.streams_opened = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.post(f"{_API}/process", self.process),
                web.get(f"{_API}/jobs/edit_1", self.get),
                web.get(f"{_API}/jobs/edit_1/events", self.events),
                web.get(f"{_API}/jobs/edit_1/result", self.result),
            ]
        )
        return app

    async def process(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        reader = await request.multipart()
        assert isinstance(reader, MultipartReader)
        while part := await reader.next():
            assert not isinstance(part, MultipartReader)
            self.parts[part.name or ""] = bytes(await part.read())
        return web.json_response(self.job, status=202)

    async def get(self, request: web.Request) -> web.Response:
        return web.json_response(self.job)

    async def events(self, request: web.Request) -> web.StreamResponse:
        self.streams_opened += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for status in self.streams.pop(0):
            await response.write(
                f": comment\nevent: status\nid: 1\ndata: {json.dumps({**self.job, 'status': status})}\n\n".encode()
            )
        return response

    async def result(self, request: web.Request) -> web.Response:
        problem = {"code": "not_finished", "detail": "the edit has not ended yet", "status": 409}
        return web.json_response(problem, status=409, content_type="application/problem+json")


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture
async def base_url(service: Service, aiohttp_server: AiohttpServer) -> str:
    server = await aiohttp_server(service.app())
    return str(server.make_url("/"))


async def test_a_submit_sends_picture_mask_and_wishes_under_a_fresh_key(service: Service, base_url: str, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"picture")
    async with AsyncClient(base_url, _KEY) as client:
        fields: dict[str, Any] = {"metadata": {"order": "7"}, "seed": 1}
        job = await client.submit(tmp_path / "picture.png", operation="erase", mask=b"mask", **fields)
        await client.submit(b"picture", prompt="make it black and white", idempotency_key="mine")
        await client.submit(b"picture", prompt="make it black and white")
    assert job == service.job
    assert (service.parts["image"], service.parts["mask"]) == (b"picture", b"mask")
    assert json.loads(service.parts["request"]) == {"operation": "general_edit", "prompt": "make it black and white"}
    assert {headers["Authorization"] for headers in service.headers} == {f"Bearer {_KEY}"}
    keys = [headers["Idempotency-Key"] for headers in service.headers]
    assert keys[1] == "mine"
    assert len(set(keys)) == 3


async def test_a_wait_tells_every_change_and_ends_with_the_edit(service: Service, base_url: str) -> None:
    service.streams = [["queued", "running", "failed"]]
    course: list[str] = []
    async with AsyncClient(base_url, _KEY) as client:
        job = await client.wait("edit_1", timeout_s=10, on_change=lambda job: course.append(job["status"]))
    assert course == ["queued", "running", "failed"]
    assert job["status"] == "failed"


async def test_a_wait_goes_on_after_the_stream_was_cut(service: Service, base_url: str) -> None:
    service.streams = [["queued"], [], ["running", "succeeded"]]
    async with AsyncClient(base_url, _KEY) as client:
        assert (await client.wait("edit_1", timeout_s=10))["status"] == "succeeded"
    assert service.streams_opened == 3


async def test_a_wait_for_an_ended_edit_needs_no_stream(service: Service, base_url: str) -> None:
    service.job["status"] = "canceled"
    seen: list[str] = []
    async with AsyncClient(base_url, _KEY) as client:
        await client.wait("edit_1", timeout_s=10, on_change=lambda job: seen.append(job["status"]))
    assert (seen, service.streams_opened) == (["canceled"], 0)


async def test_a_wait_that_takes_too_long_says_so(service: Service, base_url: str) -> None:
    service.streams = [["queued"]] * 100
    async with AsyncClient(base_url, _KEY) as client:
        with pytest.raises(TimeoutError):
            await client.wait("edit_1", timeout_s=0.3)


async def test_a_refusal_carries_its_code(base_url: str) -> None:
    async with AsyncClient(base_url, _KEY) as client:
        with pytest.raises(ApiError, match="the edit has not ended yet") as refused:
            await client.result("edit_1")
        assert (refused.value.status, refused.value.code) == (409, "not_finished")
        with pytest.raises(ApiError) as strange:
            await client.job("edit_2")
    assert (strange.value.status, strange.value.code) == (404, "not_a_problem")


async def test_a_service_that_is_not_there_is_told_as_such() -> None:
    async with AsyncClient(f"http://127.0.0.1:{free_port()}", _KEY, away_s=0) as client:
        with pytest.raises(ApiError) as lost:
            await client.job("edit_1")
    assert (lost.value.status, lost.value.code) == (0, "unreachable")
