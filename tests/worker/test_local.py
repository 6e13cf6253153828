"""The `local` provider on real photographs, with a real pool of processes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from shared.catalog.load import load_catalog
from shared.edit import Operation
from shared.errors import ProviderRefused, ProviderTransient, ProviderUnusable
from shared.settings import Settings
from worker.pixel_pool import PixelPool
from worker.providers import local, local_pixels
from worker.providers.base import AdaptedEdit, Done, Provider, Source

_DATA = Path(__file__).parents[1] / "data"
_COFFEE, _CHELSEA, _ASTRONAUT = _DATA / "coffee.png", _DATA / "chelsea.png", _DATA / "astronaut.png"
_CATALOG = load_catalog()
_DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def pool() -> Iterator[PixelPool]:
    # One for all tests: starting a process and loading OpenCV takes longer than most edits.
    pool = PixelPool(Settings(secret="s" * 32, pool_processes=1))
    yield pool
    asyncio.run(pool.close())


@pytest.fixture
async def provider(pool: PixelPool) -> AsyncIterator[Provider]:
    settings = Settings(secret="s" * 32)
    async with aiohttp.ClientSession() as http:
        provider = local.create(settings.provider_access("local"), _CATALOG.providers["local"], settings, http, pool)
        yield provider
        await provider.close()


def _source(file: Path) -> Source:
    with Image.open(file) as picture:
        return Source("image/png", picture.width, picture.height, None, file)


def _edit(model: str, file: Path, prompt: str | None = None, mask: Path | None = None, **more: Any) -> AdaptedEdit:
    entry = _CATALOG.models[model]
    values = {"operation": entry.operations[0], "parameters": {}, **more}
    return AdaptedEdit(
        call_id="0123456789abcdef",
        model=entry,
        prompt=prompt,
        images=(_source(file),),
        mask=mask and _source(mask),
        **values,
    )


async def _made(provider: Provider, edit: AdaptedEdit) -> Image.Image:
    done = await provider.submit(edit)
    assert isinstance(done, Done)
    assert done.data is not None
    assert done.content_type == "image/png"
    picture = Image.open(BytesIO(done.data))
    assert picture.format == "PNG"
    picture.load()
    return picture


def _opened(file: Path, mode: str) -> Image.Image:
    with Image.open(file) as opened:
        return opened.convert(mode)


def _array(picture: Image.Image | Path, mode: str = "RGB") -> NDArray[Any]:
    if isinstance(picture, Path):
        picture = _opened(picture, mode)
    return np.asarray(picture.convert(mode)).astype(np.int16)


def _cut_out(folder: Path) -> Path:
    """Coffee with a transparent left half."""
    picture = _opened(_COFFEE, "RGBA")
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, (0, 0, picture.width // 2, picture.height))
    picture.putalpha(alpha)
    picture.save(folder / "cut_out.png")
    return folder / "cut_out.png"


def _mask(folder: Path, like: Path, box: tuple[int, int, int, int]) -> Path:
    mask = Image.new("L", _opened(like, "L").size, 0)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    mask.save(folder / "mask.png")
    return folder / "mask.png"


async def test_black_and_white_is_the_luma_of_bt_601(provider: Provider) -> None:
    result = await _made(provider, _edit("local-adjust", _COFFEE, "make it black and white"))
    luma = _array(_COFFEE) @ np.array([0.299, 0.587, 0.114])
    assert result.size == (600, 400)
    for channel in range(3):
        assert np.abs(_array(result)[..., channel] - luma).max() <= 1


async def test_turns_and_mirrors_move_pixels_and_change_none(provider: Provider) -> None:
    before = _array(_CHELSEA)
    for prompt, after in {
        "rotate 90 degrees clockwise": np.rot90(before, -1),
        "rotate left": np.rot90(before),
        "rotate 180": np.rot90(before, 2),
        "flip horizontally": before[:, ::-1],
        "flip vertically": before[::-1],
        "invert the colors": 255 - before,
    }.items():
        assert np.array_equal(_array(await _made(provider, _edit("local-adjust", _CHELSEA, prompt))), after), prompt


async def test_tones_move_in_the_direction_that_was_asked_for(provider: Provider) -> None:
    before = _array(_CHELSEA)
    bright = _array(await _made(provider, _edit("local-adjust", _CHELSEA, "brightness +20%")))
    assert np.abs(bright - np.minimum(before * 1.2, 255)).max() <= 1
    flat = _array(await _made(provider, _edit("local-adjust", _CHELSEA, "对比度降低50%")))
    assert flat.std() < before.std() * 0.6
    grey = _array(await _made(provider, _edit("local-adjust", _CHELSEA, "saturation -100%")))
    assert np.ptp(grey, axis=2).max() == 0
    sharp = _array(await _made(provider, _edit("local-adjust", _CHELSEA, "sharpen")))
    soft = _array(await _made(provider, _edit("local-adjust", _CHELSEA, "blur by 4 px")))
    edges = [np.abs(np.diff(picture, axis=1)).mean() for picture in (soft, before, sharp)]
    assert edges[0] < edges[1] < edges[2]


async def test_sepia_is_the_published_matrix(provider: Provider) -> None:
    expected = _array(_CHELSEA) @ np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]]).T
    result = _array(await _made(provider, _edit("local-adjust", _CHELSEA, "make it sepia")))
    assert np.abs(result - np.minimum(expected, 255)).max() <= 1


async def test_adjustments_follow_one_another_and_set_the_size(provider: Provider) -> None:
    prompt = "crop to square, rotate right, resize to 100 px wide and add a 5 px blue border"
    done = await provider.submit(_edit("local-adjust", _COFFEE, prompt))
    assert isinstance(done, Done)
    assert done.data is not None
    assert [step["kind"] for step in done.raw["adjustments"]] == ["crop_aspect", "rotate", "resize", "border"]
    result = Image.open(BytesIO(done.data))
    assert result.size == (110, 110)
    assert result.getpixel((2, 2)) == (0, 0, 255)


async def test_adjustments_keep_transparency(provider: Provider, tmp_path: Path) -> None:
    cut_out = _cut_out(tmp_path)
    for prompt in ("black and white", "sepia", "invert the colors", "brightness +20%", "contrast -30%", "sharpen"):
        result = await _made(provider, _edit("local-adjust", cut_out, prompt))
        assert np.array_equal(_array(result.getchannel("A"), "L"), _array(_opened(cut_out, "RGBA").getchannel("A"), "L")), prompt
    turned = await _made(provider, _edit("local-adjust", cut_out, "flip horizontally"))
    assert turned.getchannel("A").getpixel((599, 0)) == 0


async def test_blur_does_not_drag_out_colours_hidden_by_transparency(provider: Provider, tmp_path: Path) -> None:
    picture = Image.new("RGBA", (60, 40), (0, 0, 255, 255))
    picture.paste((255, 0, 0, 0), (0, 0, 30, 40))
    picture.save(tmp_path / "hidden.png")
    result = _array(await _made(provider, _edit("local-adjust", tmp_path / "hidden.png", "blur by 5 px")), "RGBA")
    visible = result[..., 3] > 16
    assert result[visible][:, 0].max() <= 16


@pytest.mark.parametrize(
    ("file", "subject", "background"),
    [
        (_ASTRONAUT, [(220, 110), (180, 300), (330, 420)], [(60, 20), (300, 30), (390, 120), (490, 60)]),
        (_COFFEE, [(290, 170), (200, 260), (330, 60)], [(60, 30), (560, 40), (560, 350), (30, 360)]),
        (_CHELSEA, [(230, 200), (190, 130), (160, 240)], [(20, 40), (430, 60), (420, 180), (440, 270)]),
    ],
)
async def test_the_background_becomes_transparent_and_the_subject_stays(
    provider: Provider, file: Path, subject: list[tuple[int, int]], background: list[tuple[int, int]]
) -> None:
    result = await _made(provider, _edit("local-background", file))
    assert result.mode == "RGBA"
    assert [result.getchannel("A").getpixel(point) for point in subject] == [255] * len(subject)
    assert [result.getchannel("A").getpixel(point) for point in background] == [0] * len(background)
    opaque = np.asarray(result.getchannel("A")) == 255
    assert np.array_equal(_array(result)[opaque], _array(file)[opaque])


async def test_the_same_picture_is_cut_the_same_way(provider: Provider) -> None:
    first, second = [await _made(provider, _edit("local-background", _CHELSEA)) for _ in range(2)]
    assert first.tobytes() == second.tobytes()


async def test_a_picture_without_a_subject_is_refused(provider: Provider, tmp_path: Path) -> None:
    Image.new("RGB", (100, 80), (40, 90, 200)).save(tmp_path / "plain.png")
    with pytest.raises(ProviderRefused, match="no subject"):
        await provider.submit(_edit("local-background", tmp_path / "plain.png"))


@pytest.mark.parametrize("box", [(300, 40, 310, 50), (325, 220, 420, 335), (0, 300, 120, 399), (0, 0, 599, 390)])
async def test_erasing_changes_pixels_under_the_mask_and_no_others(
    provider: Provider, tmp_path: Path, box: tuple[int, int, int, int]
) -> None:
    mask = _mask(tmp_path, _COFFEE, box)
    result = _array(await _made(provider, _edit("local-erase", _COFFEE, mask=mask)))
    selected = _array(mask, "L") > 0
    assert np.array_equal(result[~selected], _array(_COFFEE)[~selected])
    assert (result[selected] != _array(_COFFEE)[selected]).any(axis=1).mean() > 0.5


@pytest.mark.parametrize("width", [6, 60])
async def test_what_was_erased_looks_like_its_surroundings(provider: Provider, tmp_path: Path, width: int) -> None:
    painted, mask = _opened(_COFFEE, "RGB"), Image.new("L", (600, 400), 0)
    box = (460, 40, 460 + width, 140)
    painted.paste((0, 255, 0), box)
    painted.save(tmp_path / "painted.png")
    mask.paste(255, box)
    mask.save(tmp_path / "mask.png")
    result = _array(await _made(provider, _edit("local-erase", tmp_path / "painted.png", mask=tmp_path / "mask.png")))
    place = np.s_[40:140, 460 : 460 + width]
    assert np.abs(result[place].mean((0, 1)) - _array(_COFFEE)[place].mean((0, 1))).max() < 20


async def test_a_soft_mask_blends(provider: Provider, tmp_path: Path) -> None:
    hard = _mask(tmp_path, _COFFEE, (325, 220, 420, 335))
    full = _array(await _made(provider, _edit("local-erase", _COFFEE, mask=hard)))
    soft = tmp_path / "soft.png"
    _opened(hard, "L").point(lambda value: value // 2).save(soft)
    half = _array(await _made(provider, _edit("local-erase", _COFFEE, mask=soft)))
    between = _array(_COFFEE) + (full - _array(_COFFEE)) * (127 / 255)
    assert np.abs(half - between).max() <= 1


async def test_erasing_keeps_transparency(provider: Provider, tmp_path: Path) -> None:
    cut_out = _cut_out(tmp_path)
    result = await _made(provider, _edit("local-erase", cut_out, mask=_mask(tmp_path, cut_out, (250, 100, 350, 200))))
    assert np.array_equal(_array(result.getchannel("A"), "L"), _array(_opened(cut_out, "RGBA").getchannel("A"), "L"))


@pytest.mark.parametrize("expand", [(200, 120, 80, 100), (0, 7, 0, 0), (2_000, 0, 1_000, 0)])
async def test_outpainting_extends_and_leaves_the_picture_as_it_is(provider: Provider, expand: tuple[int, int, int, int]) -> None:
    left, right, up, down = expand
    result = _array(await _made(provider, _edit("local-outpaint", _COFFEE, expand=expand)))
    assert result.shape == (400 + up + down, 600 + left + right, 3)
    assert np.array_equal(result[up : up + 400, left : left + 600], _array(_COFFEE))
    # Nothing is blank and there is no seam: the first row outside continues the picture.
    assert result.std(axis=(0, 1)).min() > 5
    if right:
        assert np.abs(result[up : up + 400, left + 600] - _array(_COFFEE)[:, -1]).mean() < 12


@pytest.mark.parametrize("factor", [2, 3, 4])
async def test_upscaling_multiplies_both_sides(provider: Provider, factor: int) -> None:
    result = await _made(provider, _edit("local-upscale", _CHELSEA, parameters={"factor": factor}))
    assert result.size == (451 * factor, 300 * factor)
    back = result.resize((451, 300), Image.Resampling.BOX)
    assert np.abs(_array(back) - _array(_CHELSEA)).mean() < 3


async def test_upscaling_doubles_unless_told_otherwise(provider: Provider) -> None:
    assert (await _made(provider, _edit("local-upscale", _CHELSEA))).size == (902, 600)


@pytest.mark.parametrize(
    "edit",
    [
        _edit("local-adjust", _COFFEE, "add a hat"),
        _edit("local-adjust", _COFFEE, "make it black and white but keep the cup red"),
        _edit("local-adjust", _COFFEE, None),
        _edit("local-outpaint", _COFFEE, "a beach", expand=(10, 10, 10, 10)),
        _edit("local-outpaint", _COFFEE),
        _edit("local-erase", _COFFEE),
        _edit("local-background", _COFFEE, mask=_CHELSEA),
        _edit("local-adjust", _COFFEE, "relight it", operation=Operation.RELIGHT),
    ],
)
async def test_what_cannot_be_honoured_is_refused_with_what_can(provider: Provider, edit: AdaptedEdit) -> None:
    with pytest.raises(ProviderRefused, match=r"make it black and white.*remove_background.*erase.*outpaint.*upscale"):
        await provider.submit(edit)


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (_edit("local-adjust", _COFFEE, "crop to 800x600"), "cannot be cropped"),
        (_edit("local-adjust", _COFFEE, "resize to 16000x16000"), "too large"),
        (_edit("local-upscale", _COFFEE, parameters={"factor": 5}), "2, 3 or 4"),
        (_edit("local-erase", _COFFEE, mask=_CHELSEA), "picture's size"),
    ],
)
async def test_impossible_sizes_are_refused(provider: Provider, edit: AdaptedEdit, why: str) -> None:
    with pytest.raises(ProviderRefused, match=why):
        await provider.submit(edit)


async def test_a_result_beyond_the_limit_is_refused_before_any_work(provider: Provider, tmp_path: Path) -> None:
    wide = tmp_path / "wide.png"
    Image.new("L", (5_000, 10)).save(wide)
    with pytest.raises(ProviderRefused, match="20000×40"):
        await provider.submit(_edit("local-upscale", wide, parameters={"factor": 4}))


async def test_a_broken_picture_is_refused(provider: Provider, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(_COFFEE.read_bytes()[:20_000])
    with pytest.raises(ProviderRefused, match="decoded"):
        await provider.submit(_edit("local-adjust", broken, "sepia"))


async def test_a_killed_process_is_a_passing_fault_and_the_next_edit_succeeds(provider: Provider, pool: PixelPool) -> None:
    pid = await pool.run(os.getpid, timeout_s=_DEADLINE_S)
    os.kill(pid, signal.SIGSTOP)
    work = asyncio.ensure_future(provider.submit(_edit("local-background", _ASTRONAUT)))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ProviderTransient):
        await work
    assert (await _made(provider, _edit("local-adjust", _COFFEE, "sepia"))).size == (600, 400)


async def test_an_edit_that_takes_too_long_is_a_passing_fault(
    provider: Provider, pool: PixelPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_TIMEOUT_S", 0.1)
    os.kill(await pool.run(os.getpid, timeout_s=_DEADLINE_S), signal.SIGSTOP)
    with pytest.raises(ProviderTransient, match="longer than"):
        await provider.submit(_edit("local-adjust", _COFFEE, "sepia"))


async def test_the_event_loop_stays_free_during_an_edit(provider: Provider) -> None:
    work = asyncio.ensure_future(provider.submit(_edit("local-background", _ASTRONAUT)))
    turns = 0
    end = time.monotonic() + _DEADLINE_S
    while not work.done() and time.monotonic() < end:
        turns += 1
        await asyncio.sleep(0.005)
    assert turns > 10
    await work


def test_without_opencv_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ProviderUnusable, match=r"edit-studio\[standalone\]"):
        local_pixels.remove_background(_COFFEE)
    assert local_pixels.upscale(_COFFEE, 2)


async def test_nothing_is_left_to_poll_find_or_fetch(provider: Provider) -> None:
    with pytest.raises(ProviderRefused):
        await provider.poll("task")
    assert await provider.find("0123456789abcdef", _CATALOG.models["local-adjust"], submitted_at_ms=0) is None
    assert not provider.may_fetch("http://127.0.0.1/")


def test_every_model_of_the_catalogue_is_free_and_needs_no_key() -> None:
    entry = _CATALOG.providers["local"]
    assert not entry.needs_key
    assert {model.price.base for model in entry.models} == {0}
