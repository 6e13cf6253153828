"""How batches are answered: one, waited for, and their items one after another."""

import asyncio
import time
from collections.abc import AsyncIterator

from aiohttp import hdrs, web

from gateway.connections import Connections
from gateway.route import JSON, Call
from gateway.waiting import LOOK_AGAIN_S
from shared.batch import Batch, GoneItem
from shared.batch_view import batch_view
from shared.job import JobRecord
from shared.store.batch_record import BatchRecord

#: Items are loaded and shown so many at a time: a few milliseconds of the loop.
_CHUNK = 32
#: Every item's end is news of its batch; it is looked at no more often than this.
PACE_S = 0.25


def view_of(record: BatchRecord, call: Call) -> Batch:
    """The Batch of a record, now."""
    return batch_view(record, base_url=call.connections.base_url(call.request), now_ms=int(time.time() * 1000))


def batch_response(record: BatchRecord, call: Call, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """The Batch as an answer."""
    body = view_of(record, call).model_dump_json()
    return web.Response(status=status, text=body, headers={hdrs.CONTENT_TYPE: JSON, **(headers or {})})


async def wait_for_batch(record: BatchRecord, wait_s: float, connections: Connections) -> BatchRecord:
    """The record once the batch has ended or waits for its owner, or as it stands after `wait_s`. Raises like `Batches.get`."""
    if wait_s <= 0:
        return record
    clock = asyncio.get_running_loop().time
    end = clock() + wait_s
    with connections.changes.watch(record.id) as watch:
        while True:
            record = await connections.batches.get(record.tenant, record.id)
            left_s = end - clock()
            if record.finished or record.state == "held" or left_s <= 0 or connections.closing.is_set():
                return record
            await watch.changed(timeout_s=min(left_s, LOOK_AGAIN_S))
            await asyncio.sleep(min(PACE_S, left_s))


async def items_of(batch: BatchRecord, call: Call) -> AsyncIterator[list[tuple[int, str, JobRecord | None]]]:
    """The items of a batch as they stand, in order, some at a time: index, id and record. None for one that is gone."""
    for start in range(0, batch.counts["total"], _CHUNK):
        ids = await call.connections.batches.item_ids(batch.id, start=start, count=_CHUNK)
        records = await call.connections.jobs.load(call.tenant, ids)
        yield [(start + n, item_id, record) for n, (item_id, record) in enumerate(zip(ids, records, strict=True))]


async def item_json(item_id: str, record: JobRecord | None, call: Call) -> bytes:
    """The Job of an item."""
    if record is None:
        return GoneItem(id=item_id).model_dump_json().encode()
    job = await call.connections.view(record, call.request)
    return job.__pydantic_serializer__.to_json(job)
