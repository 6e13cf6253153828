"""What is in a batch: its items, its results, its archive, its course."""

from collections.abc import AsyncGenerator
from typing import Annotated

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.batches.answers import PACE_S, item_json, items_of, view_of
from gateway.batches.archive import archive_of
from gateway.batches.intake import NDJSON
from gateway.route import JSON, Call, Header, Query, Reply, Route
from gateway.server_events import FOLLOW_HEADERS, FOLLOW_REPLIES, Look, follow
from gateway.streaming import stream
from shared.batch import ITEMS_MAX
from shared.errors import StorageUnavailable
from shared.job import API_PREFIX, Job, JobState
from shared.store.batch_record import BatchRecord

_SCANNED_A_PAGE = 2_000
_CHUNK = 100
_EVENTS_PACE_S = 2 * PACE_S
#: What an archive holds of pictures at a time.
_HELD_BYTES = 4 * 1024 * 1024


class ItemsQuery(Query):
    """Which items."""

    status: JobState | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}$")] | None = None


class ItemPage(BaseModel):
    """In the order of the batch. `next_cursor`: what `cursor` has to be for the next page; null when there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: tuple[Job, ...]
    next_cursor: str | None


async def items(call: Call) -> web.Response:
    """Some items. Looks at no more than 2 000: a short page may still have a next."""
    asked: ItemsQuery = call.query
    connections, batch = call.connections, await call.connections.batches.get(call.tenant, call.id)
    found: list[Job] = []
    at = first = int(asked.cursor or 0)
    while at < batch.counts["total"] and at - first < _SCANNED_A_PAGE and len(found) < asked.limit:
        records = await connections.jobs.load(call.tenant, await connections.batches.item_ids(batch.id, start=at, count=_CHUNK))
        for record in records:
            at += 1
            if record is not None and asked.status in (None, record.state):
                found.append(await connections.view(record, call.request))
                if len(found) == asked.limit:
                    break
    page = ItemPage.model_construct(items=tuple(found), next_cursor=str(at) if at < batch.counts["total"] else None)
    return web.Response(body=page.__pydantic_serializer__.to_json(page), headers={hdrs.CONTENT_TYPE: JSON})


async def results(call: Call) -> web.StreamResponse:
    """Every item as it stands."""
    batch = await call.connections.batches.get(call.tenant, call.id)
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: NDJSON}
    return await stream(call, _lines(batch, call), headers=headers)


async def archive(call: Call) -> web.StreamResponse:
    """Every result, and a manifest."""
    batch = await call.connections.batches.get(call.tenant, call.id)
    headers: dict[str, str] = {
        hdrs.CONTENT_TYPE: "application/zip",
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{batch.id}.zip"',
    }
    with call.connections.memory.hold(_HELD_BYTES):
        return await stream(call, archive_of(batch, call), headers=headers)


async def events(call: Call) -> web.StreamResponse:
    """The Batch at once and at its changes, twice a second at most, until it has ended."""

    async def look() -> Look:
        record = await call.connections.batches.get(call.tenant, call.id)

        async def data() -> bytes:
            return view_of(record, call).model_dump_json().encode()

        return Look(record.version, record.finished is not None, data)

    return await follow(call, look, pace_s=_EVENTS_PACE_S)


async def _lines(batch: BatchRecord, call: Call) -> AsyncGenerator[bytes, None]:
    async for chunk in items_of(batch, call):
        yield b"".join([await item_json(item_id, record, call) + b"\n" for _, item_id, record in chunk])


_BATCH = f"{API_PREFIX}/batches/{{id}}"
ROUTES = (
    Route(
        "GET",
        f"{_BATCH}/items",
        "List the items of a batch",
        items,
        tag="batches",
        query=ItemsQuery,
        replies=(Reply(200, "in the order of the batch", ItemPage),),
    ),
    Route(
        "GET",
        f"{_BATCH}/results",
        "Get all results of a batch",
        results,
        description=f"A Job a line, up to {ITEMS_MAX}, as they stand now. Of one that was deleted: its id, and `gone` as status.",
        tag="batches",
        replies=(Reply(200, "the items", content_types=(NDJSON,)),),
    ),
    Route(
        "GET",
        f"{_BATCH}/archive",
        "Get all pictures of a batch",
        archive,
        description="A ZIP of the results so far, and `manifest.json`: for each item its file, id, custom_id, status and error.",
        tag="batches",
        replies=(
            Reply(
                200,
                "the archive",
                content_types=("application/zip",),
                headers=(Header("Content-Disposition", "a name for the file", {"type": "string"}),),
            ),
        ),
        errors=(StorageUnavailable,),
    ),
    Route(
        "GET",
        f"{_BATCH}/events",
        "Follow a batch",
        events,
        description="Server-sent events: `status` with the Batch as data and its version as id; ends with the batch.",
        tag="batches",
        headers=FOLLOW_HEADERS,
        replies=FOLLOW_REPLIES,
    ),
)
