"""Random pictures and masks: every mode and orientation, sides and aspects of all scales. The same chance draws the same."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from shared.picture import PictureInfo
from tests import pictures
from tests.round_trip import info_of

MODES = ("RGB", "RGB", "RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16")
MODES_OF_8_BITS = ("RGB", "RGB", "RGBA", "L", "LA", "P", "1")


@dataclass(frozen=True)
class Drawn:
    """A picture in a file, and what it is in words. `upright`: its pixels as they are seen, by Pillow's own reading."""

    file: Path
    info: PictureInfo
    upright: Image.Image
    says: str


def draw_size(chance: random.Random) -> tuple[int, int]:
    """11 to 315 px a side, evenly over the scales; one in ten is a strip."""
    sides = [round(2 ** chance.uniform(3.5, 8.3)) for _ in range(2)]
    if chance.random() < 0.1:
        sides[chance.randrange(2)] = chance.randint(1, 8)
    return sides[0], sides[1]


def draw(folder: Path, chance: random.Random, modes: Sequence[str]) -> Drawn:
    """A picture whose colours tell the place: red grows to the right, green downwards."""
    width, height = draw_size(chance)
    mode, orientation = chance.choice(modes), chance.randint(1, 8)
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = Image.fromarray(np.stack([across, down, np.full_like(across, 90)], axis=2).round().astype(np.uint8))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray((127 + across / 2).round().astype(np.uint8)))
    form = {"RGB": chance.choice(["PNG", "JPEG", "WEBP"]), "CMYK": "TIFF"}.get(mode, "PNG")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    coding = {"quality": 95} if form in ("JPEG", "WEBP") else {}
    data = pictures.encoded(image, form, exif=exif, **coding)
    (folder / "source").write_bytes(data)
    upright = ImageOps.exif_transpose(pictures.opened(data))
    if mode == "I;16":
        upright = Image.fromarray((np.asarray(upright) // 257).astype(np.uint8))
    return Drawn(folder / "source", info_of(data), upright, f"{width}×{height} {mode} {form}, orientation {orientation}")


def draw_mask(size: tuple[int, int], chance: random.Random) -> npt.NDArray[np.bool_]:
    """True where it is edited: a rectangle, the rest around one, a line, an ellipse or scattered pixels; never nothing or all."""
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    x, y = sorted(chance.randint(0, width) for _ in range(2)), sorted(chance.randint(0, height) for _ in range(2))
    match chance.choice(["rectangle", "around", "line", "ellipse", "pixels"]):
        case "rectangle":
            found = (columns >= x[0]) & (columns < x[1]) & (rows >= y[0]) & (rows < y[1])
        case "around":
            found = ~((columns >= x[0]) & (columns < x[1]) & (rows >= y[0]) & (rows < y[1]))
        case "line":
            found = np.abs(columns * height - rows * width) < max(size)
        case "ellipse":
            found = ((columns - x[0]) / (1 + width / 3)) ** 2 + ((rows - y[0]) / (1 + height / 3)) ** 2 < 1
        case _:
            found = np.random.default_rng(chance.randint(0, 99)).random((height, width)) < 0.02
    found[chance.randrange(height), chance.randrange(width)] = True
    if found.all():
        found[chance.randrange(height), chance.randrange(width)] = False
    return np.asarray(found, bool)


def encoded_mask(edited: npt.NDArray[np.bool_], mode: str) -> bytes:
    """The mask as a caller may give it, so that `mode` reads it as it is meant."""
    if mode == "alpha_transparent_is_edit":
        picture = Image.new("RGBA", edited.shape[::-1], "white")
        picture.putalpha(Image.fromarray(np.where(edited, 0, 255).astype(np.uint8)))
        return pictures.encoded(picture, "PNG")
    light = edited if mode == "white_is_edit" else ~edited
    return pictures.encoded(Image.fromarray(light.astype(np.uint8) * 255), "PNG")
