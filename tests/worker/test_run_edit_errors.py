"""Whole edits that meet trouble: what is waited for, tried again, and told to the caller, and what it costs."""

import time

import pytest

from shared.edit import InputRef, Role
from shared.job import JobRecord, JobState
from tests import pictures
from tests.simulator_fixtures import PictureServer
from tests.worker.edit_bench import EditBench, die, faulty, outcomes
from tests.worker.edit_fixtures import *  # noqa: F403
from tests.worker.edit_fixtures import OpenBench
from worker.retry import FAILURES_MAX

PHOTO = pictures.samples()["png"]


def failed(record: JobRecord) -> tuple[str, str, bool | None]:
    """Code, whose fault, whether it is billed, of an edit that has failed."""
    assert record.state is JobState.FAILED
    assert record.course.error is not None
    assert record.error_code == record.course.error.code
    assert record.cost_micro_usd == 0, "what failed is not charged"
    return record.course.error.code, record.course.error.by, record.course.error.billed


async def test_without_a_key_the_edit_fails_with_what_would_help(open_bench: OpenBench) -> None:
    bench: EditBench = await open_bench(configured=False)
    await bench.accept(PHOTO)
    record = await bench.work()
    assert failed(record) == ("no_capable_model", "caller", False)
    assert record.course.error is not None
    for word in ("WAVESPEED_API_KEY", "make it black and white", "rotate 90 degrees clockwise"):
        assert word in record.course.error.message
    assert record.course.attempts == ()


async def test_a_limit_pauses_the_lane_and_costs_no_try(bench: EditBench) -> None:
    waiting = await bench.accept(PHOTO, prompt=faulty("429=7s*1"))
    record = await bench.work()
    assert (record.state, record.at, record.waiting_on) == (JobState.QUEUED, "wait", "rate_limit")
    assert (record.failures, record.call, outcomes(record)) == (0, "", [("provider_busy", False)])
    until = int(await bench.redis.hget("lane:wavespeed", "paused_until")) / 1000 - time.time()
    assert 5 < until <= 7
    await bench.accept(PHOTO)
    assert await bench.leases.take("w1", nonce="paused", want=2, providers=tuple(bench.providers)) == []
    await bench.make_due(waiting)
    both = [await bench.work(), await bench.work()]
    assert [record.state for record in both] == [JobState.SUCCEEDED] * 2
    first = next(record for record in both if record.id == waiting.id)
    assert outcomes(first) == [("provider_busy", False), ("succeeded", True)]
    assert len(await bench.simulator.ledger()) == 2


async def test_a_passing_fault_is_tried_again(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO, prompt=faulty("5xx*1, 5000*1"))
    for code in ("provider_error", "provider_error"):
        record = await bench.work()
        assert (record.state, record.waiting_on, record.call) == (JobState.QUEUED, "retry_backoff", "")
        assert outcomes(record)[-1][0] == code
        await bench.make_due(accepted)
    record = await bench.work()
    assert (record.state, record.failures) == (JobState.SUCCEEDED, 2)
    assert [outcome for outcome, _ in outcomes(record)] == ["provider_error", "provider_error", "succeeded"]
    assert [attempt.n for attempt in record.course.attempts] == [1, 2, 3]
    assert record.cost_micro_usd == 20_000


async def test_the_fourth_failure_is_the_last(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO, prompt=faulty("503"))
    for _ in range(3):
        assert (await bench.work()).state is JobState.QUEUED
        await bench.make_due(accepted)
    record = await bench.work()
    assert failed(record) == ("provider_error", "provider", False)
    assert outcomes(record) == [("provider_error", False)] * 4
    assert await bench.simulator.ledger() == []


@pytest.mark.parametrize(
    ("faults", "code", "by"),
    [
        ("moderated", "moderated", "provider"),
        ("nsfw", "moderated", "provider"),
        ("400", "provider_refused", "provider"),
        ("401", "provider_unusable", "provider"),
        ("404", "model_gone", "provider"),
        ("no-outputs", "bad_output", "provider"),
    ],
)
async def test_what_cannot_be_mended_ends_the_edit_at_once(bench: EditBench, faults: str, code: str, by: str) -> None:
    await bench.accept(PHOTO, prompt=faulty(faults), model="qwen-edit")
    record = await bench.work()
    assert failed(record)[:2] == (code, by)
    assert [outcome for outcome, _ in outcomes(record)] == [code]
    assert record.call == "" or code == "bad_output"
    assert await bench.keys("out", record) == []


@pytest.mark.parametrize("fault", ["truncated", "blank", "html"])
async def test_an_output_that_is_no_result_is_kept_aside_and_not_charged(bench: EditBench, fault: str) -> None:
    await bench.accept(PHOTO, prompt=faulty(fault), model="qwen-edit")
    record = await bench.work()
    assert failed(record) == ("bad_output", "provider", True)
    assert outcomes(record) == [("bad_output", True)]
    assert await bench.keys("rejected", record) == ["1/0"]
    assert await bench.keys("out", record) == []


async def test_an_output_that_is_the_input_is_no_result(bench: EditBench) -> None:
    await bench.accept(pictures.encoded(pictures.photo(size=(300, 300)), "PNG"), prompt=faulty("echo"), fallback="none")
    assert failed(await bench.work())[0] == "bad_output"


