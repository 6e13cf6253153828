"""The course of something as server-sent events: as it is on connect, and at every change until it has ended."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import hdrs, web

from gateway.route import Call, Header, Reply
from gateway.streaming import send_piece

_HEARTBEAT_S = 15.0
#: News of a change may be lost; what is followed is read again after this long.
_LOOK_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """Something as it stands. `version`: grows with every change; `data`: makes its JSON."""

    version: int
    has_ended: bool
    data: Callable[[], Awaitable[bytes]]


async def follow(call: Call, look: Callable[[], Awaitable[Look]], *, pace_s: float = 0.0) -> web.StreamResponse:
    """`status` events with what `look` finds, at most one in `pace_s`. Raises what the first `look` raises.

    Source: WHATWG HTML, server-sent events; a 204 tells an EventSource not to come back.
    """
    connections = call.connections
    seen = _version_of(call.request.headers.get("Last-Event-ID", ""))
    with connections.changes.watch(call.id) as watch:
        found = await look()
        if found.has_ended and found.version == seen:
            return web.Response(status=204)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "private, no-store"})
        await response.prepare(call.request)
        clock = asyncio.get_running_loop().time
        wrote_at = clock()
        while True:
            if found.version != seen:
                seen, wrote_at = found.version, clock()
                await send_piece(response, b"event: status\nid: %d\ndata: %s\n\n" % (found.version, await found.data()))
            elif clock() - wrote_at >= _HEARTBEAT_S:
                wrote_at = clock()
                await send_piece(response, b": still here\n\n")
            if found.has_ended or connections.closing.is_set():
                await response.write_eof()
                return response
            await watch.changed(timeout_s=_LOOK_AGAIN_S)
            if (early_s := wrote_at + pace_s - clock()) > 0:
                await asyncio.sleep(early_s)
            found = await look()


def _version_of(last_event_id: str) -> int | None:
    return int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19 else None


FOLLOW_HEADERS = (Header("Last-Event-ID", "the id of the last event that the caller has", {"type": "string"}),)
FOLLOW_REPLIES = (
    Reply(200, "a stream of events", content_types=("text/event-stream",)),
    Reply(204, "the caller has the last event"),
)
