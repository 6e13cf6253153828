"""From a request found good to a promise: its pictures put into storage, then the edit accepted."""

import os
import time
from collections.abc import Sequence

from aiohttp import hdrs, web

from gateway.idempotency import REPLAYED, idempotency_of
from gateway.job_answers import job_response, picture_response, render
from gateway.pictures import Picture, discard_pictures, store_pictures
from gateway.problems import REQUEST_ID
from gateway.quoting import bound
from gateway.route import Call
from gateway.rules import spec_of
from gateway.waiting import wait_for_end, wait_of
from shared.edit import EditOptions
from shared.errors import BudgetExceeded, IdempotencyMismatch, Overloaded, QueueFull, StoreUnavailable
from shared.estimate import estimate_micro_usd, likely_model
from shared.fault import die_at
from shared.ids import new_id
from shared.job import API_PREFIX, JobState
from shared.log import log_under_too
from shared.queue import lane_of_model
from shared.store.jobs import Accepted, NewJob
from shared.telemetry import traceparent


async def submit(
    call: Call, options: EditOptions, pictures: Sequence[Picture], *, parent: str = "", quote_id: str | None = None
) -> Accepted:
    """Accept an edit, or find the one that the same request made before.

    Raises:
        IdempotencyMismatch, QueueFull, BudgetExceeded, QuoteExpired, QuoteMismatch, Overloaded, StorageUnavailable: the edit was
            not accepted and nothing is stored.
        StoreUnavailable: it is not known whether it was accepted.
    """
    connections, request = call.connections, call.request
    identities = [(picture.ref.role.value, picture.identity) for picture in pictures]
    if quote_id is not None:
        identities.append(("quote", quote_id))
    idempotency = idempotency_of(request, options, identities)
    # `accept` finds an earlier request too; asking before it saves storing pictures for nothing, and its quote may be over.
    if idempotency is not None and (quote_id is not None or any(picture.content is not None for picture in pictures)):
        earlier = await connections.jobs.replay(call.tenant, idempotency)
        if earlier is not None:
            return Accepted(earlier, replayed=True)
    spec = spec_of(options, [picture.ref for picture in pictures], user_tier=call.key.tier)
    size = spec.image.info.upright_size if spec.image.info is not None else None
    if quote_id is not None:
        spec = bound(spec, await connections.quotes.find(call.tenant, quote_id), size)
    job_id = new_id("edit", now_ms=int(time.time() * 1000), random_bytes=os.urandom(10))
    refs = await store_pictures(pictures, tenant=call.tenant, job_id=job_id, connections=connections)
    spec = spec.model_copy(update={"inputs": refs})
    model = likely_model(spec, connections.catalog, await connections.jobs.providers_seen())
    log_under_too(job_id=job_id)
    job = NewJob(
        id=job_id,
        tenant=call.tenant,
        lane=lane_of_model(model, connections.catalog),
        spec=spec,
        deadline_s=options.deadline_s or connections.settings.deadline_s,
        request_id=request[REQUEST_ID],
        parent=parent,
        key_id=call.key.id,
        reserved_micro_usd=estimate_micro_usd(spec, model, size),
        trace=traceparent(),
    )
    die_at("before_accept", connections.settings.fault)
    try:
        accepted = await connections.jobs.accept(job, idempotency=idempotency)
    except (IdempotencyMismatch, QueueFull, BudgetExceeded, Overloaded):
        await discard_pictures(refs, connections=connections, job_id=job_id)
        raise
    except StoreUnavailable as error:
        # Redis may still apply what it was sent; the pictures stay where they are.
        message = f"the job store did not answer; the edit may have been accepted as {job_id}"
        raise StoreUnavailable(f"{message}: ask for it, or repeat with the same Idempotency-Key", retry_after_s=1) from error
    die_at("after_accept", connections.settings.fault)
    if accepted.replayed:
        # The same request was accepted while these pictures were on their way.
        await discard_pictures(refs, connections=connections, job_id=job_id)
    return accepted


async def submitted(call: Call, accepted: Accepted, *, asked_wait_s: int | None) -> web.Response:
    """The answer to a submit: 200 with the finished edit if it ends while the caller waits, else 202."""
    wait_s = wait_of(call.request, asked_wait_s)
    record = await wait_for_end(accepted.record, wait_s, call.connections)
    headers: dict[str, str] = {hdrs.LOCATION: f"{call.connections.base_url(call.request)}{API_PREFIX}/jobs/{record.id}"}
    if accepted.replayed:
        headers.update(REPLAYED)
    if wait_s and asked_wait_s is None:
        headers["Preference-Applied"] = f"wait={wait_s}"
    finished = bool(wait_s) and record.state.terminal
    if finished and record.state is JobState.SUCCEEDED and record.spec.response_format == "b64":
        return await picture_response(record, call.request, call.connections, headers=headers)
    rendered = await render(record, call.request, call.connections)
    return job_response(rendered, status=200 if finished else 202, headers=headers)
