"""OpenAI's batches: the lines of an input file to items of ours, and a batch of ours as theirs.

Source: openai 2.54.0, `types/batch.py`; OpenAI API reference, "The request input object".
"""

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from gateway.batches.source import Source, ndjson_source
from gateway.batches.splitting import RawItem
from gateway.fields import pointer_to, refusal
from gateway.openai.intake import json_object
from gateway.openai.outputs import error_file_id, output_file_id
from gateway.openai.wishes import EditsRequest, FileId, native_fields, validated
from gateway.route import Call
from shared.batch import BatchFields
from shared.catalog.load import Catalog
from shared.edit import CustomId, MetadataKey, MetadataValue
from shared.errors import FieldError, NotFound, RequestError
from shared.store.batch_record import BatchRecord
from shared.store.files import File

ENDPOINT = "/v1/images/edits"
WINDOW = "24h"
_WINDOW_S = 86_400
#: What a batch is called that was made of an input file; the rest of its name is the file's id.
_NAMED = "openai:"
_OFF_LOOP_BYTES = 64 * 1024
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BatchCreate(_Wire):
    """The body of `POST /batches`. The input file has a request a line: `custom_id`, `method`, `url`, `body`."""

    input_file_id: FileId
    endpoint: Literal["/v1/images/edits"]
    completion_window: Literal["24h"]
    metadata: Metadata | None = None


class _Line(_Wire):
    custom_id: CustomId
    method: Literal["POST"]
    url: Literal["/v1/images/edits", "/openai/v1/images/edits"]
    body: dict[str, Any]


class RequestCounts(_Wire):
    """`failed` counts what was canceled too."""

    total: int
    completed: int
    failed: int


class OpenAIBatch(_Wire):
    """A batch. Times are seconds since 1970. The files are there once it has ended."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str = ENDPOINT
    errors: None = None
    input_file_id: str
    completion_window: str = WINDOW
    status: Literal["in_progress", "completed", "cancelling", "cancelled"]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: None = None
    expired_at: None = None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None


async def source_of(call: Call, asked: BatchCreate, file: File, pieces: AsyncIterator[bytes]) -> Source:
    """The batch in the file. A line that is broken becomes an item that fails alone and says why.

    Raises StorageUnavailable, StoreUnavailable.
    """
    connections = call.connections
    seen = await connections.jobs.providers_seen()
    lines = await ndjson_source(pieces)

    async def groups() -> AsyncIterator[list[RawItem]]:
        async for group in lines.groups:
            yield [await _translated(raw, connections.catalog, seen) for raw in group]

    return Source(BatchFields(name=f"{_NAMED}{file.id}", metadata=asked.metadata or {}), groups(), "line")


async def openai_batch(call: Call, batch_id: str) -> BatchRecord:
    """A batch that was made here. Raises NotFound, also for other batches: they have no input file."""
    record = await call.connections.batches.get(call.tenant, batch_id)
    if not is_openais(record):
        raise NotFound("there is no batch with this id")
    return record


def is_openais(record: BatchRecord) -> bool:
    """Whether a batch was made of an input file."""
    return record.name.startswith(_NAMED)


def batch_view(record: BatchRecord) -> OpenAIBatch:
    """The batch as OpenAI's clients see it."""
    counts, ended_s = record.counts, record.finished // 1000 if record.finished else None
    failed = counts["failed"] + counts["canceled"]
    is_canceled = record.state == "canceled"
    created_s = record.created // 1000
    return OpenAIBatch(
        id=record.id,
        input_file_id=record.name.removeprefix(_NAMED),
        status=("cancelled" if ended_s else "cancelling") if is_canceled else "completed" if ended_s else "in_progress",
        output_file_id=output_file_id(record.id) if ended_s and counts["succeeded"] else None,
        error_file_id=error_file_id(record.id) if ended_s and failed else None,
        created_at=created_s,
        in_progress_at=created_s,
        expires_at=created_s + _WINDOW_S,
        finalizing_at=None if is_canceled else ended_s,
        completed_at=None if is_canceled else ended_s,
        cancelling_at=ended_s if is_canceled else None,
        cancelled_at=ended_s if is_canceled else None,
        request_counts=RequestCounts(total=counts["total"], completed=counts["succeeded"], failed=failed),
        metadata=json.loads(record.metadata) or None,
    )


async def _translated(raw: RawItem, catalog: Catalog, seen: Collection[str]) -> RawItem:
    """The line as an item of ours, as one that is broken, or as it is if it is too long to be read."""
    if raw.data is None:
        return raw
    if len(raw.data) > _OFF_LOOP_BYTES:
        return await asyncio.to_thread(_translate, raw, raw.data, catalog, seen)
    return _translate(raw, raw.data, catalog, seen)


def _translate(raw: RawItem, data: bytes, catalog: Catalog, seen: Collection[str]) -> RawItem:
    custom_id: str | None = None
    try:
        fields = json_object(data)
        line = validated(_Line, fields)
        custom_id = line.custom_id
        asked = _asked(line.body)
        return RawItem(raw.number, to_json({**native_fields(asked, catalog, seen, files={}), "custom_id": custom_id}))
    except RequestError as error:
        return RawItem(raw.number, data, error=error, custom_id=custom_id)


def _asked(body: dict[str, Any]) -> EditsRequest:
    """The body of a line. Raises ValidationFailed, for `stream` and for an `n` above 1 too: one line has one result."""
    try:
        asked = validated(EditsRequest, body)
    except RequestError as error:
        faults = [FieldError(f"/body{fault.pointer}", fault.code, fault.message) for fault in error.errors]
        raise type(error)(error.detail, errors=faults) from None
    if asked.stream:
        raise refusal(pointer_to("body", "stream"), "invalid_value", "a batch has no streams")
    if (asked.n or 1) > 1:
        raise refusal(pointer_to("body", "n"), "invalid_value", "n is 1 in a batch; write a line for each result")
    if not asked.pictures:
        raise refusal(pointer_to("body", "image"), "missing_field", "give the picture to edit as image or images")
    return asked
