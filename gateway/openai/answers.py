"""Edits that have ended, as OpenAI answers them: an ImagesResponse, or events of a stream.

Source: openai 2.54.0, `types/images_response.py`, `types/image_edit_completed_event.py`. Fields that are not OpenAI's stand
apart, under `edit_studio`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal

import pybase64
from pydantic import BaseModel, ConfigDict

from gateway.openai.errors import ErrorObject
from gateway.openai.wishes import ASKED_FOR
from gateway.route import Call
from shared.errors import StorageUnavailable
from shared.job import API_PREFIX, JobRecord, StoredOutput
from shared.job_view import cost_of
from shared.storage import ObjectMissing

_Quality = Literal["low", "medium", "high"]
#: Those that OpenAI's answers know.
_QUALITIES: Mapping[str | None, _Quality] = {"low": "low", "medium": "medium", "high": "high"}


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Done(_Wire):
    """What became of one edit: the model that was asked for, the one that did it, why that one, and what it cost (USD)."""

    id: str
    requested_model: str | None = None
    model: str | None = None
    reason: str | None = None
    cost: float | None = None
    adaptations: tuple[str, ...]
    receipt_url: str


class Image(_Wire):
    """One result: the picture, or a link to it."""

    b64_json: str | None = None
    url: str | None = None
    edit_studio: Done


class TokenDetails(_Wire):
    """No tokens are counted here; clients expect the figures."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(_Wire):
    """No tokens are counted here; what an edit cost is in `edit_studio`."""

    input_tokens: int = 0
    input_tokens_details: TokenDetails = TokenDetails()
    output_tokens: int = 0
    total_tokens: int = 0


class Failed(_Wire):
    """One of several edits that has no result."""

    id: str
    error: ErrorObject


class Images(_Wire):
    """The results, in the order of the edits. `failed`: those of `n` edits that came to nothing, if others did not."""

    created: int
    data: tuple[Image, ...]
    output_format: str
    size: str
    quality: _Quality | None = None
    usage: Usage = Usage()
    failed: tuple[Failed, ...] | None = None


class CompletedEvent(_Wire):
    """One result, in a stream."""

    type: Literal["image_edit.completed"] = "image_edit.completed"
    b64_json: str
    background: str = "auto"
    created_at: int
    output_format: str
    quality: _Quality | Literal["auto"]
    size: str
    usage: Usage = Usage()
    edit_studio: Done


async def images_of(
    call: Call,
    records: Sequence[JobRecord],
    *,
    as_links: bool,
    without_pictures: bool = False,
    quality: str | None = None,
    failed: Sequence[Failed] = (),
) -> bytes:
    """The JSON of the results of these edits, all of which have one; with empty texts instead of pictures if none are wanted.

    Raises StorageUnavailable, Overloaded.
    """
    outputs = [output_of(record) for record in records]
    is_small = as_links or without_pictures
    with call.connections.memory.hold(0 if is_small else _held_bytes(outputs)):
        data = [await _image(call, record, as_links=as_links, without_pictures=without_pictures) for record in records]
        answer = Images(
            created=_ended_s(records[0]),
            data=tuple(data),
            output_format=outputs[0].format,
            size=_size(outputs[0]),
            quality=_QUALITIES.get(quality),
            failed=tuple(failed) or None,
        )
        return await _to_json(answer, is_small=is_small)


async def completed_event(call: Call, record: JobRecord, *, quality: str | None) -> bytes:
    """The event of one result. Raises StorageUnavailable, Overloaded."""
    output = output_of(record)
    with call.connections.memory.hold(_held_bytes([output])):
        event = CompletedEvent(
            b64_json=await _base64(call, output),
            created_at=_ended_s(record),
            output_format=output.format,
            quality=_QUALITIES.get(quality, "auto"),
            size=_size(output),
            edit_studio=done_of(call, record),
        )
        data = await _to_json(event)
        return b"event: %s\ndata: %s\n\n" % (event.type.encode(), data)


def done_of(call: Call, record: JobRecord) -> Done:
    """What became of an edit."""
    course, spec = record.course, record.spec
    return Done(
        id=record.id,
        requested_model=spec.metadata.get(ASKED_FOR, spec.model),
        model=course.model,
        reason=course.selection.reason if course.selection else None,
        cost=cost_of(record).actual,
        adaptations=course.adaptations,
        receipt_url=f"{call.connections.base_url(call.request)}{API_PREFIX}/jobs/{record.id}/receipt",
    )


def output_of(record: JobRecord) -> StoredOutput:
    """The result of an edit that succeeded."""
    if record.course.output is None:
        raise ValueError(f"{record.id} succeeded without a result")
    return record.course.output


async def _image(call: Call, record: JobRecord, *, as_links: bool, without_pictures: bool) -> Image:
    if not as_links:
        text = "" if without_pictures else await _base64(call, output_of(record))
        return Image(b64_json=text, edit_studio=done_of(call, record))
    link = await call.connections.links.of(record)
    return Image(url=link[0] if link else None, edit_studio=done_of(call, record))


async def _base64(call: Call, output: StoredOutput) -> str:
    try:
        data = await call.connections.storage.get(output.key)
    except ObjectMissing:
        raise StorageUnavailable("the result is not in storage") from None
    return await asyncio.to_thread(lambda: pybase64.b64encode(data).decode("ascii"))


async def _to_json(answer: BaseModel, *, is_small: bool = False) -> bytes:
    def run() -> bytes:
        return answer.__pydantic_serializer__.to_json(answer, exclude_none=True)

    return run() if is_small else await asyncio.to_thread(run)


def _held_bytes(outputs: Sequence[StoredOutput]) -> int:
    """As they are, in base64 and in JSON."""
    return sum(4 * output.bytes for output in outputs)


def _ended_s(record: JobRecord) -> int:
    return (record.finished or record.created) // 1000


def _size(output: StoredOutput) -> str:
    return f"{output.width}x{output.height}"
