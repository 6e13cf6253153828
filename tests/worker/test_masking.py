"""Masked edits as pixels: nothing outside of a mask ever changes, whatever a model answers."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from shared.catalog.model import Size
from shared.geometry import GeometryPlan, plan_geometry
from tests import pictures
from worker import pixels as px
from worker.masking import (
    FEATHER_PX,
    Box,
    MaskedResult,
    Polarity,
    box_around,
    composite,
    crop,
    deliver,
    feathered,
    mask_for_model,
    outside_mask_max_delta,
)

MODEL = Size(control="WxH", min_side=32, max_side=96, multiple_of=16)
PIXELS = 10**8


def masks(most: int = 40) -> st.SearchStrategy[Image.Image]:
    """Small masks that select something and not all."""
    shapes = st.tuples(st.integers(2, most), st.integers(2, most))
    drawn = shapes.flatmap(lambda shape: arrays(np.bool_, shape))
    return drawn.filter(lambda found: bool(found.any()) and not found.all()).map(
        lambda found: Image.fromarray(found.astype(np.uint8) * 255)
    )


def noise(size: tuple[int, int], mode: str, seed: int) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), np.uint8)
    return Image.fromarray(values.squeeze(2) if channels == 1 else values)


def rectangle(size: tuple[int, int], box: Box) -> Image.Image:
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


def run(
    folder: Path, source: bytes, mask: Image.Image, answer: Image.Image, *, whole: bool, form: str | None = "png", **options: int
) -> tuple[MaskedResult, Box]:
    """All that is done to the pixels of a masked edit whose model answers `answer`, scaled to what it was asked for."""
    box = (0, 0, *mask.size) if whole else box_around(mask)
    (folder / "source").write_bytes(source)
    mask.save(folder / "mask", "PNG")
    plan = plan_geometry((box[2] - box[0], box[3] - box[1]), MODEL)
    answer.resize(plan.sent).save(folder / "received", "PNG")
    files = (folder / "received", folder / "source", folder / "mask", folder / "target")
    made = deliver(
        files, plan, box, wanted_size=None, output_format=form, output_quality=None, keep_metadata=False, max_pixels=PIXELS
    )
    return made, box


@settings(max_examples=60, deadline=None)
@given(masks(), st.sampled_from(["L", "RGB", "LA", "RGBA"]), st.sampled_from(["L", "RGB", "RGBA"]), st.booleans())
def test_nothing_outside_of_the_mask_changes_by_a_bit(mask: Image.Image, mode: str, answer_mode: str, whole: bool) -> None:
    source = noise(mask.size, mode, 1)
    with tempfile.TemporaryDirectory() as name:
        made, _ = run(Path(name), pictures.encoded(source, "PNG"), mask, noise((64, 64), answer_mode, 2), whole=whole)
        with Image.open(made.picture.file) as opened:
            before, after = np.asarray(source.convert("RGBA")), np.asarray(opened.convert("RGBA"))
    kept = np.asarray(mask) == 0
    assert (before[kept] == after[kept]).all()
    assert made.outside_mask_max_delta == 0
    assert (made.picture.width, made.picture.height) == mask.size


@settings(max_examples=60, deadline=None)
@given(masks())
def test_the_answer_is_taken_in_the_depth_of_every_mask(mask: Image.Image) -> None:
    weight, selected = np.asarray(feathered(mask)), np.asarray(mask) > 0
    assert (weight[~selected] == 0).all()
    assert (weight[selected] > 0).all(), "a selected pixel is always edited"
    assert weight.max() == 255


def test_the_answer_fades_in_over_eight_pixels_within_the_mask() -> None:
    weight = np.asarray(feathered(rectangle((100, 60), (20, 10, 80, 50))))[30, 15:50].tolist()
    assert weight[:5] == [0] * 5
    ramp = weight[5 : 5 + FEATHER_PX]
    assert ramp == sorted(set(ramp))
    assert 0 < ramp[0] < ramp[-1] < 255
    assert set(weight[5 + FEATHER_PX :]) == {255}


def test_a_mask_that_reaches_the_edge_of_the_picture_does_not_fade_there() -> None:
    weight = np.asarray(feathered(rectangle((60, 40), (30, 0, 60, 40))))
    assert (weight[:, 59] == 255).all()


def test_the_box_has_15_percent_around_the_mask_at_least_64_px_and_ends_at_the_picture() -> None:
    assert box_around(rectangle((3000, 1000), (1000, 400, 2000, 500))) == (850, 336, 2150, 564)
    assert box_around(rectangle((200, 150), (10, 20, 30, 40))) == (0, 0, 94, 104)


def test_only_the_box_is_cropped_upright_and_keeps_its_transparency(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(pictures.rotated(6))
    info = crop(tmp_path / "source", tmp_path / "part", (10, 20, 70, 50), max_pixels=PIXELS)
    assert (info.upright_size, info.format, info.has_icc) == ((60, 30), "png", False)
    (tmp_path / "source").write_bytes(pictures.with_alpha())
    assert crop(tmp_path / "source", tmp_path / "part", (10, 20, 70, 50), max_pixels=PIXELS).has_alpha


@pytest.mark.parametrize("polarity", ["white_is_edit", "black_is_edit", "alpha_transparent_is_edit"])
def test_a_model_gets_the_mask_in_its_own_polarity_scaled_and_padded_as_the_picture(polarity: Polarity) -> None:
    plan = GeometryPlan((100, 40), (50, 20), (50, 32), (0, 6))
    made = mask_for_model(rectangle((100, 40), (20, 0, 60, 40)), plan, polarity)
    assert made.size == (50, 32)
    assert made.mode == ("RGBA" if polarity == "alpha_transparent_is_edit" else "L")
    values = np.asarray(made.getchannel("A") if made.mode == "RGBA" else made)
    edited = values == (255 if polarity == "white_is_edit" else 0)
    wanted = np.zeros((32, 50), bool)
    wanted[6:26, 10:30] = True
    assert (edited == wanted).all(), "what pads the picture is kept"
    assert set(np.unique(values)) == {0, 255}


def test_a_single_pixel_survives_being_scaled_down() -> None:
    plan = GeometryPlan((1000, 1000), (50, 50), (50, 50), (0, 0))
    assert mask_for_model(rectangle((1000, 1000), (501, 503, 502, 504)), plan, "white_is_edit").getbbox() == (25, 25, 26, 26)


def test_a_lossy_result_tells_how_much_it_changed_outside(tmp_path: Path) -> None:
    photo = pictures.photo(size=(120, 80))
    mask = rectangle((120, 80), (30, 20, 60, 50))
    made, _ = run(tmp_path, pictures.encoded(photo, "JPEG", quality=95), mask, noise((96, 64), "RGB", 3), whole=True, form=None)
    assert made.picture.format == "jpeg"
    with Image.open(tmp_path / "source") as source, Image.open(made.picture.file) as delivered:
        before, after = np.asarray(source).astype(int), np.asarray(delivered).astype(int)
    worst = np.abs(before - after)[np.asarray(mask) == 0].max()
    assert made.outside_mask_max_delta == worst > 0


def test_a_changed_pixel_outside_is_found_and_one_inside_is_not() -> None:
    before, mask = pictures.photo(size=(120, 80)), rectangle((120, 80), (30, 20, 60, 50))
    outside, inside = before.copy(), before.copy()
    outside.putpixel((3, 70), tuple((value + 7) % 256 if value < 200 else value - 7 for value in before.getpixel((3, 70))))  # type: ignore[union-attr]
    inside.putpixel((40, 30), (255, 0, 255))
    whole = px.Pixels(before, None, ())
    assert outside_mask_max_delta(whole, px.Pixels(outside, None, ()), mask) == 7
    assert outside_mask_max_delta(whole, px.Pixels(inside, None, ()), mask) == 0


def test_the_profile_and_the_transparency_are_the_inputs(tmp_path: Path) -> None:
    mask = rectangle((120, 80), (30, 20, 60, 50))
    made, _ = run(tmp_path, pictures.with_profile("PNG"), mask, noise((96, 64), "RGB", 3), whole=True, form=None)
    with Image.open(made.picture.file) as opened:
        assert opened.info["icc_profile"] == pictures.display_p3()
    made, _ = run(tmp_path, pictures.with_alpha(), mask, noise((96, 64), "RGB", 3), whole=False, form=None)
    with Image.open(made.picture.file) as opened:
        assert opened.getchannel("A").tobytes() == pictures.alpha_ramp((120, 80)).tobytes()


def test_what_the_model_made_is_there_where_the_mask_selects() -> None:
    base, answer = (px.Pixels(Image.new("RGB", (60, 60), colour), None, ()) for colour in ("red", "blue"))
    made = composite(base, answer, rectangle((60, 60), (10, 10, 50, 50)), (0, 0, 60, 60))
    assert made.image.getpixel((30, 30)) == (0, 0, 255)
    assert made.image.getpixel((9, 30)) == (255, 0, 0)
    assert made.alpha is None
