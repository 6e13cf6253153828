"""worker/canvas.py: what the caller gets back."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from shared.catalog.model import Size
from shared.errors import PictureTooLarge
from tests import pictures
from tests.round_trip import KONTEXT, QWEN, Trip, distance, info_of, size_limits
from worker import canvas


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from(["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16"]),
    st.integers(1, 8),
    size_limits(),
    st.sampled_from([None, "png", "jpeg", "webp", "avif"]),
)
def test_match_input_gives_exactly_the_upright_size(
    tmp_path: Path, width: int, height: int, mode: str, orientation: int, size: Size, output_format: str | None
) -> None:
    image = pictures.photo(size=(width, height)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = pictures.encoded(image, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
    trip = Trip(tmp_path, data, size)
    adapted = trip.out()
    assert (adapted.width, adapted.height) == trip.plan.sent
    restored = trip.back(output_format=output_format)
    upright = (height, width) if orientation >= 5 else (width, height)
    assert (restored.width, restored.height) == trip.delivered().size == upright
    assert restored.format == (output_format or "png")
    assert restored.bytes == trip.result.stat().st_size


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(16, 60), st.integers(16, 60), st.sampled_from(["L", "RGB", "RGBA", "LA"]), st.sampled_from([1, 8, 16]))
def test_an_upright_lossless_picture_comes_back_with_the_same_values(
    tmp_path: Path, width: int, height: int, mode: str, step: int
) -> None:
    image = pictures.photo(size=(width, height)).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray((np.arange(width * height) % 2 * 255).astype(np.uint8).reshape(height, width)))
    trip = Trip(tmp_path, pictures.encoded(image, "PNG"), Size(max_side=1_000, multiple_of=step))
    trip.out()
    trip.back()
    expected, got = np.asarray(image.convert("RGBA")), np.asarray(trip.delivered().convert("RGBA"))
    visible = expected[..., 3] > 0
    assert (got[..., 3] == expected[..., 3]).all()
    assert (got[visible] == expected[visible]).all()


@pytest.mark.parametrize("name", ["png_alpha", "webp_alpha", "avif_alpha", "png_palette_alpha", "png_grey_alpha"])
def test_the_inputs_transparency_returns_without_a_white_fringe(tmp_path: Path, name: str) -> None:
    source = pictures.opened(pictures.samples()[name]).convert("RGBA")
    trip = Trip(tmp_path, pictures.samples()[name])
    trip.out()
    trip.back(output_format="png")
    delivered = trip.delivered().convert("RGBA")
    assert np.abs(np.asarray(delivered.getchannel("A"), int) - np.asarray(source.getchannel("A"), int)).max() <= 1
    on_black = [Image.alpha_composite(Image.new("RGBA", (120, 80), "black"), image) for image in (source, delivered)]
    assert distance(*on_black) < 6


def test_the_results_own_transparency_wins_and_is_not_lost_to_the_default_format(tmp_path: Path) -> None:
    received = pictures.with_alpha()
    trip = Trip(tmp_path, pictures.samples()["jpeg"])
    assert trip.back(received).format == "png"
    assert trip.delivered().convert("RGBA").getchannel("A").getextrema() == (0, 255)
    assert trip.back(received, output_format="jpeg").format == "jpeg"
    assert np.asarray(trip.delivered().convert("L"))[:, 0].min() > 245


@pytest.mark.parametrize("output_format", ["jpeg", "png", "webp", "avif"])
def test_the_inputs_profile_is_put_back_where_the_result_has_none(tmp_path: Path, output_format: str) -> None:
    trip = Trip(tmp_path, pictures.with_profile())
    trip.out()
    received = pictures.encoded(pictures.opened(trip.sent.read_bytes()), {"avif": "png"}.get(output_format, output_format))
    restored = trip.back(received, output_format=output_format)
    assert restored.method == ("encoded" if output_format == "avif" else "rewrapped")
    assert trip.delivered().info["icc_profile"] == pictures.display_p3()
    if output_format != "avif":
        assert distance(trip.delivered(), pictures.opened(received)) == 0


def test_the_results_own_profile_wins(tmp_path: Path) -> None:
    trip = Trip(tmp_path, pictures.with_profile())
    received = pictures.encoded(pictures.photo(size=(120, 80)), "PNG", icc_profile=pictures.srgb_profile())
    for output_format in ("png", "jpeg"):
        trip.back(received, output_format=output_format)
        assert trip.delivered().info["icc_profile"] == pictures.srgb_profile()


def test_a_profile_of_other_colours_is_not_put_on_the_result(tmp_path: Path) -> None:
    grey = Image.new("L", (120, 80), 90)
    trip = Trip(tmp_path, pictures.encoded(grey, "PNG", icc_profile=pictures.srgb_profile()))
    trip.back(pictures.samples()["png_gps"])
    assert trip.delivered().info.get("icc_profile") is None or trip.delivered().mode == "RGB"
    cmyk = pictures.encoded(pictures.photo(size=(120, 80)).convert("CMYK"), "JPEG", icc_profile=pictures.srgb_profile())
    trip = Trip(tmp_path, cmyk)
    trip.out()
    trip.back()
    assert "icc_profile" not in trip.delivered().info


@pytest.mark.parametrize(("source", "output"), list(product(["JPEG", "PNG", "WEBP", "TIFF"], ["jpeg", "png", "webp", "avif"])))
def test_metadata_that_is_kept_is_upright_and_there_once(tmp_path: Path, source: str, output: str) -> None:
    trip = Trip(tmp_path, pictures.with_gps(source, orientation=6))
    trip.out()
    trip.back(output_format=output, keep_metadata=True)
    exif = trip.delivered().getexif()
    assert exif.get(ExifTags.Base.Orientation, 1) == 1
    assert exif[ExifTags.Base.Make] == "SECRETPLACE camera"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert trip.result.read_bytes().count(b"SECRETPLACE camera") == 1
    assert trip.delivered().size == (80, 120)


def test_every_size_that_can_be_wished(tmp_path: Path) -> None:
    trip = Trip(tmp_path, pictures.encoded(pictures.photo(size=(600, 500)), "PNG"), KONTEXT)
    received = pictures.encoded(pictures.photo(size=(1_184, 888)), "PNG")
    for wanted, size in (("match_input", (600, 500)), ("model", (1_067, 888)), ((300, 700), (300, 700))):
        restored = trip.back(received, wanted_size=wanted)  # type: ignore[arg-type]
        assert (restored.width, restored.height) == trip.delivered().size == size
    with pytest.raises(PictureTooLarge):
        trip.back(received, wanted_size=(99_999, 99_999))
    with pytest.raises(PictureTooLarge, match="webp holds at most 16383"):
        trip.back(received, wanted_size=(16_384, 8), output_format="webp")


def test_the_default_format_is_the_inputs_where_that_can_be_delivered() -> None:
    formats = {name: canvas.default_format(info_of(data)) for name, data in pictures.samples().items()}
    assert {name: formats[name] for name in ("jpeg", "png", "webp", "avif", "gif", "tiff", "bmp")} == {
        "jpeg": "jpeg", "png": "png", "webp": "webp", "avif": "avif", "gif": "png", "tiff": "png", "bmp": "png",
    }  # fmt: skip


def test_a_quality_that_is_asked_for_is_applied(tmp_path: Path) -> None:
    trip = Trip(tmp_path, pictures.samples()["jpeg"])
    trip.out()
    assert trip.back().method == "untouched"
    low, high = (trip.back(output_quality=quality).bytes for quality in (20, 90))
    assert low < high


def test_large_photographs_go_out_and_back_small(tmp_path: Path) -> None:
    data = pictures.encoded(pictures.photo("rocket.jpg", (4_000, 3_000)), "JPEG", quality=90)
    trip = Trip(tmp_path, data, QWEN)
    adapted = trip.out()
    assert (adapted.width, adapted.height) == (1_536, 1_152)
    restored = trip.back()
    assert (restored.width, restored.height, restored.format) == (4_000, 3_000, "jpeg")
    small = [image.resize((400, 300), Image.Resampling.BOX) for image in (trip.delivered(), pictures.opened(data))]
    assert distance(*small) < 3
