"""What a test of batches does: sends them, does their workers' part, looks at what is there."""

import io
import json
import os
from collections.abc import Iterable
from typing import Any

import aiohttp

from shared.job import Course, JobFailure, JobState, StoredOutput
from shared.picture import content_type
from tests.gateway.conftest import Answer, Api
from tests.pictures import samples

PNG = samples()["png"]
URL = "https://example.com/a.png"
LINES = {"Content-Type": "application/x-ndjson"}


def ndjson(items: Iterable[Any], **fields: Any) -> bytes:
    """Lines; the first one has the batch's fields if there are any."""
    head = [{"defaults": {}, **fields}] if fields else []
    return b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in [*head, *items])


async def send(api: Api, items: Iterable[Any], *, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    return await api.post("/batches", data=io.BytesIO(ndjson(items, **fields)), headers={**LINES, **(headers or {})})


async def accepted(api: Api, items: Iterable[Any], **fields: Any) -> dict[str, Any]:
    answer = await send(api, items, **fields)
    assert answer.status == 202, answer.json
    assert answer.headers["Location"] == answer.json["urls"]["self"]
    batch: dict[str, Any] = answer.json
    return batch


async def results_of(api: Api, batch_id: str) -> list[dict[str, Any]]:
    answer = await api.get(f"/batches/{batch_id}/results")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.body.splitlines()]


async def nothing_left(api: Api) -> None:
    """A refused batch leaves no edit, no batch, no picture and no reservation."""
    redis = api.connections.jobs._scripts.redis
    assert await redis.keys("job:*") == await redis.keys("batch:*") == await redis.keys("tbatches:*") == []
    assert await redis.zcard("tjobs:t1") == await redis.zcard("timers") == 0
    assert await api.connections.storage.keys_under("") == []


async def take(api: Api, want: int = 100) -> list[Any]:
    """At most so many edits, as a worker for the free provider takes them."""
    return await api.leases.take("w1", nonce=os.urandom(8).hex(), want=want, providers=("local",))


async def end(api: Api, records: list[Any], state: JobState = JobState.SUCCEEDED, data: bytes = PNG) -> None:
    """Do a worker's part: each edit ends, with `data` as its stored result."""
    for record in records:
        course = Course()
        if state is JobState.SUCCEEDED:
            key = f"out/t1/{record.id}/{record.gen}/0.png"
            await api.connections.storage.put(key, data, content_type=content_type("png"))
            course = Course(output=StoredOutput(key=key, width=120, height=80, format="png", bytes=len(data), sha256="ab" * 32))
        if state is JobState.FAILED:
            failure = JobFailure(code="bad_output", message="no", retryable=False, by="provider", stage="editing", billed=False)
            course = Course(error=failure)
        assert await api.leases.finish(record, state, course)


def form_with(manifest: bytes | None, **files: bytes) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for name, data in files.items():
        form.add_field("files", data, filename=name, content_type="image/png")
    if manifest is not None:
        form.add_field("manifest", manifest, filename="m", content_type="application/octet-stream")
    return form
