"""`POST /images/edits` for OpenAI's clients."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from aiohttp import hdrs, web
from pydantic_core import to_json

from gateway.intake import FORM
from gateway.openai.adoption import adopt
from gateway.openai.answers import Failed, Images, completed_event, images_of
from gateway.openai.edits import error_of, submit_edits, wait_for_all
from gateway.openai.errors import OPENAI_PREFIX, openai_document, openai_error
from gateway.openai.headers import ANSWER_HEADERS, CALL_HEADERS
from gateway.openai.intake import read_edits
from gateway.openai.wishes import EditsRequest
from gateway.route import JSON, Body, Call, Reply, Route
from gateway.routes.process import PICTURE_ERRORS, SUBMIT_ERRORS
from gateway.streaming import stream
from gateway.waiting import wait_for_end
from shared.edit import canonical_options
from shared.errors import EditStudioError, IdempotencyInFlight, InvalidMultipart, JobError, StillRunning, error_classes
from shared.job import JobRecord

_HEARTBEAT_S = 15.0
_EVENTS = "text/event-stream"


async def edits(call: Call) -> web.StreamResponse:
    """Submit, wait, answer with the results."""
    async with read_edits(call) as (asked, submission):
        n = asked.n or 1
        await adopt(call, canonical_options(submission.options), submission.identities, n)
        records = await submit_edits(call, submission, n=n)
    if asked.stream:
        headers: dict[str, str] = {hdrs.CONTENT_TYPE: _EVENTS}
        return await stream(call, _events(call, asked, records), headers=headers)
    ended = [(record, error_of(record)) for record in await wait_for_all(call, records)]
    done = [record for record, error in ended if error is None]
    failed = [Failed(id=record.id, error=openai_error(error)) for record, error in ended if error is not None]
    if not done:
        raise next(error for _, error in ended if error is not None)
    body = await images_of(call, done, as_links=asked.wants_links, quality=asked.quality, failed=failed)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: JSON})


async def _events(call: Call, asked: EditsRequest, records: Sequence[JobRecord]) -> AsyncGenerator[bytes, None]:
    """Each result as it comes; comments while there is none, so that nobody takes the silence for an end.

    It lasts as long as the edits do, which have their deadlines.
    """
    yield b": accepted\n\n"
    try:
        for accepted in records:
            record = accepted
            while not (record := await wait_for_end(record, _HEARTBEAT_S, call.connections)).state.terminal:
                if call.connections.closing.is_set():
                    raise StillRunning("the service stops here; the edit goes on, and a retry waits for it")
                yield b": still here\n\n"
            error = error_of(record)
            yield _error_event(error) if error is not None else await completed_event(call, record, quality=asked.quality)
    except EditStudioError as error:
        # The headers are out: an event is the only way left to tell.
        yield _error_event(error)


def _error_event(error: EditStudioError) -> bytes:
    return b"event: error\ndata: %s\n\n" % to_json({"type": "error", **openai_document(error)})


def _form_schema() -> dict[str, Any]:
    """The body's schema with its pictures as file parts."""
    schema = EditsRequest.model_json_schema()
    file = {"type": "string", "format": "binary"}
    parts = {"image": file, "image[]": {"type": "array", "items": file}, "mask": file}
    own = {name: entry for name, entry in schema["properties"].items() if name not in ("image", "images", "mask")}
    return {"type": "object", "properties": {**own, **parts}, "required": ["prompt"], "additionalProperties": False}


_JOB_ERRORS = tuple(cls for cls in error_classes().values() if issubclass(cls, JobError))
_EXAMPLE = {"image": "https://example.com/cup.png", "prompt": "make it black and white"}
ROUTES = (
    Route(
        "POST",
        f"{OPENAI_PREFIX}/images/edits",
        "Edit a picture, for OpenAI's clients",
        edits,
        description="As OpenAI's `POST /v1/images/edits`: held until the edit has ended. The format of a picture is told by its "
        "content; numbers and flags may be texts. With `stream` the answer is events: `image_edit.completed`, or `error`.",
        scope="submit",
        rate="submit",
        tag="openai",
        headers=CALL_HEADERS,
        body=Body(EditsRequest, examples={"black and white": _EXAMPLE}, others={FORM: _form_schema()}),
        replies=(Reply(200, "the results", Images, content_types=(_EVENTS,), headers=ANSWER_HEADERS),),
        errors=(*SUBMIT_ERRORS, *PICTURE_ERRORS, *_JOB_ERRORS, InvalidMultipart, IdempotencyInFlight, StillRunning),
    ),
)
