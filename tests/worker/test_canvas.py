"""worker/canvas.py: what a model gets."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from shared.catalog.model import Model, Size
from shared.errors import PictureError, PictureTooLarge
from tests import pictures
from tests.round_trip import ANY_SIZE, QWEN, Trip, distance, info_of, plan_for
from worker import canvas


def model(**changes: Any) -> Model:
    fields: dict[str, Any] = dict.fromkeys(("operations", "capabilities", "use_cases", "features", "languages"), ())
    fields |= dict.fromkeys(("id", "provider", "name", "description", "path", "source"), "x")
    price = {"usd": 1, "source": "x"}
    return Model(**{**fields, "tier": "budget", "quality": "good", "size": ANY_SIZE, "price": price, **changes})


def test_plans_and_results_cross_process_borders(tmp_path: Path) -> None:
    trip = Trip(tmp_path, pictures.samples()["png"])
    for value in (trip.plan, trip.out(), trip.back()):
        assert pickle.loads(pickle.dumps(value)) == value


def test_what_needs_no_change_may_go_as_it_lies_in_storage() -> None:
    for name, data in pictures.samples().items():
        untouched = not canvas.needs_pixels(info_of(data), plan_for(data, ANY_SIZE), model())
        assert untouched == (name in ("jpeg", "jpeg_grey", "jpeg_progressive", "png", "webp")), name
    data = pictures.samples()["png"]
    assert canvas.needs_pixels(info_of(data), plan_for(data, QWEN), model())
    assert canvas.needs_pixels(info_of(data), plan_for(data, ANY_SIZE), model(input_max_bytes=1_000))
    alpha = pictures.samples()["png_alpha"]
    assert not canvas.needs_pixels(info_of(alpha), plan_for(alpha, ANY_SIZE), model(), keep_alpha=True)


@pytest.mark.parametrize("name", ["jpeg", "jpeg_grey", "jpeg_progressive", "png", "webp"])
def test_an_identity_passes_the_bytes_untouched_both_ways(tmp_path: Path, name: str) -> None:
    data = pictures.samples()[name]
    trip = Trip(tmp_path, data)
    adapted = trip.out()
    assert adapted.file.read_bytes() == data
    assert (adapted.width, adapted.height, adapted.bytes, adapted.notes) == (120, 80, len(data), ())
    restored = trip.back()
    assert restored.method == "untouched"
    assert restored.file.read_bytes() == data


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_model_sees_the_picture_upright(tmp_path: Path, format_: str, orientation: int) -> None:
    trip = Trip(tmp_path, pictures.rotated(orientation, format_))
    trip.out()
    sent = pictures.opened(trip.sent.read_bytes())
    assert sent.size == (120, 80)
    assert distance(sent, pictures.photo(size=(120, 80))) < 6  # recoding; a wrong turn is above 30
    assert trip.back().width == 120
    assert distance(trip.delivered(), pictures.photo(size=(120, 80))) < 8
    assert trip.delivered().getexif().get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [ANY_SIZE, QWEN])
def test_the_place_where_it_was_taken_goes_neither_to_the_model_nor_to_the_caller(
    tmp_path: Path, format_: str, orientation: int, size: Size
) -> None:
    data = pictures.with_gps(format_, orientation)
    assert b"SECRETPLACE" in data
    trip = Trip(tmp_path, data, size)
    trip.out()
    assert b"SECRETPLACE" not in trip.sent.read_bytes()
    trip.back(data if orientation == 1 and size is ANY_SIZE else None)
    assert b"SECRETPLACE" not in trip.result.read_bytes()
    assert not trip.delivered().getexif()


def test_a_jpeg_loses_its_trailer_and_comments_but_no_pixel(tmp_path: Path) -> None:
    image = pictures.photo(size=(120, 80))
    second = pictures.with_gps(size=(16, 16))
    for progressive in (False, True):
        data = pictures.encoded(
            image, "JPEG", comment=b"SECRETPLACE", icc_profile=pictures.srgb_profile(), progressive=progressive
        )
        trip = Trip(tmp_path, data + second)
        assert trip.out().notes == ()
        sent = trip.sent.read_bytes()
        assert b"SECRETPLACE" not in sent
        assert "icc_profile" not in pictures.opened(sent).info
        assert distance(pictures.opened(sent), pictures.opened(data)) == 0


def test_cmyk_becomes_rgb_of_the_same_look(tmp_path: Path) -> None:
    trip = Trip(tmp_path, pictures.cmyk_jpeg())
    assert any("CMYK" in note for note in trip.out().notes)
    assert distance(pictures.opened(trip.sent.read_bytes()), pictures.photo(size=(120, 80))) < 8
    assert "icc_profile" not in pictures.opened(trip.back().file.read_bytes()).info


@pytest.mark.parametrize(("name", "mode"), [("png_16_rgb", "RGB"), ("png_16_grey", "L"), ("png_16_alpha", "RGB")])
def test_16_bits_become_8_of_the_same_brightness(tmp_path: Path, name: str, mode: str) -> None:
    trip = Trip(tmp_path, pictures.samples()[name])
    assert "reduced to 8 bits a channel" in trip.out().notes
    sent = pictures.opened(trip.sent.read_bytes())
    assert sent.mode == mode
    assert distance(sent, pictures.photo(size=(120, 80)).convert(mode)) == 0


def test_32_bit_and_float_greys_keep_their_brightness(tmp_path: Path) -> None:
    grey = np.asarray(pictures.photo(size=(120, 80)).convert("L"))
    for values in (
        grey.astype(np.int32) * 257,
        grey.astype(np.float32) / 255,
        grey.astype(np.float32),
        grey.astype(np.uint16) * 257,
    ):
        trip = Trip(tmp_path, pictures.encoded(Image.fromarray(values), "TIFF"))
        trip.out()
        assert np.abs(np.asarray(pictures.opened(trip.sent.read_bytes()), int) - grey).max() <= 1


def test_transparency_is_laid_on_white_unless_the_model_keeps_it(tmp_path: Path) -> None:
    for name in ("png_alpha", "png_grey_alpha", "png_palette_alpha", "webp_alpha"):
        trip = Trip(tmp_path, pictures.samples()[name])
        assert "transparency laid on white for the model" in trip.out().notes
        sent = pictures.opened(trip.sent.read_bytes())
        assert sent.mode in ("L", "RGB")
        assert np.asarray(sent.convert("L"))[:, 0].min() >= 250
        trip.out(keep_alpha=True)
        assert pictures.opened(trip.sent.read_bytes()).has_transparency_data


def test_padding_mirrors_the_edges(tmp_path: Path) -> None:
    trip = Trip(tmp_path, pictures.encoded(pictures.photo(size=(90, 80)), "PNG"), Size(max_side=1_000, aspects=("16:9",)))
    trip.out()
    (left, _), (width, height) = trip.plan.offset, trip.plan.scaled
    sent = np.asarray(pictures.opened(trip.sent.read_bytes()))
    original = np.asarray(pictures.photo(size=(90, 80)))
    assert sent.shape[:2] == (80, 142)
    assert (sent[:height, left : left + width] == original).all()
    assert (sent[:, left - 1 :: -1][:, :left] == original[:, :left]).all()
    assert (sent[:, left + width :] == original[:, ::-1][:, : 142 - left - width]).all()
    assert trip.back().method == "encoded"
    assert distance(trip.delivered(), pictures.photo(size=(90, 80))) == 0


def test_what_is_too_heavy_as_png_goes_as_jpeg_and_no_heavier_than_the_model_takes(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (200, 300, 3), np.uint8))
    trip = Trip(tmp_path, pictures.encoded(noise, "PNG"))
    assert trip.out().content_type == "image/png"
    adapted = trip.out(max_bytes=150_000)
    assert (adapted.content_type, adapted.bytes <= 150_000) == ("image/jpeg", True)
    with pytest.raises(PictureTooLarge):
        trip.out(max_bytes=10_000)


def test_a_source_that_cannot_be_decoded_is_the_pictures_fault(tmp_path: Path) -> None:
    trip = Trip(tmp_path, pictures.png_with_cut_pixels(), QWEN)
    with pytest.raises(PictureError):
        trip.out()
    with pytest.raises(PictureTooLarge):
        canvas.thumbnails(trip.source, (32,), max_pixels=1_000)
