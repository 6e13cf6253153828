"""The Job that callers see, made of a record (pure)."""

from datetime import datetime
from typing import Any

from shared.edit import EditSpec, Role
from shared.errors import error_classes
from shared.job import (
    API_PREFIX,
    Budget,
    Cost,
    InputView,
    Job,
    JobFailure,
    JobRecord,
    JobState,
    JobUrls,
    OutputView,
    Progress,
    time_of,
)


def job_view(
    record: JobRecord, *, base_url: str, output_link: tuple[str, datetime] | None, queue_position: int | None = None
) -> Job:
    """The Job of a record. `base_url`: the gateway's address, no slash at the end; `output_link`: presigned, with its end."""
    course, spec, here = record.course, record.spec, f"{base_url}{API_PREFIX}/jobs/{record.id}"
    stored = course.output if record.state is JobState.SUCCEEDED else None
    output = None
    if stored is not None and output_link is not None:
        output = OutputView(url=output_link[0], url_expires_at=output_link[1], **stored.model_dump(exclude={"key", "thumbnails"}))
    return Job(
        id=record.id,
        status=record.state,
        operation=spec.operation,
        requested_model=spec.model,
        model=course.model,
        provider=course.provider,
        selection=course.selection and course.selection.model_copy(update={"receipt_url": f"{here}/receipt"}),
        prompt=spec.prompt,
        input=course.input or _input_view(spec),
        output=output,
        geometry=course.geometry if stored else None,
        adaptations=course.adaptations,
        cost=cost_of(record),
        attempts=course.attempts,
        error=failure_of(record),
        progress=_progress(record, queue_position),
        metadata=spec.metadata,
        batch_id=record.batch or None,
        custom_id=spec.custom_id,
        parent_id=record.parent or None,
        request_id=record.request_id,
        simulated=course.simulated,
        created_at=time_of(record.created),
        started_at=time_of(record.started) if record.started else None,
        finished_at=time_of(record.finished) if record.finished else None,
        expires_at=time_of(record.expires) if record.expires else None,
        urls=JobUrls(self=here, cancel=f"{here}/cancel", events=f"{here}/events", result=f"{here}/result"),
    )


def cost_of(record: JobRecord) -> Cost:
    """What it costs, as callers see it. Before a worker has chosen, the estimate is what was reserved."""
    course, spec = record.course, record.spec
    return Cost(
        estimated=record.reserved_micro_usd / 1e6 if course.estimated_usd is None else course.estimated_usd,
        actual=None if record.cost_micro_usd is None else record.cost_micro_usd / 1e6,
        max=spec.max_cost,
        quoted=spec.quoted_usd,
        budget=_budget(record),
        lines=course.lines,
    )


def _budget(record: JobRecord) -> Budget | None:
    if not record.budget:
        return None
    usd = [int(text) / 1e6 if text else None for text in record.budget.split(",")]
    return Budget(daily_limit=usd[0], daily_left=usd[1], monthly_limit=usd[2], monthly_left=usd[3])


def failure_of(record: JobRecord) -> JobFailure | None:
    """The worker's own account, or for an end that a script decided (deadline, crashes, cancel) the code's title."""
    if record.state is not JobState.FAILED:
        return None
    if record.course.error is not None and record.error_code in ("", record.course.error.code):
        return record.course.error
    cls = error_classes()[record.error_code]
    billed = None if record.call else False
    return JobFailure(
        code=cls.code,
        message=cls.title,
        retryable=cls.retryable,
        by="service",
        stage=record.stage or "queued",
        billed=billed,
    )


def _input_view(spec: EditSpec) -> InputView | None:
    """What is known of the picture before a worker fetched it: nothing, if it came as a URL."""
    picture = next((ref for ref in spec.inputs if ref.role is Role.IMAGE), None)
    if picture is None or picture.info is None or picture.sha256 is None:
        return None
    width, height = picture.info.upright_size
    return InputView(width=width, height=height, format=picture.info.format, bytes=picture.info.bytes, sha256=picture.sha256)


def _progress(record: JobRecord, queue_position: int | None) -> Progress:
    if record.state.terminal:
        return Progress(stage="done", waiting_on=None)
    fields: dict[str, Any] = {"stage": record.stage or "queued", "waiting_on": record.waiting_on or None}
    if record.state is JobState.QUEUED:
        fields = {"stage": "queued", "waiting_on": record.waiting_on or "worker", "queue_position": queue_position}
    return Progress.model_validate(fields)
