"""A worker that does nothing but end edits, each with a result of its own or with a failure."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from typing import Any

from shared.job import Course, JobFailure, JobRecord, JobState, StoredOutput
from tests.gateway.conftest import Api

_LOOK_S = 0.01


def result_of(record: JobRecord) -> bytes:
    return f"the result of {record.spec.custom_id}".encode()


async def work(api: Api, most: int = 100, *, failing: str = "", result: bytes = b"") -> int:
    """Do a worker's part for some edits; how many that were. `failing`: the custom_id or prompt of those that fail."""
    records = await api.leases.take("w1", nonce=os.urandom(8).hex(), want=most, providers=("local",))
    for record in records:
        state, data = JobState.SUCCEEDED, result or result_of(record)
        if failing and failing in (record.spec.custom_id, record.spec.prompt):
            failure = JobFailure(code="bad_output", message="no", retryable=False, by="provider", stage="editing", billed=False)
            state, course = JobState.FAILED, Course(error=failure)
        else:
            key, digest = f"out/t1/{record.id}/{record.gen}/0.png", hashlib.sha256(data).hexdigest()
            await api.connections.storage.put(key, data, content_type="image/png")
            output = StoredOutput(key=key, width=60, height=40, format="png", bytes=len(data), sha256=digest)
            course = Course(model="local-adjust", output=output)
        assert await api.leases.finish(record, state, course, cost_micro_usd=1_000)
    await api.connections.batches.step()
    return len(records)


@contextlib.asynccontextmanager
async def working(api: Api, **options: Any) -> AsyncIterator[None]:
    """A worker for as long as it is needed."""

    async def loop() -> None:
        while True:
            await work(api, **options)
            await asyncio.sleep(_LOOK_S)

    task = asyncio.create_task(loop())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
