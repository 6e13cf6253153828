"""An edit's states, its record, and the Job that callers see (pure)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer

from shared.edit import EditSpec, Operation


class JobState(StrEnum):
    """Where an edit stands. The moves are in `TRANSITIONS`; the scripts in `shared/store/scripts` make them."""

    QUEUED = "queued"  #: accepted, no worker has it
    RUNNING = "running"  #: a worker has it; the provider may be working
    SUCCEEDED = "succeeded"  #: result stored
    FAILED = "failed"  #: gave up; `job.error` says why
    CANCELED = "canceled"  #: stopped on request

    @property
    def terminal(self) -> bool:
        """Whether this state is never left."""
        return not TRANSITIONS[self]


TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELED}),
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELED: frozenset(),
}


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str, when_used="json")]


def time_of(ms: int | str) -> datetime:
    """Milliseconds since 1970 as an aware UTC time."""
    return datetime.fromtimestamp(int(ms) / 1000, UTC)


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Alternative(_Wire):
    """A model that was not chosen, and how it differs from the one that was."""

    model_id: str
    name: str
    cost: float
    reason: str


class Selection(_Wire):
    """How the model was chosen. `mode`: `pinned`, `exact` (the prompt is an exact adjustment) or `recommended`.

    `receipt_url`: what else the choice rests on; told to callers, not kept.
    """

    mode: Literal["pinned", "exact", "recommended"]
    reason: str
    alternatives: tuple[Alternative, ...] = ()
    receipt_url: str | None = None


class InputView(_Wire):
    """The picture that is edited. Sizes are upright pixels."""

    width: int
    height: int
    format: str
    bytes: int
    sha256: str


class StoredOutput(_Wire):
    """A result in storage, under `key`; `thumbnails`: width in pixels to key."""

    key: str
    width: int
    height: int
    format: str
    bytes: int
    sha256: str
    thumbnails: dict[str, str] = {}


class OutputView(_Wire):
    """The result. `url` is a presigned link that holds until `url_expires_at`; `urls.result` of the Job always works."""

    url: str
    url_expires_at: Time
    width: int
    height: int
    format: str
    bytes: int
    sha256: str


class Geometry(_Wire):
    """What became of the size, each (width, height) in pixels: of the input, sent, received, delivered.

    With a mask that the model cannot take, `sent` is of the part around it. `outside_mask_max_delta`: the largest difference,
    0–255, between the delivered picture and the input outside of the mask; null without a mask, or if another size is delivered.
    """

    input: tuple[int, int]
    sent: tuple[int, int]
    received: tuple[int, int]
    delivered: tuple[int, int]
    method: str
    outside_mask_max_delta: int | None = None


class CostLine(_Wire):
    """One attempt's price. `billed`: whether the provider charges for it; null if that cannot be known."""

    attempt: int
    model: str
    usd: float
    billed: bool | None


class Budget(_Wire):
    """The tenant's limits when the edit was accepted, and what was left of each before it, in USD; null where there was none."""

    daily_limit: float | None
    daily_left: float | None
    monthly_limit: float | None
    monthly_left: float | None


class Cost(_Wire):
    """USD. `actual` is what the caller is charged, null until the edit has ended, and never above `quoted`.

    `quoted`: null without a quote; `budget`: null for a tenant without limits.
    """

    estimated: float | None
    actual: float | None
    max: float | None
    quoted: float | None = None
    budget: Budget | None = None
    lines: tuple[CostLine, ...]


class Attempt(_Wire):
    """One call of one model. `outcome`: `succeeded`, an error code, or null while it runs."""

    n: int
    model: str
    provider: str
    started_at: Time
    finished_at: Time | None = None
    outcome: str | None = None
    error: str | None = None


class FieldFault(_Wire):
    """One fault in one field of an item. `pointer`: JSON pointer into the item (RFC 6901)."""

    pointer: str
    code: str
    message: str


class JobFailure(_Wire):
    """Why the edit failed. `by`: `caller`, `provider` or `service`; `stage`: where; `billed`: whether the provider charges.

    Of a broken item of a batch, `line` is its line in the NDJSON, or its number in the JSON array, from 1; `errors`: its faults.
    """

    code: str
    message: str
    retryable: bool
    by: Literal["caller", "provider", "service"]
    stage: str
    billed: bool | None
    line: int | None = None
    errors: tuple[FieldFault, ...] = ()


class Progress(_Wire):
    """Where an unfinished edit stands; `waiting_on` is null while it is being worked on.

    `queue_position`: how many of the tenant's own edits come first. `eta_s` is null as long as nothing is known to tell it from.
    """

    stage: Literal["queued", "fetching", "choosing", "adapting", "editing", "checking", "storing", "done"]
    waiting_on: Literal["worker", "provider", "provider_queue", "rate_limit", "retry_backoff", "storage"] | None
    queue_position: int | None = None
    eta_s: float | None = None


