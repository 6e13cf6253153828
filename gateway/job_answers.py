"""How an edit is answered: the Job, its entity tag, and the pictures in base64 that the first synchronous endpoint gave."""

import asyncio
import time
from typing import Annotated, Literal

import pybase64
from aiohttp import hdrs, web
from pydantic import Field

from gateway.connections import Connections
from gateway.route import JSON, Header
from shared.errors import StorageUnavailable
from shared.job import Job, JobRecord, JobState
from shared.picture import content_type
from shared.storage import ObjectMissing

JOB_HEADERS = (Header("ETag", "weak tag of this state of the edit", {"type": "string"}),)


class FinishedJob(Job):
    """A finished edit. The fields from `success` on are there if it was asked for with `response_format: "b64"`."""

    success: Literal[True] | None = None
    image_base64: Annotated[str, Field(description="data URI")] | None = None
    width: int | None = None
    height: int | None = None


def etag_of(record: JobRecord, *, link_life_s: int) -> str:
    """Changes with every visible change, and before a link to the result has run out."""
    if record.state is not JobState.SUCCEEDED:
        return f'W/"{record.version}"'
    return f'W/"{record.version}.{int(time.time() / (link_life_s / 4))}"'


async def job_response(
    record: JobRecord, request: web.Request, connections: Connections, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """The Job as an answer."""
    job = await connections.view(record, request)
    return web.Response(
        status=status,
        body=job.__pydantic_serializer__.to_json(job),
        headers={
            hdrs.CONTENT_TYPE: JSON,
            hdrs.ETAG: etag_of(record, link_life_s=connections.settings.link_life_s),
            **(headers or {}),
        },
    )


async def picture_response(
    record: JobRecord, request: web.Request, connections: Connections, *, headers: dict[str, str]
) -> web.Response:
    """The finished edit with its picture in the answer. Raises StorageUnavailable, Overloaded."""
    job = await connections.view(record, request)
    stored = record.course.output
    if stored is None:
        return await job_response(record, request, connections, headers=headers)
    with connections.memory.hold(3 * stored.bytes):
        try:
            data = await connections.storage.get(stored.key)
        except ObjectMissing:
            raise StorageUnavailable("the result is not in storage") from None
        body = await asyncio.to_thread(_with_picture, job, data, stored.format, stored.width, stored.height)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: JSON, **headers})


def _with_picture(job: Job, data: bytes, picture_format: str, width: int, height: int) -> bytes:
    """The JSON of a FinishedJob. The picture goes in as bytes: it needs no escapes and should not be copied twice more."""
    head = job.__pydantic_serializer__.to_json(job)
    start = f',"success":true,"width":{width},"height":{height},"image_base64":"data:{content_type(picture_format)};base64,'
    return b"".join((head[:-1], start.encode(), pybase64.b64encode(data), b'"}'))
