"""worker/canvas.py: thumbnails and masks."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from shared.errors import MaskEmpty, MaskFull, MaskInvalid
from tests import pictures
from tests.round_trip import MAX_PIXELS
from worker import canvas
from worker.canvas import MaskMode


@pytest.mark.parametrize("name", sorted(pictures.samples()))
def test_a_thumbnail_is_a_small_upright_webp_and_never_larger_than_the_picture(tmp_path: Path, name: str) -> None:
    (tmp_path / "source").write_bytes(pictures.samples()[name])
    made = [pictures.opened(data) for data in canvas.thumbnails(tmp_path / "source", (60, 320), max_pixels=MAX_PIXELS)]
    assert [(small.format, small.size) for small in made] == [("WEBP", (60, 40)), ("WEBP", (120, 80))]
    assert all("exif" not in small.info for small in made)


def test_a_thumbnail_of_another_colour_space_is_in_srgb(tmp_path: Path) -> None:
    red = Image.new("RGB", (64, 64), (255, 0, 0))
    (tmp_path / "source").write_bytes(pictures.encoded(red, "PNG", icc_profile=pictures.display_p3()))
    small = pictures.opened(*canvas.thumbnails(tmp_path / "source", (64,), max_pixels=MAX_PIXELS))
    p3, srgb = (ImageCms.ImageCmsProfile(io.BytesIO(data)) for data in (pictures.display_p3(), pictures.srgb_profile()))
    expected = ImageCms.profileToProfile(Image.new("RGB", (64, 64), (200, 40, 40)), p3, srgb)
    assert expected is not None
    assert expected.getpixel((0, 0)) != (200, 40, 40)
    assert "icc_profile" not in small.info


def read_mask(
    folder: Path, mask: Image.Image | bytes, mode: MaskMode = "auto", size: tuple[int, int] = (6, 4)
) -> np.ndarray[Any, Any]:
    (folder / "mask").write_bytes(mask if isinstance(mask, bytes) else pictures.encoded(mask, "PNG"))
    made = pictures.opened(canvas.read_mask(folder / "mask", size, mode, max_pixels=MAX_PIXELS))
    assert (made.format, made.mode, made.size) == ("PNG", "L", size)
    values = np.asarray(made)
    assert set(np.unique(values)) == {0, 255}
    return values


def left_white() -> Image.Image:
    mask = Image.new("L", (6, 4), 0)
    mask.paste(255, (0, 0, 3, 4))
    return mask


def test_one_polarity_comes_out_whatever_went_in(tmp_path: Path) -> None:
    left = np.asarray(left_white())
    right = 255 - left
    transparent_left = Image.new("RGBA", (6, 4), "white")
    transparent_left.putalpha(Image.fromarray(right))
    opaque = left_white().convert("RGBA")
    for mask, mode, expected in (
        (left_white(), "auto", left),
        (left_white(), "white_is_edit", left),
        (left_white(), "black_is_edit", right),
        (left_white().convert("1"), "auto", left),
        (left_white().convert("RGB"), "auto", left),
        (left_white().convert("P"), "auto", left),
        (opaque, "auto", left),
        (transparent_left, "auto", left),
        (transparent_left, "alpha_transparent_is_edit", left),
        (transparent_left, "white_is_edit", right),
    ):
        assert (read_mask(tmp_path, mask, mode) == expected).all(), (mask.mode, mode)  # type: ignore[arg-type]


def test_a_16_bit_and_a_lossy_mask_are_read_as_they_were_meant(tmp_path: Path) -> None:
    left = np.asarray(left_white())
    assert (read_mask(tmp_path, Image.fromarray(left.astype(np.uint16) * 257)) == left).all()
    large = left_white().resize((96, 64), Image.Resampling.NEAREST)
    lossy = pictures.encoded(large, "JPEG", quality=60)
    assert (read_mask(tmp_path, lossy, size=(96, 64)) == np.asarray(large)).all()


@pytest.mark.parametrize(
    ("mask", "mode", "error"),
    [
        (Image.new("L", (6, 5), 255), "auto", MaskInvalid),
        (Image.new("L", (4, 6), 255), "auto", MaskInvalid),
        (Image.new("L", (6, 4), 255), "alpha_transparent_is_edit", MaskInvalid),
        (Image.new("L", (6, 4), 0), "auto", MaskEmpty),
        (Image.new("L", (6, 4), 20), "white_is_edit", MaskEmpty),
        (Image.new("L", (6, 4), 255), "black_is_edit", MaskEmpty),
        (Image.new("RGBA", (6, 4), "white"), "alpha_transparent_is_edit", MaskEmpty),
        (Image.new("L", (6, 4), 255), "auto", MaskFull),
        (Image.new("RGBA", (6, 4), (0, 0, 0, 0)), "auto", MaskFull),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(tmp_path: Path, mask: Image.Image, mode: MaskMode, error: type[MaskInvalid]) -> None:
    with pytest.raises(error) as caught:
        read_mask(tmp_path, mask, mode)
    assert type(caught.value) is error