class JobUrls(_Wire):
    """Addresses of the edit's own resources."""

    self: str
    cancel: str
    events: str
    result: str


class Job(_Wire):
    """One edit as callers see it."""

    id: str
    object: Literal["edit"] = "edit"
    status: JobState
    operation: Operation
    requested_model: str | None
    model: str | None
    provider: str | None
    selection: Selection | None
    prompt: str | None
    input: InputView | None
    output: OutputView | None
    geometry: Geometry | None
    adaptations: tuple[str, ...]
    cost: Cost
    attempts: tuple[Attempt, ...]
    error: JobFailure | None
    progress: Progress
    metadata: dict[str, str]
    batch_id: str | None
    custom_id: str | None
    parent_id: str | None
    request_id: str
    simulated: bool
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    expires_at: Time | None
    urls: JobUrls


class Course(_Wire):
    """What the workers wrote down about an edit so far; one JSON field of the record, replaced as a whole."""

    model: str | None = None
    provider: str | None = None
    selection: Selection | None = None
    input: InputView | None = None
    geometry: Geometry | None = None
    adaptations: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    lines: tuple[CostLine, ...] = ()
    estimated_usd: float | None = None
    output: StoredOutput | None = None
    error: JobFailure | None = None
    simulated: bool = False


_NOTHING_YET = Course()


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The hash `job:{id}`. Times are milliseconds of Redis' clock.

    `gen` is the fence: it grows each time a worker takes the edit. `at`: `ready`, `wait` or `staged` while queued.
    `call`: `` (no paid call), `started`, `handle`. `version` grows with every visible change. `budget`: daily limit, left of it,
    monthly limit, left of it, when the edit was accepted, in 1e-6 USD; empty without limits. `choices`: JSON, as
    `shared.receipt.CHOICES` has it; few who read a record want them. `trace`: the W3C `traceparent` of its request, or empty.
    """

    id: str
    tenant: str
    state: JobState
    at: str
    lane: str
    gen: int
    version: int
    spec: EditSpec
    course: Course
    hook: bool
    batch: str
    parent: str
    request_id: str
    created: int
    deadline: int
    started: int | None
    finished: int | None
    expires: int | None
    attempts: int
    failures: int
    kills: int
    cancel: bool
    stage: str
    waiting_on: str
    call: str
    call_id: str
    call_model: str
    handle: str
    submitted: int | None
    cost_micro_usd: int | None
    reserved_micro_usd: int
    key_id: str
    twin_of: str
    error_code: str
    budget: str
    choices: str
    trace: str

    @classmethod
    def from_hash(cls, job_id: str, fields: Mapping[str, str], *, spec: EditSpec | None = None) -> "JobRecord":
        """The record from the hash's fields; `spec`, if it is known, need not be read again.

        Raises KeyError if the hash is not a whole job.
        """

        def number(name: str) -> int | None:
            text = fields.get(name, "")
            return int(text) if text else None

        return cls(
            id=job_id,
            tenant=fields["tenant"],
            state=JobState(fields["state"]),
            at=fields.get("at", ""),
            lane=fields["lane"],
            gen=int(fields["gen"]),
            version=int(fields["version"]),
            spec=spec or EditSpec.from_record(fields["spec"], fields["tenant"], job_id),
            course=Course.model_validate_json(fields["course"]) if fields.get("course") else _NOTHING_YET,
            hook=fields.get("hook") == "1",
            batch=fields.get("batch", ""),
            parent=fields.get("parent", ""),
            request_id=fields.get("request_id", ""),
            created=int(fields["created"]),
            deadline=int(fields["deadline"]),
            started=number("started"),
            finished=number("finished"),
            expires=number("expires"),
            attempts=number("attempts") or 0,
            failures=number("failures") or 0,
            kills=number("kills") or 0,
            cancel=fields.get("cancel") == "1",
            stage=fields.get("stage", ""),
            waiting_on=fields.get("waiting_on", ""),
            call=fields.get("call", ""),
            call_id=fields.get("call_id", ""),
            call_model=fields.get("call_model", ""),
            handle=fields.get("handle", ""),
            submitted=number("submitted"),
            cost_micro_usd=number("cost_micro_usd"),
            reserved_micro_usd=number("reserved") or 0,
            key_id=fields.get("key", ""),
            twin_of=fields.get("twin_of", ""),
            error_code=fields.get("error_code", ""),
            budget=fields.get("budget", ""),
            choices=fields.get("choices", ""),
            trace=fields.get("trace", ""),
        )


API_PREFIX = "/api/image-studio/edit"


def to_json(value: Any) -> str:
    """Compact JSON for a field of a record."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
