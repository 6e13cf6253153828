"""A picture that a model returns for different inputs is no result: what pictures look like, and whole edits that meet one."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageEnhance

from deploy.simulator.paint import _placeholder
from shared.job import JobRecord, JobState
from tests import pictures
from tests.worker.edit_bench import EditBench, faulty, outcomes
from tests.worker.edit_fixtures import *  # noqa: F403
from worker.inspection import inspect
from worker.likeness import likeness

SAME, OTHER = 6, 26  # bits, as shared/store/seen.py has them


def apart(one: Image.Image, other: Image.Image) -> int:
    """How many bits differ."""
    return (int(likeness(one).text, 16) ^ int(likeness(other).text, 16)).bit_count()


def recoded(image: Image.Image, form: str, **options: Any) -> Image.Image:
    return pictures.opened(pictures.encoded(image, form, **options)).convert("RGB")


@pytest.mark.parametrize("size", [(1024, 1024), (300, 200), (1536, 1024), (512, 900)])
def test_a_placeholder_is_known_at_every_size_and_through_recoding(size: tuple[int, int]) -> None:
    first, again = _placeholder().resize((768, 768)), _placeholder().resize(size)
    assert apart(first, again) <= SAME
    assert apart(first, recoded(again, "JPEG", quality=80)) <= SAME
    assert apart(first, recoded(again, "WEBP", quality=80)) <= SAME


def test_different_pictures_and_edits_of_them_are_told_apart() -> None:
    coffee, cat = pictures.photo(), pictures.photo("chelsea.png", size=(600, 400))
    assert apart(coffee, cat) > OTHER
    for change in (ImageEnhance.Color, ImageEnhance.Contrast):
        assert apart(change(coffee).enhance(0.5), change(cat).enhance(0.5)) > OTHER
    assert apart(coffee, coffee.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > OTHER


def test_a_picture_with_hardly_an_edge_is_flat() -> None:
    spot = Image.new("RGB", (300, 200), "white")
    spot.paste((0, 0, 0), (140, 90, 160, 110))
    assert likeness(Image.new("RGB", (300, 200), "red")).is_flat
    assert likeness(spot).is_flat
    assert not likeness(pictures.photo()).is_flat
    assert not likeness(_placeholder()).is_flat
    assert likeness(Image.new("L", (1, 1))).is_flat


def looks(folder: Path, received: Image.Image, source: Path | None) -> tuple[str, str] | None:
    received.save(folder / "received.png")
    found = inspect(
        folder / "received.png",
        sent=None,
        source=source,
        expected_size=None,
        declared_type=None,
        no_op_allowed=False,
        max_pixels=10**6,
    )
    return found.looks


def test_what_proves_nothing_is_not_compared(tmp_path: Path) -> None:
    image = pictures.photo(size=(120, 80))
    source = tmp_path / "source.jpg"
    image.save(source)
    assert looks(tmp_path, image, source) == (likeness(image).text, likeness(pictures.opened(source.read_bytes())).text)
    assert looks(tmp_path, image, None) is None
    cut_out = image.copy()
    cut_out.putalpha(pictures.alpha_ramp((120, 80)))
    assert looks(tmp_path, cut_out, source) is None
    spot = Image.new("RGB", (120, 80), "white")
    spot.paste((0, 0, 0), (50, 30, 60, 40))
    assert looks(tmp_path, spot, source) is None


# Whole edits. The simulator's placeholder is the same for every input.


def photo(name: str = "coffee.png", size: tuple[int, int] = (120, 80)) -> bytes:
    return pictures.encoded(pictures.photo(name, size=size), "PNG")


async def finished(bench: EditBench, data: bytes, prompt: str, **options: Any) -> JobRecord:
    await bench.accept(data, prompt=prompt, **options)
    while not (record := await bench.work()).state.terminal:
        assert record.at == "ready"
    return record


async def test_a_placeholder_is_caught_for_the_second_input_and_the_next_model_does_the_edit(bench: EditBench) -> None:
    first = await finished(bench, photo(), faulty("placeholder*1"))
    assert (first.state, first.course.model) == (JobState.SUCCEEDED, "qwen-edit"), "nobody can know it the first time"
    second = await finished(bench, photo("chelsea.png", size=(300, 300)), faulty("placeholder*1"))
    assert [(attempt.model, attempt.outcome) for attempt in second.course.attempts] == [
        ("qwen-edit", "bad_output"),
        ("qwen-edit-plus", "succeeded"),
    ]
    assert "also returned for another input" in (second.course.attempts[0].error or "")
    assert outcomes(second) == [("bad_output", True), ("succeeded", True)]
    assert second.cost_micro_usd == 20_000, "the caller pays for what was delivered"
    assert await bench.keys("rejected", second) == ["1/0"]


async def test_a_blank_output_is_caught_at_once(bench: EditBench) -> None:
    record = await finished(bench, photo(), faulty("blank*1"))
    assert [(attempt.model, attempt.outcome) for attempt in record.course.attempts] == [
        ("qwen-edit", "bad_output"),
        ("qwen-edit-plus", "succeeded"),
    ]
    assert record.cost_micro_usd == 20_000


async def test_the_same_edit_asked_for_twice_gives_the_same_twice(bench: EditBench) -> None:
    for _ in range(2):
        record = await finished(bench, photo(), "make the cup blue", seed=5)
        assert [outcome for outcome, _ in outcomes(record)] == ["succeeded"]
    assert await bench.redis.llen("seen:qwen-edit") == 2


async def test_edits_done_here_are_not_compared(bench: EditBench) -> None:
    for prompt in ("make it black and white", "rotate 90 degrees clockwise"):
        assert (await finished(bench, photo(), prompt)).state is JobState.SUCCEEDED
    assert await bench.redis.keys("seen:*") == []
