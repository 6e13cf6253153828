"""The client's calls for batches against a service that is busy, away or sends something else."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from gateway.client.api_error import ApiError
from gateway.client.async_client import AsyncClient
from tests.servers import free_port

_API = "/api/image-studio/edit"


class Service:
    """Answers from `answers` (status, Retry-After, or cutting the connection for 0) before it does what it is asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.asked: list[tuple[str, bytes, dict[str, str]]] = []
        self.result = b"a result"

    async def take(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix(_API)
        self.asked.append((f"{request.method} {path}", await request.read(), dict(request.headers)))
        status, retry_after = self.answers.pop(0) if self.answers else (200, "")
        if not status:
            assert request.transport is not None
            request.transport.abort()
        if status >= 400:
            problem = {"code": "rate_limited" if status == 429 else "other", "detail": "not now"}
            headers = {"Retry-After": retry_after} if retry_after else {}
            return web.json_response(problem, status=status, headers=headers, content_type="application/problem+json")
        if path.endswith("/result"):
            return web.Response(body=self.result)
        return web.json_response({"id": "upl_1", "image_id": "upl_1"})

    @property
    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture
async def client(service: Service, aiohttp_server: AiohttpServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("gateway.client.connection._PAUSE_S", 0.001)
    monkeypatch.setattr("gateway.client.connection._PAUSE_MAX_S", 0.002)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", service.take)
    server = await aiohttp_server(app)
    async with AsyncClient(str(server.make_url("/")), "es_test") as made:
        yield made


async def test_an_upload_is_sent_again_whole_when_the_service_was_busy_or_away(
    service: Service, client: AsyncClient, tmp_path: Path
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"x" * 300_000)
    service.answers = [(429, ""), (200, ""), (503, ""), (0, ""), (502, "")]
    assert (await client.upload(file))["image_id"] == "upl_1"
    assert service.paths == ["POST /uploads"] * 2 + ["PUT /uploads/upl_1/content"] * 4
    assert {body for path, body, _ in service.asked if path.startswith("PUT")} == {file.read_bytes()}


async def test_the_service_says_when_it_wants_to_be_asked_again(
    service: Service, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_busy_s", 60.0)
    service.answers = [(429, "61")]
    with pytest.raises(ApiError) as refused:
        await client.batch("batch_1")
    assert (refused.value.code, refused.value.retry_after_s) == ("rate_limited", 61.0)
    assert len(service.asked) == 1, "it would be longer than anybody waits"
    service.answers = [(503, "1")]
    assert (await client.batch("batch_1"))["id"] == "upl_1"


async def test_repeating_has_an_end(service: Service, client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_busy_s", 0.02)
    service.answers = [(503, "")] * 100
    with pytest.raises(ApiError) as refused:
        await client.cancel_batch("batch_1")
    assert refused.value.status == 503
    assert 2 < len(service.asked) < 22


@pytest.mark.parametrize("status", [401, 402, 404, 422, 500])
async def test_a_refusal_is_not_repeated(service: Service, client: AsyncClient, status: int) -> None:
    service.answers = [(status, "")]
    with pytest.raises(ApiError) as refused:
        await client.release_batch("batch_1", max_cost=2.0)
    assert refused.value.status == status
    assert [body for _, body, _ in service.asked] == [b'{"max_cost": 2.0}']


async def test_a_batch_is_repeated_under_its_own_key(service: Service, client: AsyncClient) -> None:
    service.answers = [(0, ""), (503, "")]
    await client.submit_batch(({"custom_id": str(n)} for n in range(2)), idempotency_key="k", max_cost=1.5)
    assert {headers["Idempotency-Key"] for _, _, headers in service.asked} == {"k"}
    (body,) = {body for _, body, _ in service.asked}
    lines = [json.loads(line) for line in body.splitlines()]
    assert lines == [{"defaults": {}, "max_cost": 1.5}, {"custom_id": "0"}, {"custom_id": "1"}]
    await client.submit_batch([{}])
    await client.submit_batch([{}])
    assert len({headers["Idempotency-Key"] for _, _, headers in service.asked}) == 3, "each call without a key is a batch"


async def test_a_result_is_saved_whole_or_not_at_all(
    service: Service, client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job: Any = {"id": "edit_1", "output": {"sha256": hashlib.sha256(service.result).hexdigest()}}
    service.answers = [(0, "")]
    await client.save_result(job, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"a result"
    monkeypatch.setattr(client, "_away_s", 0.0)
    service.result = b"half a re"
    with pytest.raises(ApiError) as refused:
        await client.save_result(job, tmp_path / "b.png")
    assert refused.value.code == "damaged"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


async def test_nobody_there_is_told_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.client.connection._PAUSE_S", 0.001)
    async with AsyncClient(f"http://127.0.0.1:{free_port()}", "es_test", away_s=0.02) as client:
        with pytest.raises(ApiError) as refused:
            await client.batch_items("batch_1")
    assert (refused.value.status, refused.value.code) == (0, "unreachable")
