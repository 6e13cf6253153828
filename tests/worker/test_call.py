"""The one paid call of an edit: resumed, looked for, never made twice without need, and told truly in the receipt."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from shared.catalog.load import load_catalog
from shared.catalog.model import Parameter, Size
from shared.errors import DeadlineExceeded, ProviderModerated, ProviderTransient
from shared.geometry import plan_geometry
from shared.job import Course, JobRecord, JobState
from shared.parameters import made_parameters
from tests import pictures
from tests.simulator_fixtures import Simulator
from tests.worker.edit_bench import BLUE, EditBench, faulty, outcomes
from tests.worker.edit_fixtures import *  # noqa: F403
from tests.worker.edit_fixtures import OpenBench
from worker.call import ended, ended_by, started
from worker.hands import Hands

PHOTO = pictures.samples()["png"]
MODEL = load_catalog().models["qwen-edit"]


async def held_until(bench: EditBench, hands: Hands, record: JobRecord, call: str) -> "asyncio.Task[None]":
    """Hold the edit until its record says `call`."""
    task = asyncio.create_task(hands.hold(record, bench.runner.run))
    async with asyncio.timeout(10):
        while (await bench.get(record)).call != call:
            await asyncio.sleep(0.01)
    return task


async def vanish(hands: Hands, task: "asyncio.Task[None]") -> None:
    """End a worker as a crash would: nothing is written any more."""
    for held in hands._held.values():
        held.why = "lost"
        held.task.cancel()
    await task


async def test_a_call_is_resumed_by_its_handle_and_made_once(bench: EditBench) -> None:
    await bench.accept(PHOTO, prompt=faulty("slow=0.3s"))
    (record,) = await bench.take(name="w1")
    hands = bench.hands("w1")
    await vanish(hands, await held_until(bench, hands, record, "handle"))
    await bench.lose(record)
    resumed = await bench.work("w2")
    assert (resumed.state, resumed.kills, resumed.attempts) == (JobState.SUCCEEDED, 1, 2)
    (submit,) = await bench.simulator.ledger()
    assert resumed.handle == submit["id"]
    assert outcomes(resumed) == [("succeeded", True)]
    assert resumed.cost_micro_usd == 20_000


async def test_a_drained_call_is_resumed_and_counts_as_no_failure(bench: EditBench) -> None:
    await bench.accept(PHOTO, prompt=faulty("slow=0.3s"))
    (record,) = await bench.take(name="w1")
    hands = bench.hands("w1")
    task = await held_until(bench, hands, record, "handle")
    async with asyncio.timeout(10):
        while not all(held.resumable for held in hands._held.values()):
            await asyncio.sleep(0.01)
    await hands.drain()
    await task
    given = await bench.get(record)
    assert (given.state, given.at, given.kills, given.failures) == (JobState.QUEUED, "ready", 0, 0)
    resumed = await bench.work("w2")
    assert (resumed.state, outcomes(resumed)) == (JobState.SUCCEEDED, [("succeeded", True)])
    assert len(await bench.simulator.ledger()) == 1


async def test_a_pinned_choice_is_not_made_anew_while_a_call_is_under_way(bench: EditBench) -> None:
    """Two workers may have different catalogues or keys; a paid task belongs to the model that it was made with."""
    await bench.accept(PHOTO, prompt=faulty("slow=0.3s"), model="flux-kontext-pro")
    (record,) = await bench.take(name="w1")
    hands = bench.hands("w1")
    await vanish(hands, await held_until(bench, hands, record, "handle"))
    await bench.redis.hset(
        f"job:{record.id}", "spec", record.spec.model_copy(update={"model": None}).model_dump_json(exclude_defaults=True)
    )
    await bench.lose(record)
    resumed = await bench.work("w2")
    assert (resumed.state, resumed.course.model) == (JobState.SUCCEEDED, "flux-kontext-pro")
    assert len(await bench.simulator.ledger()) == 1


async def test_a_call_that_was_cut_off_is_looked_for_before_it_is_made_again(bench: EditBench) -> None:
    """The worker died between sending the request and writing the answer down."""
    await bench.accept(PHOTO)
    (record,) = await bench.take(name="w1")
    hands = bench.hands("w1")
    await vanish(hands, await held_until(bench, hands, record, "handle"))
    await bench.redis.hset(f"job:{record.id}", mapping={"call": "started", "handle": ""})
    await bench.lose(record)
    found = await bench.work("w2")
    assert (found.state, outcomes(found)) == (JobState.SUCCEEDED, [("succeeded", True)])
    assert len(await bench.simulator.ledger()) == 1


async def test_a_call_that_cannot_be_found_is_made_again_and_both_are_in_the_receipt(bench: EditBench) -> None:
    """It never arrived, or it did: whether the provider charges for it cannot be known."""
    await bench.accept(PHOTO)
    (record,) = await bench.take(name="w1")
    hands = bench.hands("w1")
    await vanish(hands, await held_until(bench, hands, record, "handle"))
    await bench.redis.hset(f"job:{record.id}", mapping={"call": "started", "handle": "", "call_id": "f" * 16})
    await bench.lose(record)
    again = await bench.work("w2")
    assert again.state is JobState.SUCCEEDED
    assert outcomes(again) == [("worker_crashed", None), ("succeeded", True)]
    assert again.cost_micro_usd == 20_000, "the caller pays once"
    assert len(await bench.simulator.ledger()) == 2


async def test_a_lost_answer_that_the_history_does_not_show_is_retried_with_its_line_unknown(
    bench: EditBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider: Any = bench.providers["wavespeed"]
    accepted = await bench.accept(PHOTO, prompt=faulty("lost-answer*1"))
    with monkeypatch.context() as hidden:
        hidden.setattr(provider, "find", _none)
        record = await bench.work()
        assert (record.state, record.waiting_on, record.call, record.failures) == (JobState.QUEUED, "retry_backoff", "started", 1)
        assert outcomes(record) == [("provider_ambiguous", None)]
        await bench.make_due(accepted)
        record = await bench.work()
    assert (record.state, outcomes(record)) == (JobState.SUCCEEDED, [("provider_ambiguous", None), ("succeeded", True)])
    assert len(await bench.simulator.ledger()) == 2


async def test_a_lost_answer_is_not_looked_for_where_there_is_no_history(
    open_bench: OpenBench, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is over at once, and the next turn may choose another model for the next one."""
    access = {"HUGGINGFACE_API_KEY": "simulated-key", "HUGGINGFACE_BASE_URL": simulator.url}
    bench: EditBench = await open_bench(provider_env=access)
    provider: Any = bench.providers["huggingface"]
    monkeypatch.setattr(provider, "find", None)
    accepted = await bench.accept(PHOTO, prompt=faulty("lost-answer*1"))
    record = await bench.work()
    assert (record.state, record.waiting_on, record.call, record.failures) == (JobState.QUEUED, "retry_backoff", "", 1)
    assert outcomes(record) == [("provider_ambiguous", None)]
    await bench.make_due(accepted)
    record = await bench.work()
    assert (record.state, outcomes(record)) == (JobState.SUCCEEDED, [("provider_ambiguous", None), ("succeeded", True)])


