"""The output and error files of a batch: written while they are read, one line a request, nothing of them is stored.

Source: OpenAI API reference, "The request output object".
"""

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from gateway.batches.answers import items_of
from gateway.openai.answers import images_of, output_of
from gateway.openai.errors import ErrorAnswer, error_object, openai_status
from gateway.route import Call
from shared.errors import DeadlineExceeded, FieldError, NotFound, error_classes
from shared.job import JobRecord, JobState
from shared.job_view import failure_of
from shared.store.batch_record import BatchRecord

_ID = re.compile(r"file-(out|err)-([0-9a-hjkmnp-tv-z]{26})")


@dataclass(frozen=True, slots=True)
class OutputFile:
    """`is_errors`: of the requests that have no result."""

    id: str
    batch_id: str
    is_errors: bool


def output_file_id(batch_id: str) -> str:
    """The file with the results of a batch."""
    return f"file-out-{batch_id.removeprefix('batch_')}"


def error_file_id(batch_id: str) -> str:
    """The file with what has failed in a batch."""
    return f"file-err-{batch_id.removeprefix('batch_')}"


def output_file_of(file_id: str) -> OutputFile | None:
    """The file under an id, if it is one of these."""
    found = _ID.fullmatch(file_id)
    return OutputFile(file_id, f"batch_{found[2]}", found[1] == "err") if found else None


async def batch_of(call: Call, file: OutputFile) -> BatchRecord:
    """The batch that a file is of. Raises NotFound for one that has not ended, or has no such file."""
    batch = await call.connections.batches.get(call.tenant, file.batch_id)
    counts = batch.counts
    if batch.finished is None or not (counts["failed"] + counts["canceled"] if file.is_errors else counts["succeeded"]):
        raise NotFound("you have no file with this id")
    return batch


async def lines_of(call: Call, batch: BatchRecord, file: OutputFile) -> AsyncGenerator[bytes, None]:
    """The file's lines, in the order of the batch. Raises StorageUnavailable, StoreUnavailable, Overloaded."""
    async for _, line in _lines(call, batch, file, without_pictures=False):
        yield line


async def bytes_of(call: Call, batch: BatchRecord, file: OutputFile) -> int:
    """How long the file is, told without reading a picture. Raises like `lines_of`."""
    size = 0
    async for record, line in _lines(call, batch, file, without_pictures=True):
        size += len(line)
        if record is not None and record.state is JobState.SUCCEEDED and not _as_links(record):
            size += (output_of(record).bytes + 2) // 3 * 4
    return size


async def _lines(
    call: Call, batch: BatchRecord, file: OutputFile, *, without_pictures: bool
) -> AsyncGenerator[tuple[JobRecord | None, bytes], None]:
    async for chunk in items_of(batch, call):
        for _, item_id, record in chunk:
            succeeded = record is not None and record.state is JobState.SUCCEEDED
            if succeeded is file.is_errors:
                continue
            if record is None:
                yield None, _line(item_id, None, error=("gone", "this request was deleted"))
            elif succeeded:
                body = await images_of(call, [record], as_links=_as_links(record), without_pictures=without_pictures)
                yield record, _line(item_id, record, response=(200, body))
            else:
                yield record, _failed(item_id, record)


def _failed(item_id: str, record: JobRecord) -> bytes:
    """The line of a request that has no result: never begun, or answered with an error."""
    failure = failure_of(record)
    if failure is None:
        return _line(item_id, record, error=("batch_cancelled", "the batch was canceled before this request had ended"))
    cls = error_classes()[failure.code]
    if cls is DeadlineExceeded:
        return _line(item_id, record, error=("batch_expired", "this request could not be done in time"))
    fault = FieldError(failure.errors[0].pointer, failure.errors[0].code, "") if failure.errors else None
    answer = ErrorAnswer(error=error_object(cls, failure.message, fault))
    return _line(item_id, record, response=(openai_status(cls), answer.model_dump_json().encode()))


def _line(
    item_id: str, record: JobRecord | None, *, response: tuple[int, bytes] | None = None, error: tuple[str, str] | None = None
) -> bytes:
    """One line; the response's body goes in as it is, since it may hold a picture."""
    told: dict[str, Any] = {"id": f"batch_req_{item_id.removeprefix('edit_')}", "custom_id": record and record.spec.custom_id}
    told["error"] = {"code": error[0], "message": error[1]} if error else None
    if response is None or record is None:
        return to_json({**told, "response": None}) + b"\n"
    head = to_json({"status_code": response[0], "request_id": record.request_id})
    return b'%s,"response":%s,"body":%s}}\n' % (to_json(told)[:-1], head[:-1], response[1])


def _as_links(record: JobRecord) -> bool:
    return record.spec.response_format == "url"
