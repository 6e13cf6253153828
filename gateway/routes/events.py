"""An edit's course as server-sent events."""

import asyncio

from aiohttp import hdrs, web

from gateway.route import Call, Header, Reply, Route
from shared.errors import Gone
from shared.job import API_PREFIX, JobRecord

_HEARTBEAT_S = 15.0
#: News of a change may be lost; the record is read again after this long.
_LOOK_AGAIN_S = 2.0
#: A reader that takes nothing for this long is cut off.
_WRITE_S = 30.0


async def events(call: Call) -> web.StreamResponse:
    """The Job at once and at every change, until the edit has ended.

    Source: WHATWG HTML, server-sent events; a 204 tells an EventSource not to come back.
    """
    connections = call.connections
    seen = _version_of(call.request.headers.get("Last-Event-ID", ""))
    with connections.changes.watch(call.id) as watch:
        record = await connections.jobs.get(call.tenant, call.id)
        if record.state.terminal and record.version == seen:
            return web.Response(status=204)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "private, no-store"})
        await response.prepare(call.request)
        clock = asyncio.get_running_loop().time
        wrote_at = clock()
        while True:
            if record.version != seen:
                seen, wrote_at = record.version, clock()
                await _write(response, await _event(record, call))
            elif clock() - wrote_at >= _HEARTBEAT_S:
                wrote_at = clock()
                await _write(response, b": still here\n\n")
            if record.state.terminal or connections.closing.is_set():
                await response.write_eof()
                return response
            await watch.changed(timeout_s=_LOOK_AGAIN_S)
            record = await connections.jobs.get(call.tenant, call.id)


async def _event(record: JobRecord, call: Call) -> bytes:
    job = await call.connections.view(record, call.request)
    return b"event: status\nid: %d\ndata: %s\n\n" % (record.version, job.__pydantic_serializer__.to_json(job))


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Raises ConnectionError for a reader that is gone or stuck."""
    try:
        async with asyncio.timeout(_WRITE_S):
            await response.write(data)
    except TimeoutError:
        raise ConnectionAbortedError("the reader takes nothing") from None


def _version_of(last_event_id: str) -> int | None:
    return int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19 else None


ROUTES = (
    Route(
        "GET",
        f"{API_PREFIX}/jobs/{{id}}/events",
        "Follow an edit",
        events,
        description="Server-sent events: `status` with the Job as data and its version as id; ends with the edit.",
        headers=(Header("Last-Event-ID", "the id of the last event that the caller has", {"type": "string"}),),
        replies=(
            Reply(200, "a stream of events", content_types=("text/event-stream",)),
            Reply(204, "the caller has the last event"),
        ),
        errors=(Gone,),
    ),
)
