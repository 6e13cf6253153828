"""Whole edits with masks, with pictures beside the one that is edited, and with a larger canvas, on all kinds of models."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.edit import InputRef, Operation, Role
from shared.geometry import plan_geometry
from shared.job import JobRecord, JobState
from tests import pictures
from tests.worker.edit_bench import EditBench, faulty
from tests.worker.edit_fixtures import *  # noqa: F403
from tests.worker.edit_fixtures import OpenBench
from worker.masking import Box
from worker.providers import stability

SIZE = (600, 400)
SPOT: Box = (380, 220, 440, 260)


@pytest.fixture
async def all_providers(open_bench: OpenBench, simulator: Any, monkeypatch: pytest.MonkeyPatch) -> EditBench:
    """A bench with Stability's and WaveSpeed's keys."""
    monkeypatch.setattr(stability, "_POLL_S", 0.02)
    names = ("WAVESPEED", "STABILITY")
    access = {f"{name}_{key}": value for name in names for key, value in (("API_KEY", "k" * 40), ("BASE_URL", simulator.url))}
    bench: EditBench = await open_bench(provider_env=access)
    return bench


def spot() -> Image.Image:
    mask = Image.new("L", SIZE)
    mask.paste(255, SPOT)
    return mask


async def masked(bench: EditBench, data: bytes, mask: Image.Image | None = None, **options: Any) -> JobRecord:
    """A finished edit of the picture with a mask."""
    selected = await bench.put(pictures.encoded(mask or spot(), "PNG"), Role.MASK)
    await bench.accept(await bench.put(data), selected, **options)
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED, record.course.error
    return record


def changes(before: Image.Image, after: Image.Image) -> tuple[int, int]:
    """(largest difference outside of the spot, largest within)."""
    assert before.size == after.size
    mode = "RGBA" if "A" in before.getbands() else "RGB"
    difference = np.abs(np.asarray(before.convert(mode), int) - np.asarray(after.convert(mode), int)).max(axis=2)
    inside = np.asarray(spot()) > 0
    return int(difference[~inside].max()), int(difference[inside].max())


MODELS: dict[str, dict[str, Any]] = {
    "z-image-turbo-inpaint": {"operation": Operation.INPAINT},
    "gpt-image-1": {},
    "qwen-edit": {},
    "image-eraser": {"operation": Operation.ERASE, "prompt": None},
    "stability-inpaint": {"operation": Operation.INPAINT},
    "stability-erase": {"operation": Operation.ERASE, "prompt": None},
    "local-erase": {"operation": Operation.ERASE, "prompt": None},
}


@pytest.mark.parametrize("model", MODELS)
async def test_only_what_the_mask_selects_changes(all_providers: EditBench, model: str) -> None:
    """On each kind: masks of three polarities, a model without masks, a form, and pixels of our own; JPEG answers among them."""
    photo, options = pictures.photo(), MODELS[model]
    record = await masked(all_providers, pictures.encoded(photo, "PNG"), model=model, **options)
    assert record.course.model == model
    outside, inside = changes(photo, pictures.opened(await all_providers.output(record)))
    assert outside == 0
    assert inside > 8
    geometry = record.course.geometry
    assert geometry is not None
    assert (geometry.input, geometry.delivered, geometry.outside_mask_max_delta) == (SIZE, SIZE, 0)


async def test_a_model_without_masks_is_shown_only_the_part_around_the_mask(bench: EditBench) -> None:
    record = await masked(bench, pictures.encoded(pictures.photo(), "PNG"), model="qwen-edit")
    geometry = record.course.geometry
    assert geometry is not None
    part = (60 + 2 * 64, 40 + 2 * 64)
    assert geometry.sent == plan_geometry(part, bench.catalog.models["qwen-edit"].size).sent
    (submit,) = await bench.simulator.ledger()
    async with bench.simulator.http.get(submit["inputs"][0]) as answer:
        shown = pictures.opened(await answer.read())
    assert shown.size == geometry.sent
    left, top = SPOT[0] - 64, SPOT[1] - 64
    crop = pictures.photo().crop((left, top, left + part[0], top + part[1])).resize((94, 84))
    assert np.abs(np.asarray(crop, int) - np.asarray(shown.resize((94, 84)), int)).mean() < 3


@pytest.mark.parametrize(("model", "polarity"), [("z-image-turbo-inpaint", "white"), ("gpt-image-1", "transparent")])
async def test_a_model_is_given_the_mask_in_its_own_polarity_and_in_the_size_of_the_picture(
    bench: EditBench, model: str, polarity: str
) -> None:
    seen: list[Image.Image] = []
    provider = bench.providers["wavespeed"]
    submit = provider.submit

    async def watched(edit: Any) -> Any:
        assert edit.mask is not None
        seen.append(pictures.opened(edit.mask.file.read_bytes()))
        assert seen[0].size == (edit.images[0].width, edit.images[0].height)
        return await submit(edit)

    provider.submit = watched  # type: ignore[method-assign]
    await masked(bench, pictures.encoded(pictures.photo(), "PNG"), model=model, **MODELS[model])
    (mask,) = seen
    edited = np.asarray(mask) == 255 if polarity == "white" else np.asarray(mask.getchannel("A")) == 0
    assert mask.mode == ("L" if polarity == "white" else "RGBA")
    share = (SPOT[2] - SPOT[0]) * (SPOT[3] - SPOT[1]) / (SIZE[0] * SIZE[1])
    assert 0.9 < edited.mean() / share < 1.1


async def test_a_lossy_output_reports_what_changed_outside(bench: EditBench) -> None:
    data = pictures.encoded(pictures.photo(), "JPEG", quality=95)
    record = await masked(bench, data, model="qwen-edit", output_quality=60)
    result = pictures.opened(await bench.output(record))
    assert result.format == "JPEG"
    geometry = record.course.geometry
    assert geometry is not None
    outside, _ = changes(pictures.opened(data), result)
    assert geometry.outside_mask_max_delta == outside > 0


async def test_transparency_and_turned_photographs_keep_what_is_outside(bench: EditBench) -> None:
    faded = pictures.with_alpha(size=SIZE)
    record = await masked(bench, faded, model="qwen-edit")
    outside, _ = changes(pictures.opened(faded), pictures.opened(await bench.output(record)))
    assert outside == 0
    record = await masked(bench, pictures.rotated(6, size=SIZE), model="qwen-edit", output_format="png")
    assert pictures.opened(await bench.output(record)).size == SIZE
    assert record.course.geometry is not None
    assert record.course.geometry.outside_mask_max_delta == 0


async def test_a_masked_edit_is_finished_by_another_worker_without_paying_again(bench: EditBench) -> None:
    photo = pictures.photo()
    selected = await bench.put(pictures.encoded(spot(), "PNG"), Role.MASK)
    image = await bench.put(pictures.encoded(photo, "PNG"))
    accepted = await bench.accept(image, selected, model="qwen-edit", prompt=faulty("output-404*1"))
    assert (await bench.work("w1")).call == "handle"
    await bench.make_due(accepted)
    record = await bench.work("w2")
    outside, inside = changes(photo, pictures.opened(await bench.output(record)))
    assert outside == 0 < inside
    assert len(await bench.simulator.ledger()) == 1


async def test_pictures_of_the_light_and_of_the_background_reach_the_model(all_providers: EditBench) -> None:
    bench, seen = all_providers, []
    provider = bench.providers["stability"]
    submit = provider.submit

    async def watched(edit: Any) -> Any:
        seen.append({role: pictures.opened(source.file.read_bytes()).getpixel((9, 9)) for role, source in edit.others.items()})
        return await submit(edit)

    provider.submit = watched  # type: ignore[method-assign]
    refs: list[InputRef] = [await bench.put(pictures.encoded(pictures.photo(), "PNG"))]
    for role, colour in ((Role.BACKGROUND_IMAGE, "red"), (Role.LIGHTING_IMAGE, "blue")):
        refs.append(await bench.put(pictures.encoded(Image.new("RGB", (120, 90), colour), "PNG"), role))
    await bench.accept(*refs, operation=Operation.RELIGHT, prompt=None)
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED, record.course.error
    assert seen == [{"background_image": (255, 0, 0), "lighting_image": (0, 0, 255)}]


@pytest.mark.parametrize("model", ["stability-outpaint", "local-outpaint"])
@pytest.mark.parametrize("size", [SIZE, (50, 40), (1200, 300)])
async def test_a_larger_canvas_has_exactly_the_size_that_was_asked_for(
    all_providers: EditBench, model: str, size: tuple[int, int]
) -> None:
    sides: dict[str, Any] = {"expand_left": 37, "expand_right": 0, "expand_up": 111, "expand_down": 3}
    data = pictures.encoded(pictures.photo(size=size), "PNG")
    await all_providers.accept(data, model=model, operation=Operation.OUTPAINT, prompt=None, **sides)
    record = await all_providers.work()
    assert record.state is JobState.SUCCEEDED, record.course.error
    result = pictures.opened(await all_providers.output(record)).convert("RGB")
    assert result.size == (size[0] + 37, size[1] + 114)
    inner = np.asarray(result.crop((37, 111, 37 + size[0], 111 + size[1])), int)
    quarter = np.s_[: size[1] // 2, : size[0] // 2]  # There is no mark of the simulator there.
    assert np.abs(inner - np.asarray(pictures.photo(size=size), int))[quarter].mean() < 8, "the picture lies where it belongs"