async def _none(*_: Any, **__: Any) -> None:
    return None


async def test_a_lost_answer_that_shows_later_is_taken_up_and_the_receipt_is_put_right(
    bench: EditBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call was made and one is billed, though for a while nobody knew."""
    provider: Any = bench.providers["wavespeed"]
    accepted = await bench.accept(PHOTO, prompt=faulty("lost-answer*1"))
    with monkeypatch.context() as hidden:
        hidden.setattr(provider, "find", _none)
        assert outcomes(await bench.work()) == [("provider_ambiguous", None)]
    await bench.make_due(accepted)
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED
    assert len(await bench.simulator.ledger()) == 1
    assert outcomes(record) == [("succeeded", True)]
    assert [line.usd for line in record.course.lines] == [0.02]


async def test_a_history_that_cannot_be_read_makes_the_edit_wait_and_nothing_is_paid_twice(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO)
    (record,) = await bench.take(name="w1")
    hands = bench.hands("w1")
    await vanish(hands, await held_until(bench, hands, record, "handle"))
    await bench.redis.hset(f"job:{record.id}", mapping={"call": "started", "handle": ""})
    await bench.lose(record)
    await bench.simulator.set_faults(down_s=600)
    waiting = await bench.work("w2")
    assert (waiting.state, waiting.waiting_on, waiting.call) == (JobState.QUEUED, "retry_backoff", "started")
    assert outcomes(waiting) == [("provider_error", None)], "whether it is billed is what could not be looked up"
    await bench.simulator.set_faults()
    await bench.make_due(accepted)
    done = await bench.work("w2")
    assert (done.state, outcomes(done)) == (JobState.SUCCEEDED, [("succeeded", True)])
    assert len(await bench.simulator.ledger()) == 1


async def test_not_being_able_to_look_is_no_failure_of_the_task(bench: EditBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.call._POLL_TROUBLE_S", (0.01, 0.02))
    await bench.accept(PHOTO, prompt=faulty("poll-503*3, poll-429*2"))
    record = await bench.work()
    assert (record.state, record.failures, outcomes(record)) == (JobState.SUCCEEDED, 0, [("succeeded", True)])
    assert len(await bench.simulator.ledger()) == 1


async def test_a_call_is_written_down_before_it_is_made(bench: EditBench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.accept(PHOTO)
    provider: Any = bench.providers["wavespeed"]
    submit, seen = provider.submit, []

    async def watched(edit: Any) -> Any:
        record = (await bench.jobs.page("t1")).records[0]
        seen.append((record.call, record.call_id == edit.call_id, record.call_model, record.submitted is not None, record.stage))
        return await submit(edit)

    monkeypatch.setattr(provider, "submit", watched)
    assert (await bench.work()).state is JobState.SUCCEEDED
    assert seen == [("started", True, "qwen-edit", True, "editing")]


async def test_a_worker_that_lost_its_edit_makes_no_call(bench: EditBench) -> None:
    await bench.accept(PHOTO)
    (record,) = await bench.take(name="w1")
    await bench.lose(record)
    (theirs,) = await bench.take(name="w2")
    await bench.hands("w1").hold(record, bench.runner.run)
    assert await bench.simulator.ledger() == []
    now = await bench.get(record)
    assert (now.state, now.gen, now.call) == (JobState.RUNNING, theirs.gen, "")


async def test_an_option_that_is_left_out_is_told(bench: EditBench) -> None:
    await bench.accept(PHOTO, strict=False, guidance_scale=4.0, seed=7)
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED
    assert record.course.adaptations == ("qwen-edit has no /guidance_scale; it was left out",)


async def test_what_was_changed_for_the_model_is_told(bench: EditBench) -> None:
    await bench.accept(pictures.samples()["png_alpha"])
    assert (await bench.work()).course.adaptations == ("transparency laid on white for the model",)


@pytest.mark.parametrize(
    ("wanted", "size", "sent"),
    [(None, (600, 400), "png"), ("webp", (600, 400), "webp"), ("avif", (600, 400), "png"), ("webp", (120, 80), "png")],
)
def test_a_format_is_passed_through_only_where_nothing_is_done_to_the_result(
    wanted: str | None, size: tuple[int, int], sent: str
) -> None:
    plan = plan_geometry((size[0], size[1]), MODEL.size)
    made = made_parameters(MODEL, plan, wanted)
    assert made == {"size": f"{plan.sent[0]}*{plan.sent[1]}", "output_format": sent}


def test_an_aspect_is_named_as_the_model_names_it() -> None:
    model = load_catalog().models["flux-kontext-pro"]
    plan = plan_geometry((1_920, 1_000), model.size)
    assert made_parameters(model, plan, None) == {"size": "16:9"}


def test_a_model_that_decides_itself_is_told_nothing() -> None:
    model = MODEL.model_copy(
        update={"size": Size(max_side=4_096), "parameters": {"seed": Parameter(type="integer", field="seed")}}
    )
    plan = plan_geometry((600, 400), model.size)
    assert made_parameters(model, plan, "jpeg") == {}


def test_an_attempt_ends_once_with_its_line() -> None:
    chosen: Any = type("Chosen", (), {"model": MODEL})
    course = started(Course(estimated_usd=0.02), chosen, number=1)
    assert ended(Course(), "succeeded", None, billed=True) == Course()
    over = ended_by(course, ProviderTransient("no", billed=None))
    assert [(line.attempt, line.usd, line.billed) for line in over.lines] == [(1, 0.02, None)]
    assert ended(over, "succeeded", None, billed=True) == over
    assert ended_by(course, ProviderModerated("no", billed=True)).lines[0].billed is True
    assert ended_by(course, DeadlineExceeded("late")).lines[0].billed is None
    assert (over.attempts[0].outcome, over.attempts[0].error) == ("provider_error", "no")
    assert over.attempts[0].finished_at is not None


async def test_the_prompt_reaches_the_model_as_it_was_written(bench: EditBench, tmp_path: Path) -> None:
    prompt = f"{BLUE} — 把杯子变蓝 \u0000 \U0001f600 [[not a fault]]"
    await bench.accept(PHOTO, prompt=prompt)
    assert (await bench.work()).state is JobState.SUCCEEDED
    assert (await bench.simulator.ledger())[0]["prompt"] == prompt


async def test_a_paid_call_waits_for_a_worker_with_the_providers_key(bench: EditBench, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = await bench.accept(PHOTO, prompt=faulty("slow=0.3s"))
    hands = bench.hands()
    (record,) = await bench.take()
    await vanish(hands, await held_until(bench, hands, record, "handle"))
    await bench.lose(record)
    with monkeypatch.context() as lacking:
        lacking.setattr(bench.runner._chooser, "_providers", {"local": bench.providers["local"]})
        waiting = await bench.work("w2")
    assert (waiting.state, waiting.at, waiting.call, waiting.failures) == (JobState.QUEUED, "wait", "handle", 0)
    await bench.make_due(waiting)
    assert (await bench.work("w3")).state is JobState.SUCCEEDED
    assert len(await bench.simulator.ledger()) == 1
    assert waiting.id == accepted.id
