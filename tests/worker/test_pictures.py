"""What becomes of every kind of picture on its way through a whole edit, by a paid model and here."""

import asyncio
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from shared.edit import OUTPUT_FORMATS, Operation, Role
from shared.job import JobRecord, JobState
from shared.picture import read_info
from tests import pictures
from tests.round_trip import distance
from tests.worker.edit_bench import BLUE, EditBench
from tests.worker.edit_fixtures import *  # noqa: F403
from tests.worker.edit_fixtures import OpenBench

SIZE = (120, 80)
KINDS: Mapping[str, bytes] = {
    **pictures.samples(),
    **{f"rotated_{orientation}": pictures.rotated(orientation) for orientation in range(1, 9)},
    "jpeg_flat": pictures.encoded(pictures.photo(size=(640, 30)), "JPEG"),
    "png_odd": pictures.encoded(pictures.photo(size=(301, 457)), "PNG"),
    "jpeg_large": pictures.encoded(pictures.photo(size=(1_700, 1_100)), "JPEG"),
}
#: For the second paid model, whose output has another aspect: what its geometry can spoil.
FEW = ("jpeg_flat", "png_odd", "jpeg_large", "rotated_6", "png_alpha", "jpeg_p3")
MODELS = {"local-adjust": "brightness +20%", "qwen-edit": BLUE, "flux-kontext-pro": BLUE}


async def run_all(bench: EditBench, wishes: Mapping[str, tuple[bytes, dict[str, Any]]]) -> dict[str, tuple[JobRecord, bytes]]:
    """Many edits at once, by name; each with its result. One whose lane was guessed wrong is taken a second time."""
    names = {(await bench.accept(data, **options)).id: name for name, (data, options) in wishes.items()}
    taken, hands = await bench.take(len(names)), bench.hands()
    ended: dict[str, JobRecord] = {}
    for _ in range(2):
        await asyncio.gather(*(hands.hold(record, bench.runner.run) for record in taken))
        ended |= {names[record.id]: await bench.get(record) for record in taken}
        taken = await bench.take(sum(record.at == "ready" for record in ended.values()))
    return {name: (record, await bench.output(record)) for name, record in ended.items()}


def upright_size(data: bytes) -> tuple[int, int]:
    return read_info(data, max_bytes=10**8, max_pixels=10**8, max_side=10**5).upright_size


def alpha_of(data: bytes) -> Image.Image:
    return pictures.opened(data).convert("RGBA").getchannel("A")


@pytest.mark.parametrize("model", MODELS)
async def test_every_kind_of_picture_comes_back_as_it_went(bench: EditBench, model: str) -> None:
    """Exactly the upright size, its profile, its transparency, its format; nothing of its EXIF."""
    names = FEW if model == "flux-kontext-pro" else tuple(KINDS)
    wishes = {name: (KINDS[name], {"model": model, "prompt": MODELS[model]}) for name in names}
    for name, (record, result) in (await run_all(bench, wishes)).items():
        source, image = KINDS[name], pictures.opened(result)
        info = read_info(source, max_bytes=10**8, max_pixels=10**8, max_side=10**5)
        assert image.size == info.upright_size, name
        assert record.course.output is not None
        assert (record.course.output.width, record.course.output.height) == image.size, name
        default = info.format if info.format in OUTPUT_FORMATS else "png"
        assert (record.course.output.format, (image.format or "").lower()) == (default, default), name
        assert read_info(result, max_bytes=10**8, max_pixels=10**8, max_side=10**5).orientation == 1, name
        assert b"SECRETPLACE" not in result, name
        assert not image.getexif(), name
        assert image.info.get("icc_profile") == pictures.opened(source).info.get("icc_profile"), name
        if info.has_alpha:
            apart = np.abs(np.asarray(alpha_of(result), int) - np.asarray(alpha_of(source), int))
            assert apart.max() <= (4 if info.format == "avif" else 1), name
        geometry = record.course.geometry
        assert geometry is not None
        assert (geometry.input, geometry.delivered) == (info.upright_size, image.size), name


async def test_an_upright_edit_shows_the_picture_the_right_way_up(bench: EditBench) -> None:
    """All eight orientations of one photograph give one result."""
    photo = pictures.photo(size=SIZE)
    wishes = {str(turn): (pictures.rotated(turn), {"prompt": "brightness +20%"}) for turn in range(1, 9)}
    results = {name: pictures.opened(data) for name, (_, data) in (await run_all(bench, wishes)).items()}
    assert all(distance(result, results["1"]) < 3 for result in results.values())
    assert distance(results["1"], photo) < distance(results["1"], photo.rotate(180))


async def test_what_a_paid_model_is_sent_tells_nothing_of_the_caller(bench: EditBench) -> None:
    (record, _) = (await run_all(bench, {"gps": (pictures.with_gps(orientation=6), {})}))["gps"]
    (sent,) = await bench.storage.keys_under(f"sent/t1/{record.id}/")
    assert b"SECRETPLACE" not in await bench.storage.get(sent)
    (submit,) = await bench.simulator.ledger()
    assert sent in submit["inputs"][0]


async def test_metadata_is_kept_on_request_and_upright(bench: EditBench) -> None:
    wishes = {"kept": (pictures.with_gps(orientation=6), {"keep_metadata": True, "prompt": "brightness +20%"})}
    exif = pictures.opened((await run_all(bench, wishes))["kept"][1]).getexif()
    assert exif[ExifTags.Base.Make] == "SECRETPLACE camera"
    assert exif.get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("model", MODELS)
