"""What calls teach decides whole edits: who is asked next, who is waited for, and what is kept of each call and choice."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.edit import Operation
from shared.job import Attempt, Course, JobRecord, JobState
from shared.receipt import CHOICES, ChoiceRecord
from shared.store.experience import CallEnd
from tests import pictures
from tests.simulator_fixtures import Simulator
from tests.worker.edit_bench import EditBench, faulty, outcomes
from tests.worker.edit_fixtures import *  # noqa: F403
from tests.worker.edit_fixtures import OpenBench
from worker.providers import huggingface

PHOTO = pictures.samples()["png"]
#: Of small ones Hugging Face's models are the cheaper ones.
LARGE = pictures.encoded(pictures.photo(size=(1024, 1024)), "JPEG")
MODEL, NEXT = "qwen-edit", "qwen-edit-plus"

OpenBoth = Callable[..., Awaitable[EditBench]]


@pytest.fixture
def closed_url() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


@pytest.fixture
def open_both(open_bench: OpenBench, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> OpenBoth:
    """Opens a bench with WaveSpeed and Hugging Face; `wavespeed`: its variables, if they are others."""
    monkeypatch.setattr(huggingface, "_POLL_S", 0.02)

    async def start(**wavespeed: str) -> EditBench:
        own = {"API_KEY": "simulated-key", "BASE_URL": simulator.url}
        access = {f"HUGGINGFACE_{name}": value for name, value in own.items()}
        access |= {f"WAVESPEED_{name}": value for name, value in {**own, **wavespeed}.items() if value}
        bench: EditBench = await open_bench(provider_env=access)
        return bench

    return start


async def until_ended(bench: EditBench, record: JobRecord) -> JobRecord:
    """Turn after turn, without the waits between them."""
    for _ in range(10):
        record = await bench.work()
        if record.state.terminal:
            return record
        if record.at == "wait":
            await bench.make_due(record)
    raise AssertionError(record)


def asked(record: JobRecord) -> list[tuple[str, str | None]]:
    """Who was asked, and what came of it."""
    return [(attempt.provider, attempt.outcome) for attempt in record.course.attempts]


def choices_of(record: JobRecord) -> tuple[ChoiceRecord, ...]:
    return CHOICES.validate_json(record.choices) if record.choices else ()


async def told(bench: EditBench, outcome: Any, times: int = 1, model: str = MODEL) -> None:
    """Calls of other edits, as they are counted."""
    end = CallEnd(model, bench.catalog.models[model].provider, Operation.GENERAL_EDIT, outcome, outcome, 1.0, 0)
    for _ in range(times):
        await bench.experiences.record(end)
    await bench.learned()


async def let_try(bench: EditBench, circuit: str) -> None:
    """End the pause of an open circuit."""
    since, _, pause = (await bench.redis.hget("circuits", circuit)).split()
    await bench.redis.hset("circuits", circuit, f"{since} {since} {pause}")
    await bench.learned()


# The mission's graceful fallback: Hugging Face does general edits where WaveSpeed cannot.


async def test_wavespeed_down_means_hugging_face(open_both: OpenBoth, closed_url: str) -> None:
    bench = await open_both(BASE_URL=closed_url)
    record = await until_ended(bench, await bench.accept(LARGE))
    assert (record.state, record.course.provider) == (JobState.SUCCEEDED, "huggingface")
    assert asked(record) == [*[("wavespeed", "provider_error")] * 2, ("huggingface", "succeeded")]
    assert record.cost_micro_usd == round((record.course.estimated_usd or 0) * 1e6) > 0, "only what was delivered is charged"
    (submit,) = await bench.simulator.ledger()
    assert record.course.lines[-1].billed
    assert submit["prompt"] == record.spec.prompt


async def test_wavespeed_refusing_our_account_means_hugging_face_at_once_and_for_the_next_edit_without_asking(
    open_both: OpenBoth,
) -> None:
    bench = await open_both(API_KEY="invalid-key")
    record = await until_ended(bench, await bench.accept(LARGE))
    assert asked(record) == [("wavespeed", "provider_unusable"), ("huggingface", "succeeded")]
    await bench.learned()
    record = await until_ended(bench, await bench.accept(LARGE))
    assert asked(record) == [("huggingface", "succeeded")]
    (choice,) = choices_of(record)
    (out,) = choice.excluded["circuit_open"].values()
    assert set(out) >= {MODEL, NEXT, "seedream-v4.5-edit"}


async def test_no_key_of_wavespeed_means_hugging_face(open_both: OpenBoth) -> None:
    bench = await open_both(API_KEY="")
    record = await until_ended(bench, await bench.accept(LARGE))
    assert asked(record) == [("huggingface", "succeeded")]


async def test_no_fitting_model_of_wavespeed_means_hugging_face(open_both: OpenBoth) -> None:
    bench = await open_both()
    for model in bench.catalog.providers["wavespeed"].models:
        if Operation.GENERAL_EDIT in model.operations:
            await told(bench, "bad", 5, model.id)
    record = await until_ended(bench, await bench.accept(LARGE))
    assert asked(record) == [("huggingface", "succeeded")]


async def test_no_fallback_goes_beyond_the_bound_of_cost(open_both: OpenBoth, closed_url: str) -> None:
    bench = await open_both(BASE_URL=closed_url)
    record = await until_ended(bench, await bench.accept(LARGE, max_cost=0.02))
    assert record.state is JobState.FAILED
    assert {attempt.model for attempt in record.course.attempts} == {MODEL, NEXT}
    assert await bench.simulator.ledger() == []


async def test_without_fallback_the_model_stays_the_one_that_was_chosen(open_both: OpenBoth, closed_url: str) -> None:
    bench = await open_both(BASE_URL=closed_url)
    record = await until_ended(bench, await bench.accept(LARGE, fallback="none"))
    assert record.state is JobState.FAILED
    assert {attempt.model for attempt in record.course.attempts} == {MODEL}


async def test_an_edit_that_was_moved_is_done_where_it_was_moved_to(open_both: OpenBoth) -> None:
    """The next worker knows a little more: what it would have chosen itself does not send the edit back."""
    bench = await open_both()
    await bench.redis.hset("circuits", "provider:wavespeed", "1 9999999999999 60000")
    await bench.learned()
    await bench.accept(LARGE)
    moved = await bench.work()
    assert (moved.lane, moved.at, moved.course.attempts) == ("huggingface", "ready", ())
    assert choices_of(moved) == ()
    await bench.redis.delete("circuits")
    await bench.learned()
    record = await bench.work()
    assert asked(record) == [("huggingface", "succeeded")]
    assert record.course.selection == moved.course.selection


async def test_a_limit_that_the_deadline_cannot_bear_goes_to_another_provider_and_spends_no_try(open_both: OpenBoth) -> None:
    bench = await open_both()
    await bench.accept(LARGE, prompt=faulty("429=600s*1"), deadline_s=60)
    moved = await bench.work()
    assert (moved.lane, moved.at, moved.failures) == ("huggingface", "ready", 0)
    assert await bench.redis.hexists("lane:wavespeed", "paused_until")
    record = await bench.work()
    assert (record.state, record.failures) == (JobState.SUCCEEDED, 0)
    assert asked(record) == [("wavespeed", "provider_busy"), ("huggingface", "succeeded")]


async def test_a_limit_that_nobody_else_can_help_with_is_waited_out(bench: EditBench) -> None:
    await bench.accept(PHOTO, prompt=faulty("429=600s*1"), deadline_s=60)
    record = await bench.work()
    assert (record.at, record.waiting_on, record.lane, record.failures) == ("wait", "rate_limit", "wavespeed", 0)
    assert await bench.redis.zscore("timers", record.id) <= record.deadline


# Circuits.


async def test_a_model_whose_circuit_is_open_is_passed_over(bench: EditBench) -> None:
    await told(bench, "bad", 5)
    await bench.accept(PHOTO)
    record = await bench.work()
    assert (record.state, record.course.model) == (JobState.SUCCEEDED, NEXT)
    (choice,) = choices_of(record)
    assert (choice.model, choice.excluded["circuit_open"]) == (NEXT, {"has failed too often just now": (MODEL,)})


async def test_an_edit_that_only_open_circuits_keep_from_being_done_waits_and_spends_no_try(bench: EditBench) -> None:
    await told(bench, "bad", 5)
    accepted = await bench.accept(PHOTO, model=MODEL)
    record = await bench.work()
    assert (record.state, record.at, record.waiting_on, record.failures) == (JobState.QUEUED, "wait", "provider", 0)
    assert record.course.attempts == ()
    learned = await bench.learned()
    retry_at_ms = learned.health(MODEL).retry_at_ms
    assert retry_at_ms is not None
    assert retry_at_ms - 1_000 <= await bench.redis.zscore("timers", record.id) <= retry_at_ms + 3_000
    (choice,) = choices_of(record)
    assert (choice.model, choice.mode, choice.candidates) == (None, "pinned", ())
    assert choice.excluded["circuit_open"] == {"has failed too often just now": (MODEL,)}
    await bench.make_due(accepted)
    assert (await bench.work()).at == "wait"
    await let_try(bench, f"model:{MODEL}")
    await bench.make_due(accepted)
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED
    assert [one.model for one in choices_of(record)] == [None, None, MODEL]
    assert await bench.redis.hlen("circuits") == 0, "the success has closed it"


async def test_a_half_open_circuit_is_tried_by_one_edit_only(bench: EditBench) -> None:
    await told(bench, "bad", 5)
    await let_try(bench, f"model:{MODEL}")
    assert await bench.experiences.may_probe(MODEL)
    await bench.accept(PHOTO, model=MODEL)
    record = await bench.work()
    assert (record.at, record.waiting_on) == ("wait", "provider")
    await bench.accept(PHOTO)
    assert (await bench.work()).course.model == NEXT


async def test_the_wait_for_a_circuit_ends_with_the_deadline(bench: EditBench) -> None:
    await told(bench, "bad", 5)
    record = await bench.accept(PHOTO, model=MODEL, deadline_s=2)
    waiting = await bench.work()
    assert (waiting.at, waiting.waiting_on) == ("wait", "provider")
    assert await bench.redis.zscore("timers", record.id) <= record.deadline


async def test_a_paid_call_is_collected_whatever_the_circuit_says(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO, prompt=faulty("output-404*1"))
    assert (await bench.work()).call == "handle"
    await told(bench, "bad", 5)
    await bench.make_due(accepted)
    record = await bench.work()
    assert (record.state, record.course.model) == (JobState.SUCCEEDED, MODEL)


async def test_a_model_that_often_fails_is_not_chosen_when_an_equal_one_does_not(bench: EditBench) -> None:
    await told(bench, "bad", 20)
    await bench.redis.delete("circuits")
    await bench.learned()
    await bench.accept(PHOTO)
    record = await bench.work()
    assert record.course.model == NEXT
    (choice,) = choices_of(record)
    assert {one.model: one.score.get("performance", 0) for one in choice.candidates}[MODEL] < 0


# What is written down.


@pytest.fixture
def ends(bench: EditBench, monkeypatch: pytest.MonkeyPatch) -> list[CallEnd]:
    """Everything that is counted."""
    found: list[CallEnd] = []
    record = bench.experiences.record

    async def watched(end: CallEnd) -> None:
        found.append(end)
        await record(end)

    monkeypatch.setattr(bench.experiences, "record", watched)
    return found


@pytest.mark.parametrize(
    ("faults", "counted"),
    [
        ("", [("good", 20_000)]),
        ("503*1", [("bad", 0), ("good", 20_000)]),
        ("blank*1", [("bad", 20_000), ("good", 20_000)]),
        ("429=1s*1", [("neutral", 0), ("good", 20_000)]),
        ("lost-answer*1", [("good", 20_000)]),
        ("moderated", [("neutral", 20_000)]),
        ("400", [("neutral", 0)]),
        ("404*1", [("bad", 0), ("good", 20_000)]),
        ("401", [("unusable", 0)]),
        ("output-404*1", [("good", 20_000)]),
    ],
)
async def test_each_call_is_counted_once_by_what_came_of_it(
    bench: EditBench, ends: list[CallEnd], faults: str, counted: list[tuple[str, int]]
) -> None:
    await until_ended(bench, await bench.accept(PHOTO, prompt=faulty(faults) if faults else "make the cup blue"))
    assert [(end.outcome, end.micro_usd) for end in ends] == counted
    assert {(end.provider, end.operation) for end in ends} == {("wavespeed", Operation.GENERAL_EDIT)}


async def test_a_call_that_ended_as_unknown_is_not_counted_again_when_it_shows(
    bench: EditBench, ends: list[CallEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any, **__: Any) -> None:
        return None

    accepted = await bench.accept(PHOTO, prompt=faulty("lost-answer*1"))
    with monkeypatch.context() as hidden:
        hidden.setattr(bench.providers["wavespeed"], "find", nothing)
        await bench.work()
    await bench.make_due(accepted)
    record = await bench.work()
    assert (record.state, outcomes(record)) == (JobState.SUCCEEDED, [("succeeded", True)])
    assert [(end.outcome, end.micro_usd) for end in ends] == [("bad", 20_000)]


async def test_a_call_that_a_dead_worker_left_behind_says_nothing_of_the_model(bench: EditBench, ends: list[CallEnd]) -> None:
    """A worker's death with five exact edits in hand must not close their model to all, so that paid ones do what it would do."""
    accepted = await bench.accept(PHOTO, prompt="make it black and white")
    await bench.take()
    attempt = Attempt(n=1, model="local-adjust", provider="local", started_at=datetime.now(UTC))
    course = Course(model="local-adjust", provider="local", attempts=(attempt,), estimated_usd=0.0).model_dump_json()
    await bench.redis.hset(
        f"job:{accepted.id}", mapping={"call": "started", "call_id": "f" * 16, "call_model": "local-adjust", "course": course}
    )
    await bench.lose(accepted)
    record = await bench.work("w2")
    assert outcomes(record) == [("worker_crashed", None), ("succeeded", True)]
    assert [(end.model, end.outcome) for end in ends] == [("local-adjust", "neutral"), ("local-adjust", "good")]


