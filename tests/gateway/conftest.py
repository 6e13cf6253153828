"""A gateway that really listens, on a redis-server and an S3 server, and a session that calls it."""

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from gateway.app import create_app
from gateway.connections import CONNECTIONS, Connections
from gateway.serve import Listener
from shared.job import API_PREFIX, Course, JobRecord, JobState, StoredOutput
from shared.settings import Settings
from shared.store.leases import Leases
from tests.conftest import take_one
from tests.servers import RedisServer, S3Server

SCOPES = frozenset({"read", "submit", "admin"})
_JSON = ("application/json", "application/problem+json")


@dataclass(repr=False)  # asyncio tells what a fixture's task gave, and in all this there is a catalogue to tell.
class Api:
    """The gateway as its callers reach it; `headers` hold the key of tenant t1."""

    url: str
    key: str
    connections: Connections
    leases: Leases
    session: aiohttp.ClientSession

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def call(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **kwargs: Any) -> "Answer":
        """One request below the API's prefix, or anywhere for a path that begins with `//`."""
        where = path[1:] if path.startswith("//") else API_PREFIX + path
        all_headers = {**self.headers, **(headers or {})}
        async with self.session.request(method, self.url + where, headers=all_headers, allow_redirects=False, **kwargs) as answer:
            body = await answer.read()
            document = await answer.json(content_type=None) if answer.content_type in _JSON else {}
            return Answer(answer.status, answer.headers.copy(), body, document)

    async def get(self, path: str, **kwargs: Any) -> "Answer":
        return await self.call("GET", path, **kwargs)

    async def post(self, path: str, **kwargs: Any) -> "Answer":
        return await self.call("POST", path, **kwargs)

    async def key_of(self, tenant: str, scopes: frozenset[str] = SCOPES) -> dict[str, str]:
        """Headers with a new key."""
        key, _ = await self.connections.tenants.create_key(tenant, tier="pro", scopes=scopes, name="test")
        return {"Authorization": f"Bearer {key}"}

    async def finish(self, job_id: str, data: bytes = b"", *, state: JobState = JobState.SUCCEEDED) -> JobRecord:
        """Do a worker's part: take the edit and end it, with `data` as its stored result."""
        record = await take_one(self.leases)
        assert record.id == job_id
        output = None
        if state is JobState.SUCCEEDED:
            key = f"out/t1/{job_id}/{record.gen}/0.png"
            await self.connections.storage.put(key, data, content_type="image/png")
            thumbnail = key.replace("0.png", "thumb-320.webp")
            await self.connections.storage.put(thumbnail, b"RIFF-thumbnail", content_type="image/webp")
            output = StoredOutput(
                key=key, width=120, height=80, format="png", bytes=len(data), sha256="ab" * 32, thumbnails={"320": thumbnail}
            )
        assert await self.leases.finish(record, state, Course(output=output))
        return record

    async def stored(self) -> tuple[list[str], int]:
        """Keys in the bucket, and how many edits there are."""
        page = await self.connections.jobs.page("t1", limit=100)
        return await self.connections.storage.keys_under(""), len(page.records)


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any


@pytest.fixture
def gateway_settings(
    redis_server: RedisServer, s3_server: S3Server, make_settings: Callable[..., Settings], request: pytest.FixtureRequest
) -> Settings:
    """Override fields with `@pytest.mark.parametrize("gateway_overrides", [{…}])`."""
    overrides = getattr(request, "param", {})
    bucket = f"test-{os.urandom(6).hex()}"
    defaults: dict[str, Any] = {**redis_server.settings, **s3_server.settings, "s3_bucket": bucket, "allow_volatile_redis": True}
    return make_settings(**{**defaults, **overrides})


@pytest.fixture
def no_access_log(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of lines about requests would take longer than the requests."""
    for name in ("gateway.access", "aiohttp.access"):
        caplog.set_level(logging.WARNING, logger=name)


@pytest.fixture
async def api(gateway_settings: Settings, caplog: pytest.LogCaptureFixture, real_redis: Any) -> AsyncIterator[Api]:
    caplog.set_level(logging.INFO)
    app = create_app(gateway_settings)
    listener = Listener(app, host="127.0.0.1", port=0)
    url = await listener.start()
    connections = app[CONNECTIONS]
    key, _ = await connections.tenants.create_key("t1", tier="pro", scopes=SCOPES, name="test")
    leases = Leases(connections.jobs._scripts, gateway_settings)
    async with aiohttp.ClientSession() as session:
        yield Api(url, key, connections, leases, session)
    await listener.stop()
    # `caplog.records` are those of the teardown by now.
    logged = [*caplog.get_records("setup"), *caplog.get_records("call")]
    assert not [line.getMessage() for line in logged if line.name == "gateway.problems" and line.levelno >= logging.ERROR]