async def test_an_output_that_can_never_be_fetched_fails_and_says_that_it_is_billed(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO, prompt=faulty("output-404"))
    for _ in range(3):
        assert (await bench.work()).state is JobState.QUEUED
        await bench.make_due(accepted)
    record = await bench.work()
    assert failed(record) == ("provider_error", "provider", True)
    assert outcomes(record) == [("provider_error", True)]
    assert len(await bench.simulator.ledger()) == 1


async def test_an_edit_ends_with_its_deadline(bench: EditBench) -> None:
    await bench.accept(PHOTO, prompt=faulty("stuck"), deadline_s=1)
    record = await bench.work()
    assert failed(record) == ("deadline_exceeded", "service", None)
    assert outcomes(record) == [("deadline_exceeded", None)]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:8080/cup.png", "url_not_allowed"),
        ("http://169.254.169.254/latest/meta-data", "url_not_allowed"),
        ("http://localhost:8080/cup.png", "url_not_allowed"),
    ],
)
async def test_a_url_that_leads_inside_is_refused(bench: EditBench, url: str, code: str) -> None:
    await bench.accept(InputRef(role=Role.IMAGE, url=url), prompt="make it black and white")
    assert failed(await bench.work()) == (code, "caller", False)


@pytest.mark.parametrize(
    ("data", "code"), [(b"<html>", "not_a_picture"), (PHOTO[:60], "truncated_picture"), (None, "url_fetch_failed")]
)
async def test_a_url_that_holds_no_picture_is_the_callers_fault(
    open_bench: OpenBench, picture_server: PictureServer, data: bytes | None, code: str
) -> None:
    bench: EditBench = await open_bench(allow_private_urls=True)
    url = picture_server.add("cup.png", data) if data else f"{picture_server.url}/none.png"
    await bench.accept(InputRef(role=Role.IMAGE, url=url), prompt="make it black and white")
    assert failed(await bench.work()) == (code, "caller", False)


async def test_a_picture_that_is_gone_from_storage_ends_the_edit(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO, prompt="make it black and white")
    assert accepted.spec.image.key is not None
    await bench.storage.delete([accepted.spec.image.key])
    assert failed(await bench.work()) == ("input_gone", "caller", False)


async def test_whatever_breaks_ends_as_our_own_error(bench: EditBench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.accept(PHOTO)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("worker.pictures.plan_edit", broken)
    record = await bench.work()
    assert failed(record) == ("internal_error", "service", False)
    assert "secret detail" not in record.course.model_dump_json()


async def test_a_picture_that_ends_our_processes_fails_without_saying_that_the_call_was_free(
    bench: EditBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = await bench.accept(PHOTO)
    await bench.redis.hset(f"job:{accepted.id}", "failures", FAILURES_MAX - 1)
    monkeypatch.setattr("worker.outputs.inspect_result", die)
    record = await bench.work()
    assert failed(record)[0::2] == ("provider_error", None)
    assert outcomes(record) == [("provider_error", None)]


async def test_another_model_does_what_one_failed_at_and_the_caller_pays_once(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO, prompt=faulty("blank*1"))
    moved_on = await bench.work()
    assert (moved_on.state, moved_on.at, moved_on.call) == (JobState.QUEUED, "ready", "")
    record = await bench.work()
    assert (record.id, record.state) == (accepted.id, JobState.SUCCEEDED)
    assert [attempt.model for attempt in record.course.attempts] == ["qwen-edit", "qwen-edit-plus"]
    assert outcomes(record) == [("bad_output", True), ("succeeded", True)]
    assert record.cost_micro_usd == 20_000
    assert await bench.keys("rejected", record) == ["1/0"]


async def test_a_model_that_fails_twice_is_left_for_the_next(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO, prompt=faulty("503*2"))
    for _ in range(2):
        assert (await bench.work()).state is JobState.QUEUED
        await bench.make_due(accepted)
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED
    assert [attempt.model for attempt in record.course.attempts] == ["qwen-edit", "qwen-edit", "qwen-edit-plus"]


async def test_all_attempts_together_cost_no_more_than_the_bound(bench: EditBench) -> None:
    await bench.accept(PHOTO, prompt=faulty("blank*1"), max_cost=0.03)
    assert (await bench.work()).state is JobState.QUEUED
    record = await bench.work()
    assert failed(record)[0] == "bad_output"
    assert outcomes(record) == [("bad_output", True)]
    assert len(await bench.simulator.ledger()) == 1


async def test_a_provider_that_refuses_our_account_is_not_asked_again(bench: EditBench) -> None:
    await bench.accept(PHOTO, prompt=faulty("401"), provider="wavespeed")
    assert (await bench.work()).state is JobState.QUEUED
    record = await bench.work()
    assert failed(record)[0] == "provider_unusable"
    assert len(record.course.attempts) == 1


async def test_a_pinned_model_never_becomes_another(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO, prompt=faulty("503"), model="qwen-edit")
    for _ in range(3):
        assert (await bench.work()).state is JobState.QUEUED
        await bench.make_due(accepted)
    record = await bench.work()
    assert failed(record)[0] == "provider_error"
    assert {attempt.model for attempt in record.course.attempts} == {"qwen-edit"}