async def test_the_time_of_a_call_is_the_providers_part_of_the_edit(bench: EditBench, ends: list[CallEnd]) -> None:
    record = await until_ended(bench, await bench.accept(PHOTO, prompt=faulty("slow=0.5s")))
    (end,) = ends
    assert end.seconds is not None
    assert record.finished is not None
    assert record.submitted is not None
    assert 0.5 <= end.seconds <= (record.finished - record.submitted) / 1000 + 0.1


async def test_how_long_a_result_took_that_lay_there_for_a_while_is_unknown(bench: EditBench, ends: list[CallEnd]) -> None:
    await until_ended(bench, await bench.accept(PHOTO, prompt=faulty("output-404*1")))
    assert [(end.outcome, end.seconds) for end in ends] == [("good", None)]


async def test_an_edit_done_here_is_counted_too(bench: EditBench, ends: list[CallEnd]) -> None:
    await until_ended(bench, await bench.accept(PHOTO, prompt="make it black and white"))
    (end,) = ends
    assert (end.model, end.outcome, end.micro_usd, end.seconds is None) == ("local-adjust", "good", 0, False)


async def test_a_canceled_call_says_nothing_of_the_model(bench: EditBench, ends: list[CallEnd]) -> None:
    await bench.accept(PHOTO, prompt=faulty("stuck"))
    (record,) = await bench.take()
    hands = bench.hands()
    holding = asyncio.create_task(hands.hold(record, bench.runner.run))
    async with asyncio.timeout(10):
        while (await bench.get(record)).call != "handle":
            await asyncio.sleep(0.02)
    await bench.jobs.cancel("t1", record.id)
    await hands.beat()
    await holding
    assert [(end.outcome, end.micro_usd) for end in ends] == [("neutral", 20_000)]


