"""Submitting an edit: `POST …/process`."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from gateway.idempotency import HEADER as IDEMPOTENCY_KEY
from gateway.intake import read_submission
from gateway.job_answers import JOB_HEADERS, FinishedJob
from gateway.pictures import REFERENCE_FILES, SINGLE_FILES
from gateway.route import Body, Call, Header, Query, Reply, Route
from gateway.submitting import submit, submitted
from gateway.waiting import WAIT_MAX_S
from shared.edit import EditRequest
from shared.errors import (
    AnimatedPicture,
    BudgetExceeded,
    EditStudioError,
    Gone,
    IdempotencyMismatch,
    InvalidBase64,
    MaskEmpty,
    MaskFull,
    MaskInvalid,
    NoCapableModel,
    NotAPicture,
    NotFound,
    PictureTooLarge,
    QueueFull,
    QuoteExpired,
    QuoteMismatch,
    StorageUnavailable,
    TruncatedPicture,
    UnknownModel,
    UnsupportedParameter,
    UrlNotAllowed,
)
from shared.job import API_PREFIX, Job

# A grey square of 8×8 pixels, so that the example can be sent as it is.
_EXAMPLE_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR4nGNsYIAAJgaKGAAmCACQXTClHgAAAABJRU5ErkJggg=="

IDEMPOTENCY_HEADER = Header(
    IDEMPOTENCY_KEY,
    "the same key and the same request within 24 h give the first answer again, with `Idempotent-Replayed: true`",
    {"type": "string", "pattern": r"^[\x20-\x7e]{1,255}$"},
)
PREFER_HEADER = Header("Prefer", "`wait=N`: hold the answer for up to N seconds until the edit has ended", {"type": "string"})
SUBMIT_HEADERS = (
    *JOB_HEADERS,
    Header("Location", "the Job", {"type": "string"}),
    Header("Idempotent-Replayed", "`true` when the answer is of an earlier request", {"type": "string"}),
    Header("Preference-Applied", "the wait that was granted", {"type": "string"}),
)
SUBMIT_ERRORS: tuple[type[EditStudioError], ...] = (
    IdempotencyMismatch,
    QueueFull,
    BudgetExceeded,
    StorageUnavailable,
    UnknownModel,
    UnsupportedParameter,
    NoCapableModel,
    UrlNotAllowed,
    NotFound,
    Gone,
)
#: What may be wrong with a body that brings pictures.
PICTURE_ERRORS: tuple[type[EditStudioError], ...] = (
    UnknownModel,
    UnsupportedParameter,
    UrlNotAllowed,
    InvalidBase64,
    NotAPicture,
    TruncatedPicture,
    PictureTooLarge,
    AnimatedPicture,
    MaskInvalid,
    MaskEmpty,
    MaskFull,
)


class WaitQuery(Query):
    """For requests that can be held."""

    wait: Annotated[int, Field(ge=1, le=WAIT_MAX_S, description="hold the answer for up to so many seconds")] | None = None


async def process(call: Call) -> web.Response:
    """Read, check, store, accept."""
    async with read_submission(call.request, call.connections, call.tenant) as submission:
        quote_id = submission.options.quote_id
        accepted = await submit(call, submission.options, submission.pictures, quote_id=quote_id)
    return await submitted(call, accepted, asked_wait_s=call.query.wait)


ROUTES = (
    Route(
        "POST",
        f"{API_PREFIX}/process",
        "Submit an edit",
        process,
        description="The picture comes as base64, as a URL, as the id of an earlier edit, or as a file part of a form.",
        scope="submit",
        rate="submit",
        query=WaitQuery,
        headers=(IDEMPOTENCY_HEADER, PREFER_HEADER),
        body=Body(
            EditRequest,
            files=SINGLE_FILES,
            repeatable_files=(REFERENCE_FILES,),
            examples={"black and white": {"image_base64": _EXAMPLE_PICTURE, "prompt": "make it black and white"}},
        ),
        replies=(
            Reply(202, "accepted", Job, headers=SUBMIT_HEADERS),
            Reply(200, "ended while the caller waited", FinishedJob, headers=SUBMIT_HEADERS),
        ),
        errors=(*SUBMIT_ERRORS, *PICTURE_ERRORS, QuoteExpired, QuoteMismatch),
    ),
)
