"""How an edit is answered: the Job, its entity tag, and the pictures in base64 that the first synchronous endpoint gave."""

import asyncio
import time
from typing import Annotated, Literal

import pybase64
from aiohttp import hdrs, web
from pydantic import Field

from gateway.connections import Connections, Rendered
from gateway.route import JSON, Header
from shared.errors import StorageUnavailable
from shared.job import Job, JobRecord
from shared.picture import content_type
from shared.storage import ObjectMissing

JOB_HEADERS = (Header("ETag", "weak tag of this state of the edit", {"type": "string"}),)


class FinishedJob(Job):
    """A finished edit. The fields from `success` on are there if it was asked for with `response_format: "b64"`."""

    success: Literal[True] | None = None
    image_base64: Annotated[str, Field(description="data URI")] | None = None
    width: int | None = None
    height: int | None = None


async def render(record: JobRecord, request: web.Request, connections: Connections) -> Rendered:
    """The Job's bytes, and its tag, which changes with every visible change and when a link in it was renewed."""
    position = await connections.jobs.queue_position(record)
    job = await connections.view(record, request, queue_position=position)
    life_s = connections.settings.link_life_s / 4
    now = time.monotonic()
    tag = f"{record.version}.{int(now / life_s)}" if job.output is not None else f"{record.version}"
    if position is not None:
        tag = f"{tag}.{position}"
    body: bytes = job.__pydantic_serializer__.to_json(job)
    rendered = Rendered(record.version, connections.base_url(request), now + life_s, f'W/"{tag}"', body)
    if position is None:
        # A place in the queue changes without a change of the record.
        connections.rendered.keep(record.id, rendered)
    return rendered


def job_response(rendered: Rendered, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """The Job as an answer."""
    return web.Response(
        status=status,
        body=rendered.body,
        headers={hdrs.CONTENT_TYPE: JSON, hdrs.ETAG: rendered.etag, **(headers or {})},
    )


async def picture_response(
    record: JobRecord, request: web.Request, connections: Connections, *, headers: dict[str, str]
) -> web.Response:
    """The finished edit with its picture in the answer. Raises StorageUnavailable, Overloaded."""
    job = await connections.view(record, request)
    stored = record.course.output
    if stored is None:
        return job_response(await render(record, request, connections), headers=headers)
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