async def test_what_kept_every_model_out_is_kept(open_bench: OpenBench) -> None:
    bench: EditBench = await open_bench(configured=False)
    await bench.accept(PHOTO)
    record = await bench.work()
    assert record.error_code == "no_capable_model"
    (choice,) = choices_of(record)
    assert choice.model is None
    assert MODEL in choice.excluded["not_configured"]["its provider is not configured"]


async def test_of_each_turn_the_choice_is_kept_and_of_many_turns_the_last_six(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO, prompt=faulty("429=1s*8"))
    for turn in range(8):
        record = await bench.work()
        assert len(choices_of(record)) == min(6, turn + 1)
        await bench.make_due(accepted)
    record = await bench.work()
    assert (record.state, record.failures) == (JobState.SUCCEEDED, 0)
    assert [choice.model for choice in choices_of(record)] == [MODEL] * 6


# Moderation.


async def test_what_one_model_refuses_to_show_fails_with_who_and_whether_it_is_billed(bench: EditBench) -> None:
    await bench.accept(PHOTO, prompt=faulty("nsfw"))
    record = await bench.work()
    assert record.course.error is not None
    error = record.course.error
    assert (error.code, error.by, error.stage, error.billed) == ("moderated", "provider", "editing", None)
    assert asked(record) == [("wavespeed", "moderated")]


async def test_what_one_model_refuses_to_show_the_next_may_try_if_the_caller_says_so(bench: EditBench) -> None:
    record = await until_ended(bench, await bench.accept(PHOTO, prompt=faulty("nsfw*1"), on_moderation="fallback"))
    assert [(attempt.model, attempt.outcome) for attempt in record.course.attempts] == [(MODEL, "moderated"), (NEXT, "succeeded")]
    assert record.cost_micro_usd == 20_000
