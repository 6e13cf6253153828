"""An edit's course as server-sent events."""

from aiohttp import web

from gateway.route import Call, Route
from gateway.server_events import FOLLOW_HEADERS, FOLLOW_REPLIES, Look, follow
from shared.errors import Gone
from shared.job import API_PREFIX


async def events(call: Call) -> web.StreamResponse:
    """The Job at once and at every change, until the edit has ended."""

    async def look() -> Look:
        record = await call.connections.jobs.get(call.tenant, call.id)

        async def data() -> bytes:
            job = await call.connections.view(record, call.request)
            return job.__pydantic_serializer__.to_json(job)

        return Look(record.version, record.state.terminal, data)

    return await follow(call, look)


ROUTES = (
    Route(
        "GET",
        f"{API_PREFIX}/jobs/{{id}}/events",
        "Follow an edit",
        events,
        description="Server-sent events: `status` with the Job as data and its version as id; ends with the edit.",
        headers=FOLLOW_HEADERS,
        replies=FOLLOW_REPLIES,
        errors=(Gone,),
    ),
)
