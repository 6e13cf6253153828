"""Batches: submitted, looked at, listed, stopped, released, tried again."""

from typing import Annotated

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.batches.again import retry_failed
from gateway.batches.answers import batch_response, view_of, wait_for_batch
from gateway.batches.form import MANIFEST
from gateway.batches.intake import NDJSON, read_batch
from gateway.fields import parse_json
from gateway.idempotency import REPLAYED
from gateway.intake import FORM, read_small_json
from gateway.route import Body, Call, Header, Query, Reply, Route, json_response
from gateway.routes.process import IDEMPOTENCY_HEADER, PREFER_HEADER, WaitQuery
from gateway.waiting import wait_of
from shared.batch import Batch, BatchRequest
from shared.errors import (
    AlreadyFinished,
    BudgetExceeded,
    EditStudioError,
    IdempotencyInFlight,
    IdempotencyMismatch,
    InvalidMultipart,
    NotFinished,
    NotFound,
    QueueFull,
    StorageUnavailable,
    UrlNotAllowed,
)
from shared.job import API_PREFIX
from shared.store.batch_record import BatchRecord


class BatchesQuery(Query):
    """Which page."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None


class BatchPage(BaseModel):
    """Newest first. `next_cursor`: what `cursor` has to be for the next page; null when there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batches: tuple[Batch, ...]
    next_cursor: str | None


class ReleaseRequest(BaseModel):
    """What is to be different from now on."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_cost: Annotated[float, Field(ge=0, le=1_000_000, description="USD, instead of the limit so far")] | None = None


async def submit(call: Call) -> web.Response:
    """Read, check and stage item by item, then promise all of them at once."""
    return _accepted(call, *await read_batch(call))


async def read(call: Call) -> web.Response:
    """One batch, at once or when it has ended or waits for its owner."""
    record = await call.connections.batches.get(call.tenant, call.id)
    wait_s = wait_of(call.request, call.query.wait)
    return batch_response(await wait_for_batch(record, wait_s, call.connections), call)


async def page(call: Call) -> web.Response:
    """Some batches."""
    asked: BatchesQuery = call.query
    found = await call.connections.batches.page(call.tenant, limit=asked.limit, cursor=asked.cursor)
    listing = BatchPage(batches=tuple(view_of(record, call) for record in found.records), next_cursor=found.next_cursor)
    return json_response(listing)


async def cancel(call: Call) -> web.Response:
    """End what waits, ask what runs to stop."""
    await _unfinished(call)
    return batch_response(await call.connections.batches.cancel(call.tenant, call.id), call)


async def release(call: Call) -> web.Response:
    """Let a held batch go on."""
    asked = parse_json(ReleaseRequest, await read_small_json(call.request) or b"{}")
    await _unfinished(call)
    max_micro_usd = None if asked.max_cost is None else round(asked.max_cost * 1e6)
    return batch_response(await call.connections.batches.release(call.tenant, call.id, max_micro_usd=max_micro_usd), call)


async def retry(call: Call) -> web.Response:
    """The failed items as a new batch."""
    record = await call.connections.batches.get(call.tenant, call.id)
    if not record.finished:
        raise NotFinished("the batch has not ended yet; wait for its end or cancel it first")
    return _accepted(call, *await retry_failed(call, record))


async def _unfinished(call: Call) -> None:
    """Raises AlreadyFinished for a batch that has ended."""
    record = await call.connections.batches.get(call.tenant, call.id)
    if record.state not in ("running", "held"):
        raise AlreadyFinished(f"the batch is {record.state.replace('_', ' ')}")


def _accepted(call: Call, record: BatchRecord, replayed: bool) -> web.Response:
    headers: dict[str, str] = {hdrs.LOCATION: f"{call.connections.base_url(call.request)}{API_PREFIX}/batches/{record.id}"}
    return batch_response(record, call, status=202, headers={**headers, **(REPLAYED if replayed else {})})


_BATCHES = f"{API_PREFIX}/batches"
_HEADERS = (
    Header("Location", "the Batch", {"type": "string"}),
    Header("Idempotent-Replayed", "`true` when the answer is of an earlier request", {"type": "string"}),
)
_FORM_SCHEMA = {
    "type": "object",
    "properties": {
        MANIFEST: {"type": "string", "description": "the batch, as NDJSON or as JSON with `items`; a text or a file part"},
    },
    "additionalProperties": {
        "type": "string",
        "format": "binary",
        "description": "pictures as file parts of any name: items name them by file name, as in `image_id: file:cat.png`",
    },
    "required": [MANIFEST],
}
_NDJSON_SCHEMA = {
    "type": "string",
    "description": "an item a line; the first line may be the batch's other fields, if it has `defaults`",
}
_ERRORS: tuple[type[EditStudioError], ...] = (
    IdempotencyMismatch,
    IdempotencyInFlight,
    QueueFull,
    BudgetExceeded,
    StorageUnavailable,
    NotFound,
)
ROUTES = (
    Route(
        "POST",
        _BATCHES,
        "Submit a batch",
        submit,
        description="Up to 100 000 edits. A broken item fails alone and says why; with `all_or_nothing` it refuses the batch. "
        "Compressed bodies are taken with `Content-Encoding: gzip`.",
        scope="submit",
        rate="submit",
        tag="batches",
        headers=(IDEMPOTENCY_HEADER,),
        body=Body(BatchRequest, others={NDJSON: _NDJSON_SCHEMA, FORM: _FORM_SCHEMA}),
        replies=(Reply(202, "accepted", Batch, headers=_HEADERS),),
        errors=(*_ERRORS, UrlNotAllowed, InvalidMultipart),
    ),
    Route(
        "GET", _BATCHES, "List batches", page, tag="batches", query=BatchesQuery, replies=(Reply(200, "newest first", BatchPage),)
    ),
    Route(
        "GET",
        f"{_BATCHES}/{{id}}",
        "Look at a batch",
        read,
        description="With `wait`, when it has ended or is held.",
        tag="batches",
        query=WaitQuery,
        headers=(PREFER_HEADER,),
        replies=(Reply(200, "the batch", Batch),),
    ),
    Route(
        "POST",
        f"{_BATCHES}/{{id}}/cancel",
        "Stop a batch",
        cancel,
        description="Items that wait are canceled, those that run are asked to stop; their providers may still bill.",
        scope="submit",
        tag="batches",
        replies=(Reply(200, "canceled", Batch),),
        errors=(AlreadyFinished,),
    ),
    Route(
        "POST",
        f"{_BATCHES}/{{id}}/release",
        "Let a held batch go on",
        release,
        scope="submit",
        tag="batches",
        body=Body(ReleaseRequest, required=False),
        replies=(Reply(200, "running", Batch),),
        errors=(AlreadyFinished,),
    ),
    Route(
        "POST",
        f"{_BATCHES}/{{id}}/retry-failed",
        "Do a batch's failed items again",
        retry,
        description="A new batch with the same pictures and wishes. Items that were broken when they were sent are not in it.",
        scope="submit",
        rate="submit",
        tag="batches",
        headers=(IDEMPOTENCY_HEADER,),
        replies=(Reply(202, "accepted", Batch, headers=_HEADERS),),
        errors=(*_ERRORS, NotFinished),
    ),
)
