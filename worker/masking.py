"""Masked edits: what the model sees of the picture, and its answer laid over the input (pure, runs in pool processes).

A mask is a picture of mode L here, 255 where the picture is edited. Outside of it the input's own pixels are delivered, whatever
the model returned: the answer fades in within the mask, never beyond it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw

from shared.errors import PictureTooLarge
from shared.geometry import GeometryPlan
from shared.picture import PictureInfo
from worker import pixels as px
from worker.canvas import RestoredPicture, cut_out, default_format, described, inherited_profile

Box = tuple[int, int, int, int]  #: left, top, right, bottom, upright pixels
Polarity = Literal["white_is_edit", "black_is_edit", "alpha_transparent_is_edit"]

FEATHER_PX = 8  #: how far within the mask the answer fades in
_MARGIN_SHARE, _MARGIN_MIN_PX = 0.15, 64
_BAND_ROWS = 256


@dataclass(frozen=True, slots=True)
class MaskedResult:
    """`outside_mask_max_delta`: the largest difference of a delivered pixel outside of the mask from the input's, 0–255.

    None where the delivered size is another one, so that no pixel has its like.
    """

    picture: RestoredPicture
    outside_mask_max_delta: int | None


def box_around(mask: Image.Image) -> Box:
    """What the mask selects with 15 % of its size around it, at least 64 px, as far as the picture reaches."""
    found = mask.getbbox()
    if found is None:
        raise ValueError("the mask selects no pixel")
    left, top, right, bottom = found
    across, down = (max(_MARGIN_MIN_PX, round(side * _MARGIN_SHARE)) for side in (right - left, bottom - top))
    return max(0, left - across), max(0, top - down), min(mask.width, right + across), min(mask.height, bottom + down)


def crop(source: Path, target: Path, box: Box, *, max_pixels: int) -> PictureInfo:
    """Write the part of the upright picture within `box` as a PNG, with its transparency and without a profile; what it is.

    Raises:
        PictureError: the source cannot be decoded.
    """
    decoded = px.decode(source, px.info_of(source, max_pixels))
    part = px.Pixels(decoded.image.crop(box), decoded.alpha and decoded.alpha.crop(box), ())
    px.encode(part, target, format="png", quality=None, icc=None, exif=None)
    return px.info_of(target, max_pixels)


def mask_for_model(mask: Image.Image, plan: GeometryPlan, polarity: Polarity) -> Image.Image:
    """The mask scaled and padded as the picture is, where the padding is kept, in the model's own polarity."""
    placed = Image.new("L", plan.sent, 0)
    placed.paste(mask.resize(plan.scaled, Image.Resampling.NEAREST), plan.offset)
    found = mask.getbbox()
    if found is not None and placed.getbbox() is None:
        # Few pixels may fall between those that scaling keeps; a model must not be asked to edit nothing.
        across, down = plan.scaled[0] / mask.width, plan.scaled[1] / mask.height
        left, top = plan.offset[0] + int(found[0] * across), plan.offset[1] + int(found[1] * down)
        right, bottom = plan.offset[0] + int((found[2] - 1) * across), plan.offset[1] + int((found[3] - 1) * down)
        ImageDraw.Draw(placed).rectangle((left, top, right, bottom), fill=255)
    if polarity == "white_is_edit":
        return placed
    kept = ImageChops.invert(placed)
    return kept if polarity == "black_is_edit" else Image.merge("RGBA", (kept, kept, kept, kept))


def feathered(mask: Image.Image) -> Image.Image:
    """How much of the answer is taken, 0–255: nothing outside of the mask, all in its depth, a ramp of 8 px between.

    Where the mask is thinner than two ramps, the ramp is as long as there is room, so that a thin line is edited too.
    The picture's own edges are no edges of the mask.
    """
    weight = Image.new("L", mask.size, 0)
    found = mask.getbbox()
    if found is None:
        return weight
    # One pixel of what is kept goes along on each side, if there is any: the depth is counted from it.
    box = (max(0, found[0] - 1), max(0, found[1] - 1), min(mask.width, found[2] + 1), min(mask.height, found[3] + 1))
    inside = np.asarray(mask.crop(box)) > 0
    left = depth = inside.astype(np.uint8)
    for _ in range(FEATHER_PX):
        left = _neighbourhood(left, np.minimum)
        depth = depth + left
    deepest = depth
    for _ in range(FEATHER_PX):
        deepest = _neighbourhood(deepest, np.maximum)
    share = depth.astype(np.uint16) * 255 // np.maximum(deepest, 1)
    weight.paste(Image.fromarray(share.astype(np.uint8)), box)
    return weight


