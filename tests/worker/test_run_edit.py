"""Whole edits, from claim to end, on real servers: results and what is charged. For errors see test_run_edit_errors.py."""

import asyncio
import json
from typing import Any

import pytest
from PIL import Image

from shared.edit import InputRef, Operation, Role
from shared.errors import Overloaded
from shared.job import Course, JobRecord, JobState
from shared.job_view import job_view
from tests import pictures
from tests.simulator_fixtures import PictureServer
from tests.worker.edit_bench import BLUE, EditBench, faulty, outcomes
from tests.worker.edit_fixtures import *  # noqa: F403
from tests.worker.edit_fixtures import OpenBench
from worker.hands import Held

PHOTO = pictures.samples()["png"]


async def test_an_edit_by_a_paid_model_succeeds_and_is_charged_once(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO, output_format="png", seed=5)
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED
    result = pictures.opened(await bench.output(record))
    assert (result.format, result.size) == ("PNG", (120, 80))
    (submit,) = await bench.simulator.ledger()
    assert submit["model"] == "wavespeed-ai/qwen-image/edit"
    assert (record.cost_micro_usd, record.course.estimated_usd) == (20_000, 0.02)
    assert outcomes(record) == [("succeeded", True)]
    assert record.course.simulated
    performance = (await bench.learned()).performance("qwen-edit")
    assert (performance.calls, performance.successes, float(performance.spend_usd)) == (1, 1, 0.02)
    assert (record.course.model, record.course.provider) == ("qwen-edit", "wavespeed")
    assert record.course.geometry is not None
    assert record.course.geometry.method == "scaled"
    assert await bench.keys("out", accepted) == ["1/0.png", "1/done.json", "1/thumb-1024.webp", "1/thumb-320.webp", "job.json"]
    shown = job_view(record, base_url="http://edit.example", output_link=await bench.storage.link("k")).model_dump_json()
    assert json.loads(shown)["cost"]["actual"] == 0.02


async def test_an_exact_edit_is_done_here_for_nothing(open_bench: OpenBench) -> None:
    bench: EditBench = await open_bench(configured=False)
    await bench.accept(PHOTO, prompt="make it black and white")
    record = await bench.work()
    result = pictures.opened(await bench.output(record)).convert("RGB")
    assert result.tobytes() == result.convert("L").convert("RGB").tobytes()
    assert (record.cost_micro_usd, record.course.simulated, outcomes(record)) == (0, False, [("succeeded", True)])
    assert record.course.selection is not None
    assert record.course.selection.mode == "exact"
    assert await bench.simulator.ledger() == []


async def test_an_exact_edit_of_one_colour_costs_nothing_either(bench: EditBench) -> None:
    """Its result looks like a placeholder, and no model that is paid may be asked instead."""
    for prompt in ("brightness +20%", "rotate 90 degrees clockwise"):
        await bench.accept(pictures.encoded(Image.new("RGB", (320, 200), (200, 30, 60)), "PNG"), prompt=prompt)
        record = await bench.work()
        assert (record.cost_micro_usd, outcomes(record), record.course.model) == (0, [("succeeded", True)], "local-adjust")
    assert await bench.simulator.ledger() == []


async def test_a_pinned_model_is_the_one_that_is_called(bench: EditBench) -> None:
    await bench.accept(PHOTO, prompt="make it black and white", model="flux-kontext-pro", guidance_scale=4.5)
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED
    (submit,) = await bench.simulator.ledger()
    assert submit["model"] == "wavespeed-ai/flux-kontext-pro"
    assert record.course.selection is not None
    assert (record.course.selection.mode, record.cost_micro_usd) == ("pinned", 40_000)


async def test_a_lost_answer_is_found_in_the_history_and_paid_once(bench: EditBench) -> None:
    await bench.accept(PHOTO, prompt=faulty("lost-answer*1"))
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED
    assert outcomes(record) == [("succeeded", True)]
    assert len(await bench.simulator.ledger()) == 1


async def test_an_output_that_cannot_be_fetched_is_fetched_later_without_paying_again(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO, prompt=faulty("output-404*1"))
    record = await bench.work()
    assert (record.state, record.call, record.failures, outcomes(record)) == (JobState.QUEUED, "handle", 1, [(None, None)])
    await bench.make_due(accepted)
    record = await bench.work()
    assert (record.state, outcomes(record)) == (JobState.SUCCEEDED, [("succeeded", True)])
    assert len(await bench.simulator.ledger()) == 1


async def test_a_result_that_an_earlier_worker_stored_is_adopted(bench: EditBench) -> None:
    await bench.accept(PHOTO)
    (first,) = await bench.take(name="w1")
    finish = bench.leases.finish

    async def died(*_: Any, **__: Any) -> bool:
        raise asyncio.CancelledError

    bench.leases.finish = died  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await bench.runner.run(_held_alone(first))
    bench.leases.finish = finish  # type: ignore[method-assign]
    assert "1/done.json" in await bench.keys("out", first)
    await bench.lose(first)
    record = await bench.work("w2")
    assert (record.state, record.kills, record.gen) == (JobState.SUCCEEDED, 1, 2)
    assert record.course.output is not None
    assert record.course.output.key.startswith(f"out/t1/{record.id}/1/"), "the first worker's objects are the result"
    assert (record.cost_micro_usd, outcomes(record)) == (20_000, [("succeeded", True)])
    assert len(await bench.simulator.ledger()) == 1


