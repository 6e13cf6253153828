"""`n` edits of one request: submitted as one edit or as a small batch, and waited for."""

import asyncio
import logging
import os
import time
from collections.abc import Sequence

from gateway.batches.expand import new_batch
from gateway.batches.staging import CLEARING_S, ItemIds
from gateway.idempotency import idempotency_of
from gateway.intake import Submission
from gateway.openai.wishes import N_MAX
from gateway.pictures import store_pictures
from gateway.problems import REQUEST_ID
from gateway.route import Call
from gateway.rules import spec_of
from gateway.submitting import submit
from gateway.waiting import wait_for_end
from shared.batch import BatchFields
from shared.errors import Canceled, EditStudioError, IdempotencyMismatch, StillRunning, error_classes
from shared.estimate import estimate_micro_usd, likely_model
from shared.ids import new_id
from shared.job import JobRecord, JobState
from shared.job_view import failure_of
from shared.queue import lane_of_model
from shared.store.batches import NewItem

#: A request is held a little less long than OpenAI's clients wait for an answer, 600 s.
HOLD_S = 590.0
_log = logging.getLogger(__name__)


async def submit_edits(call: Call, submission: Submission, *, n: int) -> Sequence[JobRecord]:
    """The accepted edits. `n` of them are promised all together or not at all: as a batch. Raises like `submit`."""
    if n == 1:
        return [(await submit(call, submission.options, submission.pictures)).record]
    connections = call.connections
    now_ms, random_bytes = int(time.time() * 1000), os.urandom(10)
    batch_id = new_id("batch", now_ms=now_ms, random_bytes=random_bytes)
    idempotency = idempotency_of(call.request, submission.options, [*submission.identities, ("n", str(n))])
    batch = new_batch(batch_id, call.tenant, BatchFields(priority="interactive"))
    opened = await connections.batches.open(batch, idempotency_key=idempotency.key if idempotency else "")
    if opened.earlier is not None and idempotency is not None:
        if opened.earlier[1] != idempotency.fingerprint:
            raise IdempotencyMismatch("this Idempotency-Key was used for another request; use a new key for a new request")
        return await _items(call, opened.earlier[0])
    try:
        refs = await store_pictures(submission.pictures, tenant=call.tenant, job_id=batch_id, connections=connections)
        spec = spec_of(submission.options, refs, user_tier=call.key.tier)
        model = likely_model(spec, connections.catalog, await connections.jobs.providers_seen())
        size = spec.image.info.upright_size if spec.image.info is not None else None
        lane, micro_usd = lane_of_model(model, connections.catalog), estimate_micro_usd(spec, model, size)
        ids = ItemIds(now_ms=now_ms, random_bytes=random_bytes)
        deadline_s = submission.options.deadline_s or connections.settings.deadline_s
        items = [NewItem(ids.of(index), lane, spec, deadline_s, reserved_micro_usd=micro_usd) for index in range(n)]
        await connections.batches.stage(
            batch_id, items, first_index=0, bulk=False, request_id=call.request[REQUEST_ID], key_id=call.key.id
        )
    except BaseException:
        await asyncio.shield(_give_up(call, batch_id))
        raise
    await connections.batches.commit(batch_id, fingerprint=idempotency.fingerprint if idempotency else "")
    return await _items(call, batch_id)


async def wait_for_all(call: Call, records: Sequence[JobRecord]) -> Sequence[JobRecord]:
    """The edits when they have ended. Raises StillRunning when the request cannot be held any longer."""
    until = time.monotonic() + HOLD_S
    ended = [await wait_for_end(record, until - time.monotonic(), call.connections) for record in records]
    if not all(record.state.terminal for record in ended):
        raise StillRunning("the edit has not ended yet; repeat the request as a retry, and it is waited for", retry_after_s=1)
    return ended


def error_of(record: JobRecord) -> EditStudioError | None:
    """Why an edit that has ended has no result; None for one that has."""
    failure = failure_of(record)
    if failure is not None:
        return error_classes()[failure.code](failure.message)
    return None if record.state is JobState.SUCCEEDED else Canceled("the edit was canceled")


async def _items(call: Call, batch_id: str) -> Sequence[JobRecord]:
    ids = await call.connections.batches.item_ids(batch_id, start=0, count=N_MAX)
    return [await call.connections.jobs.get(call.tenant, item_id) for item_id in ids]


async def _give_up(call: Call, batch_id: str) -> None:
    """Leave nothing of a refused batch; what cannot be done now, the workers' maintenance does later."""
    try:
        await call.connections.storage.delete_under(f"in/{call.tenant}/{batch_id}/", within_s=CLEARING_S)
        await call.connections.batches.abandon(call.tenant, batch_id)
    except EditStudioError as error:
        _log.warning("a refused batch was not cleared away", extra={"batch_id": batch_id, "error": str(error)})
