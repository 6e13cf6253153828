"""The failed items of a batch as a new batch."""

import asyncio
import hashlib
import logging
import os
import time

from gateway.batches.lease import leased
from gateway.batches.staging import ItemIds
from gateway.fields import refusal
from gateway.idempotency import hashed_key
from gateway.problems import REQUEST_ID
from gateway.route import Call
from shared.batch import ITEM_DEADLINE_S
from shared.errors import EditStudioError, IdempotencyMismatch
from shared.estimate import estimate_micro_usd, likely_model
from shared.ids import new_id
from shared.job import JobRecord, JobState
from shared.queue import lane_of_model
from shared.store.batch_record import BatchRecord
from shared.store.batches import NewBatch, NewItem
from shared.turns import Turns

_CHUNK = 200
_log = logging.getLogger(__name__)


async def retry_failed(call: Call, parent: BatchRecord) -> tuple[BatchRecord, bool]:
    """The new batch, and whether an earlier request with the same Idempotency-Key made it.

    Items that were broken when they were sent stay what they are: there is nothing to be done again.

    Raises:
        ValidationFailed: no item failed that could be done again.
        BudgetExceeded, QueueFull, Overloaded, StoreUnavailable.
    """
    batches = call.connections.batches
    batch_id = new_id("batch", now_ms=int(time.time() * 1000), random_bytes=os.urandom(10))
    fingerprint = hashlib.sha256(f"{call.request.method} {call.request.path}".encode()).hexdigest()
    child = NewBatch(
        id=batch_id,
        tenant=call.tenant,
        name=parent.name,
        metadata=parent.metadata,
        max_micro_usd=None if parent.max_micro_usd is None else max(0, parent.max_micro_usd - parent.spent_micro_usd),
        stop_rate=parent.stop_rate,
        webhook_url=parent.webhook_url,
        webhook_events=parent.webhook_events,
        parent=parent.id,
        bulk=parent.bulk,
    )
    opened = await batches.open(child, idempotency_key=hashed_key(call.request))
    if opened.earlier is not None:
        if opened.earlier[1] != fingerprint:
            raise IdempotencyMismatch("this Idempotency-Key was used for another request; use a new key for a new request")
        return await batches.get(call.tenant, opened.earlier[0]), True
    try:
        async with leased(batches, batch_id):
            if not await _stage(call, parent, batch_id):
                raise refusal("", "invalid_value", "no item of this batch failed that could be done again")
    except BaseException:
        await asyncio.shield(_give_up(call, batch_id))
        raise
    await batches.commit(batch_id, fingerprint=fingerprint)
    return await batches.get(call.tenant, batch_id), False


async def _stage(call: Call, parent: BatchRecord, batch_id: str) -> int:
    """Stage what failed; answers how many items that are."""
    batches, jobs = call.connections.batches, call.connections.jobs
    ids, turns, count = ItemIds(now_ms=int(time.time() * 1000), random_bytes=os.urandom(10)), Turns(), 0
    seen = await jobs.providers_seen()
    for start in range(0, parent.counts["total"], _CHUNK):
        records = await jobs.load(call.tenant, await batches.item_ids(parent.id, start=start, count=_CHUNK))
        items: list[NewItem] = []
        for record in records:
            if record is not None and record.state is JobState.FAILED and record.spec.inputs:
                items.append(_item(call, record, ids.of(count + len(items)), seen))
            await turns.give()
        if items:
            await batches.stage(
                batch_id,
                items,
                first_index=count,
                bulk=parent.bulk,
                request_id=call.request[REQUEST_ID],
                key_id=call.key.id,
            )
        count += len(items)
    return count


def _item(call: Call, record: JobRecord, item_id: str, seen: tuple[str, ...]) -> NewItem:
    spec, catalog = record.spec, call.connections.catalog
    info, model = spec.image.info, likely_model(spec, catalog, seen)
    micro_usd = estimate_micro_usd(spec, model, info.upright_size if info else None)
    return NewItem(item_id, lane_of_model(model, catalog), spec, spec.deadline_s or ITEM_DEADLINE_S, reserved_micro_usd=micro_usd)


async def _give_up(call: Call, batch_id: str) -> None:
    try:
        await call.connections.batches.abandon(call.tenant, batch_id)
    except EditStudioError as error:
        _log.warning("a refused batch was not cleared away", extra={"batch_id": batch_id, "error": str(error)})
