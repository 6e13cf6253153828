"""States, moves, the record, and the Job that callers see of it in each state."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.edit import InputRef, Role
from shared.errors import error_classes
from shared.job import (
    TRANSITIONS,
    Attempt,
    CostLine,
    Course,
    Geometry,
    JobFailure,
    JobRecord,
    JobState,
    StoredOutput,
    time_of,
)
from shared.job_view import job_view
from shared.store.connection import Scripts
from shared.store.jobs import Jobs
from shared.store.leases import Leases, Release
from tests.conftest import make_job, make_spec, take_one

URL = "https://edit.example"
LINK = ("https://storage.example/0.png?X-Amz-Signature=1", datetime(2026, 1, 2, tzinfo=UTC))
OUTPUT = StoredOutput(
    key="out/t1/edit/1/0.png", width=600, height=400, format="png", bytes=5, sha256="a" * 64, thumbnails={"320": "out/t1/t"}
)
GEOMETRY = Geometry(input=(600, 400), sent=(600, 400), received=(600, 400), delivered=(600, 400), method="identity")
ATTEMPT = Attempt(n=1, model="m", provider="p", started_at=datetime(2026, 1, 1, tzinfo=UTC))
DONE = Course(model="m", provider="p", output=OUTPUT, geometry=GEOMETRY, estimated_usd=0.04, attempts=(ATTEMPT,))


def a_record(state: JobState = JobState.QUEUED, **fields: Any) -> JobRecord:
    defaults = {
        "tenant": "t1",
        "state": state.value,
        "lane": "local",
        "gen": "0",
        "version": "1",
        "spec": make_spec(metadata={"order": "7"}, max_cost=0.5).model_dump_json(exclude_defaults=True),
        "created": "1767225600123",
        "deadline": "1767229200123",
    }
    return JobRecord.from_hash("edit_1", {**defaults, **fields})


def view(record: JobRecord, *, link: tuple[str, datetime] | None = None) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(job_view(record, base_url=URL, output_link=link).model_dump_json())
    return shown


def test_the_table_of_moves_covers_every_state_and_ends_are_never_left() -> None:
    assert set(TRANSITIONS) == set(JobState)
    assert {state for state in JobState if state.terminal} == {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED}
    assert all(state not in moves for state, moves in TRANSITIONS.items())
    assert JobState.SUCCEEDED not in TRANSITIONS[JobState.QUEUED]


def test_a_queued_edit_is_shown_with_what_is_known() -> None:
    shown = view(a_record())
    assert (shown["status"], shown["object"], shown["requested_model"], shown["model"]) == ("queued", "edit", None, None)
    assert shown["progress"] == {"stage": "queued", "waiting_on": "worker", "queue_position": None, "eta_s": None}
    assert shown["cost"] == {"estimated": 0.0, "actual": None, "max": 0.5, "quoted": None, "budget": None, "lines": []}
    assert shown["input"] == {"width": 600, "height": 400, "format": "png", "bytes": 466_706, "sha256": "0" * 64}
    assert (shown["created_at"], shown["started_at"], shown["error"]) == ("2026-01-01T00:00:00.123Z", None, None)
    assert shown["metadata"] == {"order": "7"}
    assert set(shown["urls"].values()) == {
        f"{URL}/api/image-studio/edit/jobs/edit_1{tail}" for tail in ("", "/cancel", "/events", "/result")
    }


def test_an_edit_whose_picture_was_not_fetched_shows_none() -> None:
    spec = make_spec().model_copy(update={"inputs": (InputRef(role=Role.IMAGE, url="https://pictures.example/1.png"),)})
    assert view(a_record(spec=spec.model_dump_json(exclude_defaults=True)))["input"] is None


@pytest.mark.parametrize("reason", ["rate_limit", "retry_backoff", "storage"])
def test_an_edit_that_waits_says_for_what_and_not_where_it_was(reason: str) -> None:
    shown = view(a_record(at="wait", waiting_on=reason, stage="editing"))["progress"]
    assert (shown["stage"], shown["waiting_on"]) == ("queued", reason)


def test_a_running_edit_shows_its_stage_and_no_result() -> None:
    record = a_record(
        JobState.RUNNING, stage="editing", waiting_on="provider", started="1767225601000", course=DONE.model_dump_json()
    )
    shown = view(record, link=LINK)
    assert (shown["progress"]["stage"], shown["progress"]["waiting_on"]) == ("editing", "provider")
    assert (shown["output"], shown["geometry"], shown["started_at"]) == (None, None, "2026-01-01T00:00:01.000Z")
    assert shown["attempts"][0]["outcome"] is None


def test_an_edit_that_has_just_been_taken_is_at_no_later_stage_than_queued() -> None:
    assert view(a_record(JobState.RUNNING))["progress"]["stage"] == "queued"


def test_a_succeeded_edit_shows_its_result_and_nothing_of_the_storage() -> None:
    record = a_record(JobState.SUCCEEDED, course=DONE.model_dump_json(), cost_micro_usd="40000", finished="1767225602000")
    shown = view(record, link=LINK)
    assert shown["output"] == {
        "url": LINK[0],
        "url_expires_at": "2026-01-02T00:00:00.000Z",
        "width": 600,
        "height": 400,
        "format": "png",
        "bytes": 5,
        "sha256": "a" * 64,
    }
    assert (shown["cost"]["actual"], shown["progress"]["stage"], shown["error"]) == (0.04, "done", None)
    assert shown["geometry"]["delivered"] == [600, 400]
    assert "out/t1" not in json.dumps(shown)


def test_a_failed_edit_shows_the_workers_account() -> None:
    failure = JobFailure(code="moderated", message="no", retryable=False, by="provider", stage="editing", billed=None)
    course = Course(error=failure, lines=(CostLine(attempt=1, model="m", usd=0.02, billed=None),))
    shown = view(a_record(JobState.FAILED, course=course.model_dump_json(), error_code="moderated", cost_micro_usd="0"))
    assert shown["error"] == failure.model_dump(mode="json")
    assert (shown["cost"]["actual"], shown["cost"]["lines"][0]["billed"], shown["output"]) == (0.0, None, None)


@pytest.mark.parametrize("code", ["deadline_exceeded", "worker_crashed"])
@pytest.mark.parametrize(("call", "billed"), [("", False), ("started", None), ("handle", None)])
def test_an_end_that_a_script_decided_is_told_by_the_codes_title(code: str, call: str, billed: bool | None) -> None:
    stale = JobFailure(code="provider_error", message="no", retryable=True, by="provider", stage="editing", billed=False)
    record = a_record(JobState.FAILED, error_code=code, call=call, stage="editing", course=Course(error=stale).model_dump_json())
    cls = error_classes()[code]
    assert view(record)["error"] == {
        "code": code,
        "message": cls.title,
        "retryable": cls.retryable,
        "by": "service",
        "stage": "editing",
        "billed": billed,
        "line": None,
        "errors": [],
    }


def test_a_canceled_edit_has_no_error_and_no_result() -> None:
    shown = view(a_record(JobState.CANCELED, course=DONE.model_dump_json(), cost_micro_usd="0"), link=LINK)
    assert (shown["error"], shown["output"], shown["progress"]["stage"], shown["cost"]["actual"]) == (None, None, "done", 0.0)


def test_a_hash_that_is_not_a_whole_job_is_refused() -> None:
    with pytest.raises(KeyError):
        JobRecord.from_hash("edit_1", {"tenant": "t1", "state": "queued"})


def test_a_record_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_record().state = JobState.FAILED  # type: ignore[misc]


def test_times_are_utc() -> None:
    assert time_of("1767225600123") == datetime(2026, 1, 1, 0, 0, 0, 123_000, UTC)


async def test_every_state_that_the_scripts_make_can_be_shown(jobs: Jobs, leases: Leases, scripts: Scripts) -> None:
    """The scripts' fields and the view's are written in two languages."""
    accepted = (await jobs.accept(make_job())).record
    seen = [view(accepted)]
    seen.append(view(await take_one(leases)))
    await leases.release(await _get(jobs, accepted.id), Release(delay_s=30, waiting_on="rate_limit"))
    seen.append(view(await _get(jobs, accepted.id)))
    await jobs.cancel("t1", accepted.id)
    seen.append(view(await _get(jobs, accepted.id)))
    assert [(one["status"], one["progress"]["waiting_on"]) for one in seen] == [
        ("queued", "worker"),
        ("running", None),
        ("queued", "rate_limit"),
        ("canceled", None),
    ]
    assert seen[-1]["cost"]["actual"] == 0.0


async def test_an_edit_that_is_canceled_after_its_worker_died_has_cost_nothing(jobs: Jobs, leases: Leases, redis: Any) -> None:
    await jobs.accept(make_job())
    record = await take_one(leases)
    await jobs.cancel("t1", record.id)
    await redis.zadd("timers", {record.id: 0})
    await leases.reap()
    shown = view(await _get(jobs, record.id))
    assert (shown["status"], shown["cost"]["actual"]) == ("canceled", 0.0)


async def _get(jobs: Jobs, job_id: str) -> JobRecord:
    return await jobs.get("t1", job_id)