def _held_alone(record: JobRecord) -> Held:
    task = asyncio.current_task()
    assert task is not None
    return Held(record, task, record.course)


async def test_an_edit_is_canceled_in_the_middle_of_its_call(bench: EditBench) -> None:
    accepted = await bench.accept(PHOTO, prompt=faulty("stuck"))
    (record,) = await bench.take()
    hands = bench.hands()
    holding = asyncio.create_task(hands.hold(record, bench.runner.run))
    async with asyncio.timeout(10):
        while (await bench.get(accepted)).call != "handle":
            await asyncio.sleep(0.02)
    await bench.jobs.cancel("t1", accepted.id)
    await hands.beat()
    await holding
    record = await bench.get(accepted)
    assert (record.state, record.cost_micro_usd, len(hands)) == (JobState.CANCELED, 0, 0)
    assert outcomes(record) == [("canceled", None)], "the provider may bill it, and the caller is told"
    assert await bench.keys("out", accepted) == []


async def test_a_picture_behind_a_url_is_fetched_stored_and_written_down(
    open_bench: OpenBench, picture_server: PictureServer
) -> None:
    bench: EditBench = await open_bench(allow_private_urls=True)
    url = picture_server.add("cup.png", pictures.with_gps())
    await bench.accept(InputRef(role=Role.IMAGE, url=url), prompt="make it black and white")
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED
    kept = record.spec.image
    assert (kept.key, kept.url) == (f"in/t1/{record.id}/image-0.jpg", url)
    assert kept.info is not None
    assert (kept.info.format, kept.info.upright_size) == ("jpeg", (120, 80))
    assert kept.key is not None
    assert await bench.storage.get(kept.key) == picture_server.pictures["cup.png"]
    assert record.course.input is not None
    assert (record.course.input.width, record.course.input.sha256) == (120, kept.sha256)


async def test_an_edit_in_the_wrong_lane_is_moved_and_not_called(bench: EditBench) -> None:
    await bench.accept(PHOTO, lane="local")
    record = await bench.work()
    assert (record.state, record.lane, record.at, record.failures) == (JobState.QUEUED, "wavespeed", "ready", 0)
    assert await bench.simulator.ledger() == []
    assert (await bench.work()).state is JobState.SUCCEEDED


async def test_a_result_that_our_processes_cannot_work_on_now_is_worked_on_later_and_paid_once(
    bench: EditBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = await bench.accept(PHOTO)
    run, full = bench.runner._outputs._pool.run, [Overloaded("too many pictures wait for a process")]

    async def crowded(function: Any, *args: Any, **kwargs: Any) -> Any:
        if function.__name__ == "restore_result" and full:
            raise full.pop()
        return await run(function, *args, **kwargs)

    monkeypatch.setattr(bench.runner._outputs._pool, "run", crowded)
    record = await bench.work()
    assert (record.state, record.at, record.waiting_on, record.failures) == (JobState.QUEUED, "wait", "worker", 0)
    await bench.make_due(accepted)
    record = await bench.work()
    assert (record.state, outcomes(record)) == (JobState.SUCCEEDED, [("succeeded", True)])
    assert len(await bench.simulator.ledger()) == 1


async def test_every_model_is_sent_only_what_it_declares(bench: EditBench) -> None:
    """The simulator refuses any other parameter, and any value out of its own ranges."""
    values: dict[str, Any] = {"negative_prompt": "blur", "guidance_scale": 1.0, "steps": 20, "seed": 7}
    models = [model for model in bench.catalog.providers["wavespeed"].models if Operation.GENERAL_EDIT in model.operations]
    photo = await bench.put(pictures.encoded(pictures.photo(size=(300, 200)), "PNG"))
    for model in models:
        await bench.accept(photo, model=model.id, strict=False, output_format="jpeg", **values)
    taken, hands = await bench.take(len(models)), bench.hands()
    await asyncio.gather(*(hands.hold(record, bench.runner.run) for record in taken))
    ended = [await bench.get(record) for record in taken]
    assert [(record.course.model, record.course.error) for record in ended if record.state is not JobState.SUCCEEDED] == []


async def test_no_spool_file_is_left(bench: EditBench, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    await bench.accept(PHOTO)
    await bench.accept(PHOTO, prompt=faulty("moderated"))
    await bench.work()
    await bench.work()
    assert list(tmp_path.glob("edit-*")) == []


async def test_a_course_written_by_one_worker_is_read_by_the_next(bench: EditBench) -> None:
    await bench.accept(PHOTO, prompt=faulty("503*1"))
    record = await bench.work()
    assert Course.model_validate_json(record.course.model_dump_json(exclude_defaults=True)) == record.course
    assert BLUE not in record.course.model_dump_json(), "the prompt is in the spec, once"
