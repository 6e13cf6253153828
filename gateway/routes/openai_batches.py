"""Batches for OpenAI's clients: made of an input file, read through output files."""

import os
import time
from typing import Annotated, Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.batches.expand import expand
from gateway.fields import refusal
from gateway.intake import read_small_json
from gateway.openai.adoption import adopt
from gateway.openai.batches import BatchCreate, OpenAIBatch, batch_view, is_openais, openai_batch, source_of
from gateway.openai.errors import OPENAI_PREFIX
from gateway.openai.files import content_of
from gateway.openai.headers import ANSWER_HEADERS, CALL_HEADERS
from gateway.openai.intake import json_object
from gateway.openai.wishes import validated
from gateway.route import JSON, Body, Call, Query, Reply, Route
from shared.errors import (
    AlreadyFinished,
    BudgetExceeded,
    IdempotencyInFlight,
    IdempotencyMismatch,
    NotFound,
    QueueFull,
    StorageUnavailable,
    UrlNotAllowed,
)
from shared.ids import new_id
from shared.store.batch_record import BatchRecord
from shared.store.files import File

_SCANNED_A_PAGE = 1_000
_CHUNK = 100


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenAIBatchesQuery(Query):
    """Which page."""

    after: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class OpenAIBatchPage(_Wire):
    """Newest first."""

    object: Literal["list"] = "list"
    data: tuple[OpenAIBatch, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


async def create(call: Call) -> web.Response:
    """Read the input file, check and stage line by line, then promise all of them at once."""
    asked = validated(BatchCreate, json_object(await read_small_json(call.request) or b"{}"))
    file = await _input_file(call, asked.input_file_id)
    await adopt(call, asked.model_dump())
    source = await source_of(call, asked, file, content_of(call, file))
    batch_id = new_id("batch", now_ms=int(time.time() * 1000), random_bytes=os.urandom(10))
    record, _ = await expand(call, source, batch_id=batch_id, files={})
    return _response(batch_view(record))


async def show(call: Call) -> web.Response:
    """One batch."""
    return _response(batch_view(await openai_batch(call, call.id)))


async def page(call: Call) -> web.Response:
    """Some batches: of all that there are, those that were made of input files."""
    asked: OpenAIBatchesQuery = call.query
    found: list[BatchRecord] = []
    cursor, scanned = asked.after, 0
    while True:
        chunk = await call.connections.batches.page(call.tenant, limit=_CHUNK, cursor=cursor)
        found += [record for record in chunk.records if is_openais(record)]
        cursor, scanned = chunk.next_cursor, scanned + _CHUNK
        if cursor is None or len(found) > asked.limit or scanned >= _SCANNED_A_PAGE:
            break
    shown = found[: asked.limit]
    ends = (shown[0].id, shown[-1].id) if shown else (None, None)
    has_more = cursor is not None or len(found) > len(shown)
    views = tuple(batch_view(record) for record in shown)
    return _response(OpenAIBatchPage(data=views, first_id=ends[0], last_id=ends[1], has_more=has_more))


async def cancel(call: Call) -> web.Response:
    """End what waits, ask what runs to stop."""
    record = await openai_batch(call, call.id)
    if record.state not in ("running", "held"):
        raise AlreadyFinished(f"the batch is {record.state.replace('_', ' ')}")
    return _response(batch_view(await call.connections.batches.cancel(call.tenant, record.id)))


async def _input_file(call: Call, file_id: str) -> File:
    """Raises ValidationFailed for one that is not there, or not for a batch."""
    try:
        file = await call.connections.files.get(call.tenant, file_id)
    except NotFound as error:
        raise refusal("/input_file_id", "invalid_value", error.detail) from None
    if file.purpose != "batch":
        raise refusal("/input_file_id", "invalid_value", f"this file's purpose is {file.purpose}; upload it for a batch")
    return file


def _response(document: BaseModel) -> web.Response:
    return web.Response(text=document.model_dump_json(), headers={hdrs.CONTENT_TYPE: JSON})


_BATCHES, _ID = f"{OPENAI_PREFIX}/batches", r"^batch_[0-9a-z]{1,64}$"
_REPLY = (Reply(200, "the batch", OpenAIBatch, headers=ANSWER_HEADERS),)
ROUTES = (
    Route(
        "POST",
        _BATCHES,
        "Start a batch, for OpenAI's clients",
        create,
        description="Of a file with a request for `/v1/images/edits` a line. A broken line fails alone: it is in the error file.",
        scope="submit",
        rate="submit",
        tag="openai",
        headers=CALL_HEADERS,
        body=Body(BatchCreate),
        replies=_REPLY,
        errors=(
            BudgetExceeded,
            IdempotencyInFlight,
            IdempotencyMismatch,
            NotFound,
            QueueFull,
            StorageUnavailable,
            UrlNotAllowed,
        ),
    ),
    Route(
        "GET",
        _BATCHES,
        "List batches, for OpenAI's clients",
        page,
        description="Those that were made of input files.",
        tag="openai",
        query=OpenAIBatchesQuery,
        replies=(Reply(200, "newest first", OpenAIBatchPage, headers=ANSWER_HEADERS),),
    ),
    Route(
        "GET", f"{_BATCHES}/{{id}}", "Look at a batch, for OpenAI's clients", show, tag="openai", id_pattern=_ID, replies=_REPLY
    ),
    Route(
        "POST",
        f"{_BATCHES}/{{id}}/cancel",
        "Stop a batch, for OpenAI's clients",
        cancel,
        scope="submit",
        tag="openai",
        id_pattern=_ID,
        replies=_REPLY,
        errors=(AlreadyFinished,),
    ),
)