async def test_the_format_and_size_that_are_asked_for_are_delivered(bench: EditBench, model: str) -> None:
    data = pictures.encoded(pictures.photo(size=(300, 200)), "PNG")
    common = {"model": model, "prompt": MODELS[model]}
    formats = {form: (data, {**common, "output_format": form}) for form in OUTPUT_FORMATS}
    sizes = {size: (data, {**common, "size": size}) for size in ("match_input", "model", "64x48", "500x500")}
    small = (data, {**common, "output_format": "jpeg", "output_quality": 20})
    done = await run_all(bench, {**formats, **sizes, "small": small})
    for form in OUTPUT_FORMATS:
        image = pictures.opened(done[form][1])
        assert (image.format or "").lower() == form
        assert image.size == (300, 200)
    assert pictures.opened(done["match_input"][1]).size == (300, 200)
    assert pictures.opened(done["64x48"][1]).size == (64, 48)
    assert pictures.opened(done["500x500"][1]).size == (500, 500)
    across, down = pictures.opened(done["model"][1]).size
    assert across / down == pytest.approx(1.5, rel=0.01)
    assert len(done["small"][1]) < len(done["jpeg"][1])
    own = {"local-adjust": (300, 200), "qwen-edit": (384, 256)}.get(model)
    assert own in (None, (across, down))


async def test_several_pictures_reach_the_model_each_as_itself(bench: EditBench) -> None:
    """References that have to be adapted first must not overwrite each other on their way."""
    colours = [Image.new("RGB", (300, 300), colour) for colour in ("white", "red", "lime")]
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "camera"
    photos = [pictures.encoded(image, "JPEG", exif=exif, quality=95) for image in colours]
    await bench.accept(pictures.encoded(pictures.photo(size=(300, 300)), "JPEG", exif=exif), *photos[1:])
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED
    (submit,) = await bench.simulator.ledger()
    assert submit["model"] == "wavespeed-ai/qwen-image/edit-plus"
    seen: list[Any] = []
    for url in submit["inputs"][1:]:
        async with bench.simulator.http.get(url) as answer:
            seen.append(pictures.opened(await answer.read()).getpixel((9, 9)))
    assert [tuple(value > 128 for value in pixel) for pixel in seen] == [(True, False, False), (False, True, False)]


async def test_a_mask_is_read_and_only_what_it_selects_changes(bench: EditBench) -> None:
    photo = pictures.photo(size=SIZE)
    mask = Image.new("L", SIZE)
    mask.paste(255, (40, 20, 60, 40))
    image = await bench.put(pictures.encoded(photo, "PNG"))
    selected = await bench.put(pictures.encoded(mask, "PNG"), Role.MASK)
    await bench.accept(image, selected, operation=Operation.ERASE, prompt=None)
    record = await bench.work()
    result = np.asarray(pictures.opened(await bench.output(record)).convert("RGB"), int)
    changed = np.abs(result - np.asarray(photo, int)).max(axis=2) > 0
    assert changed[20:40, 40:60].any()
    changed[20:40, 40:60] = False
    assert not changed.any()


async def test_a_mask_of_another_size_is_the_callers_fault(bench: EditBench) -> None:
    image = await bench.put(pictures.samples()["png"])
    mask = await bench.put(pictures.encoded(Image.new("L", (10, 10), 255), "PNG"), Role.MASK)
    await bench.accept(image, mask, operation=Operation.ERASE, prompt=None)
    record = await bench.work()
    assert record.course.error is not None
    assert (record.error_code, record.course.error.by) == ("mask_invalid", "caller")


async def test_an_operation_that_changes_the_size_by_its_nature_is_not_undone(bench: EditBench) -> None:
    data = pictures.encoded(pictures.photo(size=SIZE), "PNG")
    wishes: dict[str, tuple[bytes, dict[str, Any]]] = {
        "upscale": (data, {"operation": Operation.UPSCALE, "prompt": None, "options": {"factor": 4.0}}),
        "outpaint": (data, {"operation": Operation.OUTPAINT, "prompt": None, "expand_left": 30, "expand_down": 10}),
        "rotate": (data, {"prompt": "rotate 90 degrees clockwise"}),
        "exactly": (data, {"operation": Operation.UPSCALE, "prompt": None, "size": "200x100"}),
    }
    sizes = {name: pictures.opened(result).size for name, (_, result) in (await run_all(bench, wishes)).items()}
    assert sizes == {"upscale": (480, 320), "outpaint": (150, 90), "rotate": (80, 120), "exactly": (200, 100)}


async def test_a_provider_that_cannot_reach_our_storage_is_handed_the_bytes(open_bench: OpenBench) -> None:
    bench: EditBench = await open_bench()
    bench.storage._is_public = False
    bench.storage.reachable_from = lambda base_url: False  # type: ignore[method-assign]
    await bench.accept(pictures.samples()["png"])
    await bench.accept(pictures.samples()["jpeg_gps"])
    records = [await bench.work(), await bench.work()]
    assert [record.state for record in records] == [JobState.SUCCEEDED] * 2
    for submit in await bench.simulator.ledger():
        assert submit["inputs"][0].startswith(f"{bench.simulator.url}/storage/")


async def test_a_thumbnail_is_upright_and_in_srgb(bench: EditBench) -> None:
    (record, _) = (await run_all(bench, {"p3": (pictures.with_profile(size=(800, 400)), {"prompt": "brightness +20%"})}))["p3"]
    assert record.course.output is not None
    for width, key in record.course.output.thumbnails.items():
        thumbnail = Image.open(io.BytesIO(await bench.storage.get(key)))
        assert thumbnail.format == "WEBP"
        assert thumbnail.size == (min(int(width), 800), min(int(width), 800) // 2)
        assert "icc_profile" not in thumbnail.info
    assert ImageCms.ImageCmsProfile(io.BytesIO(pictures.display_p3())), "the profile of the test is one"
