"""Keys, scopes, rates, and the headers and problems that every answer has."""

import json
import logging
from typing import Any

import pytest

from tests.gateway.conftest import Api


@pytest.mark.parametrize("header", [None, "", "Basic abc", "Bearer", "Bearer a b", "Bearer unknown", "Bearer " + "x" * 300])
async def test_without_a_valid_key_nobody_gets_in(api: Api, header: str | None) -> None:
    api.key = ""
    headers = {} if header is None else {"Authorization": header}
    async with api.session.get(f"{api.url}/api/image-studio/edit/jobs", headers=headers) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        assert (await answer.json(content_type=None))["code"] == "unauthorized"


@pytest.mark.parametrize(
    ("scopes", "method", "path", "status"),
    [
        ({"read"}, "GET", "/jobs", 200),
        ({"submit"}, "GET", "/jobs", 403),
        ({"read"}, "POST", "/process", 403),
        ({"read", "submit"}, "GET", "/webhooks/secret", 403),
        ({"admin"}, "GET", "/webhooks/secret", 200),
    ],
)
async def test_a_key_reaches_as_far_as_its_scopes(api: Api, scopes: set[str], method: str, path: str, status: int) -> None:
    headers = await api.key_of("t1", frozenset(scopes))
    assert (await api.call(method, path, headers=headers)).status == status


@pytest.mark.parametrize("gateway_settings", [{"reads_per_minute": 2}], indirect=True)
async def test_a_key_is_limited_and_told_how_far(api: Api) -> None:
    answers = [await api.get("/jobs") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"read";q=2;w=60'
    assert answers[0].headers["RateLimit"].startswith('"read";r=1;t=')
    assert answers[2].json["code"] == "rate_limited"
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
    other = await api.get("/jobs", headers=await api.key_of("t1"))
    assert other.status == 200


async def test_an_unknown_path_and_a_wrong_method_are_problems_too(api: Api) -> None:
    unknown = await api.get("/nothing")
    assert (unknown.status, unknown.json["code"], unknown.headers["Content-Type"]) == (
        404,
        "not_found",
        "application/problem+json",
    )
    wrong = await api.call("PUT", "/process")
    assert (wrong.status, wrong.json["code"], wrong.headers["Allow"]) == (405, "method_not_allowed", "POST")


async def test_what_is_not_http_is_a_problem_too(api: Api) -> None:
    import asyncio

    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
    writer.write(b"GET / HTTP/1.1\r\nbad header\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "bad_request"


async def test_every_answer_is_private_and_has_a_request_id(api: Api) -> None:
    for path in ("/jobs", "/nothing", "//healthz"):
        headers = (await api.get(path)).headers
        assert headers["Cache-Control"] == "private, no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Request-Id"].startswith("req_")


async def test_an_unexpected_fault_leaks_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(type(api.connections.jobs), "page", broken)
    answer = await api.get("/jobs")
    assert (answer.status, answer.json["code"]) == (500, "internal_error")
    assert b"hunter2" not in answer.body
    line = next(record for record in caplog.records if record.exc_info)
    assert answer.json["request_id"] in line.getMessage()
    caplog.clear()


async def test_each_request_is_one_line_without_secrets(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    await api.get("/jobs?model=private-thing", headers={"X-Request-Id": "r-7"})
    (line,) = [record for record in caplog.records if record.name == "gateway.access"]
    fields = {name: getattr(line, name) for name in ("method", "path", "status", "request_id")}
    assert fields == {"method": "GET", "path": "/api/image-studio/edit/jobs", "status": 200, "request_id": "r-7"}
    assert line.levelno == logging.INFO
    assert not {"private-thing", api.key} & {str(value) for value in line.__dict__.values()}


async def test_requests_are_counted_by_route_method_and_status(api: Api) -> None:
    await api.get("/jobs/edit_" + "0" * 26)
    await api.get("/no/such/path")
    text = (await api.get("//metrics")).body.decode()
    labels = 'method="GET",route="/api/image-studio/edit/jobs/{id}",status="404"'
    assert f"edit_studio_http_request_duration_seconds_count{{{labels}}} 1.0\n" in text
    assert 'route="unmatched",status="404"' in text
    assert "edit_studio_edits_unfinished 0.0\n" in text


@pytest.mark.parametrize("gateway_settings", [{"cors_origins": ["https://app.example"]}], indirect=True)
async def test_named_origins_may_call_from_a_browser(api: Api) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    preflight = await api.call("OPTIONS", "/process", headers=asked)
    assert (preflight.status, preflight.headers["Access-Control-Allow-Origin"]) == (204, "https://app.example")
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    answer = await api.get("/jobs", headers={"Origin": "https://app.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Access-Control-Allow-Origin" not in (await api.get("/jobs", headers={"Origin": "https://other.example"})).headers


async def test_browsers_elsewhere_are_not_let_in(api: Api) -> None:
    answer = await api.get("/jobs", headers={"Origin": "https://app.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert (await api.call("OPTIONS", "/process")).status == 405