def composite(base: px.Pixels, answer: px.Pixels, mask: Image.Image, box: Box) -> px.Pixels:
    """`base` with `answer`, which is what became of the part within `box`, laid in where `mask` (as large as `base`) selects.

    An answer without transparency takes the input's. Every pixel outside of the mask is the input's, bit for bit.
    """
    image, alpha = answer.image, answer.alpha
    mode = "L" if base.image.mode == image.mode == "L" else "RGB"
    if base.alpha is not None and alpha is None:
        alpha = base.alpha.crop(box)
        image = px.lifted_off_white(image, alpha)
    weight = feathered(mask).crop(box)
    whole = base.image.convert(mode) if base.image.mode != mode else base.image.copy()
    whole.paste(image.convert(mode), box[:2], weight)
    veil = base.alpha
    if alpha is not None:
        veil = Image.new("L", whole.size, 255) if veil is None else veil.copy()
        veil.paste(alpha, box[:2], weight)
    return px.Pixels(whole, veil, ())


def deliver(
    files: tuple[Path, Path, Path, Path],
    plan: GeometryPlan,
    box: Box,
    *,
    wanted_size: tuple[int, int] | None,
    output_format: str | None,
    output_quality: int | None,
    keep_metadata: bool,
    max_pixels: int,
) -> MaskedResult:
    """Write what the caller gets of a masked edit. `files`: received, source, mask, target; `plan`: of the part within `box`.

    `wanted_size`: (width, height), None for the input's. Format and metadata as in `worker.canvas.restore`. The profile is the
    input's: the model was sent its numbers without one, and they lie beside the input's own.

    Raises:
        PictureTooLarge: the wanted size is over `max_pixels` or more than the format holds.
    """
    received, source, mask_file, target = files
    got, origin = px.info_of(received, max_pixels), px.info_of(source, max_pixels)
    size = wanted_size or origin.upright_size
    if size[0] * size[1] > max_pixels:
        raise PictureTooLarge(f"a result of {size[0]}×{size[1]} pixels is over the limit of {max_pixels}")
    base, answer, mask = px.decode(source, origin), px.decode(received, got), opened_mask(mask_file)
    part, content = (box[2] - box[0], box[3] - box[1]), plan.content_box(got.upright_size)
    fitted = px.Pixels(cut_out(answer.image, content, part), answer.alpha and cut_out(answer.alpha, content, part), ())
    made = composite(base, fitted, mask, box)
    if size != made.image.size:
        image, alpha = (one and one.resize(size, Image.Resampling.LANCZOS) for one in (made.image, made.alpha))
        assert image is not None
        made = px.Pixels(image, alpha, ())
    format_ = output_format or default_format(origin)
    if made.alpha is not None and output_format is None and format_ == "jpeg":
        format_ = "png"
    icc, exif = inherited_profile(source, origin, made.image.mode), px.exif_of(source, size) if keep_metadata else None
    px.encode(made, target, format=format_, quality=output_quality, icc=icc, exif=exif)
    delta = None
    if size == base.image.size:
        delta = outside_mask_max_delta(base, px.decode(target, px.info_of(target, max_pixels)), mask)
    return MaskedResult(described(target, size, format_, "encoded"), delta)


def outside_mask_max_delta(before: px.Pixels, after: px.Pixels, mask: Image.Image) -> int:
    """The largest difference, 0–255, in what can be seen outside of the mask, and in the transparency if both have any."""
    worst = 0
    for top in range(0, mask.height, _BAND_ROWS):
        box = (0, top, mask.width, min(top + _BAND_ROWS, mask.height))
        one, other = (_band(picture, box) for picture in (before, after))
        pairs = [(px.flattened(*one).convert("RGB"), px.flattened(*other).convert("RGB"))]
        if one[1] is not None and other[1] is not None:
            pairs.append((one[1], other[1]))
        kept = np.asarray(mask.crop(box)) == 0
        for mine, its in pairs:
            difference = np.asarray(ImageChops.difference(mine, its))[kept]
            worst = max(worst, int(difference.max(initial=0)))
    return worst


def _band(picture: px.Pixels, box: Box) -> tuple[Image.Image, Image.Image | None]:
    return picture.image.crop(box), picture.alpha and picture.alpha.crop(box)


def opened_mask(file: Path) -> Image.Image:
    """A mask of our own making."""
    with Image.open(file, formats=["PNG"]) as opened:
        return opened.convert("L")


def _neighbourhood(values: npt.NDArray[np.uint8], combine: np.ufunc) -> npt.NDArray[np.uint8]:
    """Each value combined with those of its eight neighbours; at the edges there is nothing beyond."""
    padded = np.pad(values, 1, mode="edge")
    rows = combine(combine(padded[:-2], padded[1:-1]), padded[2:])
    result: npt.NDArray[np.uint8] = combine(combine(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return result
