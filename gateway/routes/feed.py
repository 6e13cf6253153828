"""The tenant's feed: every change of its edits and batches, in order. Its readers miss nothing, whatever became of webhooks."""

import asyncio
import time
from typing import Annotated

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.route import JSON, Call, Query, Reply, Route
from gateway.waiting import LOOK_AGAIN_S, WAIT_MAX_S
from shared.batch import Batch
from shared.batch_view import batch_view
from shared.errors import Gone, NotFound
from shared.job import API_PREFIX, Job, Time, time_of
from shared.store.feed import BEGINNING, FeedEvent

LIMIT_MAX = 1_000
#: With `expand`, what is asked for is fetched and rendered anew for each event.
EXPANDED_MAX = 20
_LATEST = "latest"


class FeedQuery(Query):
    """`after`: `next_cursor` or an event's id; without it from the oldest event that is kept."""

    after: (
        Annotated[
            str,
            StringConstraints(pattern=r"^(latest|\d{1,15}-\d{1,15})$"),
            Field(description="`next_cursor` or an event's id; `latest`: only what is new; left out: from the oldest event kept"),
        ]
        | None
    ) = None
    wait: Annotated[int, Field(ge=0, le=WAIT_MAX_S, description="seconds to wait for an event if there is none")] = 0
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX, description=f"at most {EXPANDED_MAX} with `expand`")] = 100
    expand: Annotated[bool, Field(description="`data`: the edit or the batch as it stands now")] = False


class FeedEntry(BaseModel):
    """Something that happened. `event_id`: the webhook-id under which webhooks tell of it.

    `status`: what the edit or the batch became. `data`: null unless asked for, and once the edit or the batch is gone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    type: str
    event_id: str
    created_at: Time
    edit_id: str | None
    batch_id: str | None
    status: str
    data: Job | Batch | None = None


class FeedPage(BaseModel):
    """Oldest first. `next_cursor`: what `after` has to be for what comes then, also when nothing came yet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    events: tuple[FeedEntry, ...]
    next_cursor: str


async def read(call: Call) -> web.Response:
    """Some events, at once or when there are some."""
    asked: FeedQuery = call.query
    connections = call.connections
    limit = min(asked.limit, EXPANDED_MAX) if asked.expand else asked.limit
    clock = asyncio.get_running_loop().time
    end = clock() + asked.wait
    with connections.changes.watch(f"feed:{call.tenant}") as watch:
        cursor = await connections.feed.latest(call.tenant) if asked.after == _LATEST else asked.after or BEGINNING
        while True:
            found = await connections.feed.after(call.tenant, cursor, limit=limit)
            left_s = end - clock()
            if found or left_s <= 0 or connections.closing.is_set():
                break
            await watch.changed(timeout_s=min(left_s, LOOK_AGAIN_S))
    data = await asyncio.gather(*(_data(event, call) for event in found)) if asked.expand else [None] * len(found)
    entries = tuple(_entry(event, one) for event, one in zip(found, data, strict=True))
    page = FeedPage.model_construct(events=entries, next_cursor=found[-1].cursor if found else cursor)
    return web.Response(body=page.__pydantic_serializer__.to_json(page), headers={hdrs.CONTENT_TYPE: JSON})


async def _data(event: FeedEvent, call: Call) -> Job | Batch | None:
    connections = call.connections
    try:
        if event.about.startswith("edit_"):
            return await connections.view(await connections.jobs.get(call.tenant, event.about), call.request)
        record = await connections.batches.get(call.tenant, event.about)
    except (NotFound, Gone):
        return None
    return batch_view(record, base_url=connections.base_url(call.request), now_ms=int(time.time() * 1000))


def _entry(event: FeedEvent, data: Job | Batch | None) -> FeedEntry:
    is_edit = event.about.startswith("edit_")
    return FeedEntry.model_construct(
        id=event.cursor,
        type=event.kind,
        event_id=event.event_id,
        created_at=time_of(event.created_ms),
        edit_id=event.about if is_edit else None,
        batch_id=None if is_edit else event.about,
        status=event.kind.rpartition(".")[2],
        data=data,
    )


ROUTES = (
    Route(
        "GET",
        f"{API_PREFIX}/events",
        "Follow everything",
        read,
        description=(
            "Every change of the tenant's edits and batches, in order; about the last 100 000 are kept. "
            "After a cursor that is older, 410: look at the edits themselves, then go on with `after=latest`."
        ),
        tag="events",
        query=FeedQuery,
        replies=(Reply(200, "oldest first", FeedPage),),
        errors=(Gone,),
    ),
)
