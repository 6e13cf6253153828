"""Geometry out and back, and masks (pure, runs off the loop, in pool processes).

Out: upright, 8 bits, L or RGB, alpha laid on white unless the model keeps it, nothing beside the pixels: no EXIF and no
ICC profile, so that what a model does with profiles cannot matter. Back: exactly the size that is wanted, the input's alpha
where the result has none, the input's profile where the result has none.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageChops, ImageStat

from shared.catalog.model import Model
from shared.edit import OUTPUT_FORMATS
from shared.errors import MaskInvalid, PictureTooLarge, ProviderBadOutput
from shared.geometry import GeometryPlan
from shared.mask import MaskMode, selection
from shared.picture import PictureInfo, content_type
from worker import pixels as px
from worker.rewrap import FORMATS as REWRAPPED
from worker.rewrap import rewrap

_LOSSY = ("jpeg", "webp", "avif", "heic")
_SENT_QUALITIES = (95, 85, 75)
_THUMBNAIL_GAP = 1.5  # how far a picture is shrunk by whole numbers, which is cheap, before it is by the rest; 1 is not at all
_PLACE_SIDE = 48  # pixels; a picture is compared with its place in a larger canvas at this size
_PLACE_LEAST = 8  # pixels a side, before or after scaling; thinner pictures are not compared
_PLACE_MEAN = 20  # levels of 255; models that repaint the picture itself stay below it


@dataclass(frozen=True, slots=True)
class AdaptedPicture:
    """What goes to the model. `notes`: what had to be changed, for the caller to read."""

    file: Path
    content_type: str
    width: int
    height: int
    bytes: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestoredPicture:
    """What is delivered. `method`: `untouched` (the bytes received), `rewrapped` (the same coded pixels) or `encoded`."""

    file: Path
    width: int
    height: int
    format: str
    bytes: int
    sha256: str
    method: Literal["untouched", "rewrapped", "encoded"]


def needs_pixels(info: PictureInfo, plan: GeometryPlan, model: Model, *, keep_alpha: bool = False) -> bool:
    """Whether the stored bytes must go through `adapt`; if not, they are already all that `adapt` would make of them."""
    return not _is_sendable(info, plan, keep_alpha) or info.has_metadata or info.has_icc or info.bytes > model.input_max_bytes


def adapt(
    source: Path, target: Path, plan: GeometryPlan, *, max_bytes: int, max_pixels: int, keep_alpha: bool = False
) -> AdaptedPicture:
    """Write to `target` what the model gets: the same coded pixels stripped where that is enough, else PNG or JPEG.

    JPEG (quality 95, no chroma subsampling) for sources that were lossy themselves, PNG for others as long as it has no
    more than `max_bytes`. `keep_alpha`: for models that take transparency; otherwise it is laid on white.

    Raises:
        PictureError: the source cannot be decoded, or cannot be made small enough.
    """
    info = px.info_of(source, max_pixels)
    if _is_sendable(info, plan, keep_alpha) and info.bytes <= max_bytes:
        stripped = rewrap(source.read_bytes(), info, icc=None, exif=None)
        target.write_bytes(stripped)
        return AdaptedPicture(target, content_type(info.format), info.width, info.height, len(stripped), ())
    decoded = px.decode(source, info, at_least=(plan.scaled[0] * 2, plan.scaled[1] * 2))
    notes = [*decoded.notes]
    image, alpha = decoded.image, decoded.alpha
    if alpha is not None and not keep_alpha:
        image, alpha = px.flattened(image, alpha), None
        notes.append("transparency laid on white for the model")
    image, alpha = _placed(image, plan), alpha and _placed(alpha, plan)
    out = px.Pixels(image, alpha, ())
    attempts: list[tuple[str, int | None]] = [("jpeg", quality) for quality in _SENT_QUALITIES]
    if alpha is not None or info.format not in _LOSSY:
        attempts.insert(0, ("png", None))
    for format_, quality in attempts:
        px.encode(out, target, format=format_, quality=quality, icc=None, exif=None)
        size = target.stat().st_size
        if size <= max_bytes:
            return AdaptedPicture(target, content_type(format_), *image.size, size, tuple(notes))
    raise PictureTooLarge(f"the picture cannot be sent in {max_bytes} bytes, which is the model's limit")


def restore(
    received: Path,
    source: Path,
    target: Path,
    plan: GeometryPlan,
    *,
    wanted_size: Literal["match_input", "model"] | tuple[int, int],
    output_format: str | None,
    output_quality: int | None,
    keep_metadata: bool,
    max_pixels: int,
) -> RestoredPicture:
    """Write to `target` what the caller gets, from a `received` picture that `worker.inspection` passed.

    `output_format` None: the source's if it is png, jpeg, webp or avif, else png; png too where that would lose the
    transparency of the result. `keep_metadata`: the source's EXIF goes along, upright and without its thumbnail.

    Raises:
        PictureTooLarge: the wanted size is over `max_pixels` or more than the format holds.
        ProviderBadOutput: the source does not lie in the larger canvas where it should.
    """
    got, origin = px.info_of(received, max_pixels), px.info_of(source, max_pixels)
    box = plan.content_box(got.upright_size)
    if plan.inner is not None:
        _check_place(received, got, source, origin, plan)
    size = _wanted(wanted_size, plan, box)
    if size[0] * size[1] > max_pixels:
        raise PictureTooLarge(f"a result of {size[0]}×{size[1]} pixels is over the limit of {max_pixels}")
    format_ = output_format or default_format(origin)
    exif = px.exif_of(source, size) if keep_metadata else None
    lends_alpha = origin.has_alpha and not got.has_alpha and format_ != "jpeg" and plan.upright == origin.upright_size
    if (
        (got.format, got.upright_size, got.orientation) == (format_, size, 1)
        and box == (0, 0, *size)
        and format_ in REWRAPPED
        and got.mode in ("1", "L", "LA", "P", "RGB", "RGBA")
        and not lends_alpha
        and (output_quality is None or format_ == "png")
    ):
        data = received.read_bytes()
        rewrapped = rewrap(data, got, icc=_profile(received, source, origin, got.mode), exif=exif)
        target.write_bytes(rewrapped)
        return described(target, size, format_, "untouched" if rewrapped == data else "rewrapped")
    decoded = px.decode(received, got)
    image, alpha = cut_out(decoded.image, box, size), decoded.alpha and cut_out(decoded.alpha, box, size)
    if lends_alpha and alpha is None and (lent := px.decode(source, origin).alpha):
        alpha = lent if lent.size == size else lent.resize(size, Image.Resampling.LANCZOS)
        image = px.lifted_off_white(image, alpha)
    if alpha is not None and output_format is None and format_ == "jpeg":
        format_ = "png"
    icc = _profile(received, source, origin, image.mode) if got.mode != "CMYK" else None
    px.encode(px.Pixels(image, alpha, ()), target, format=format_, quality=output_quality, icc=icc, exif=exif)
    return described(target, size, format_, "encoded")


def default_format(info: PictureInfo) -> str:
    """The format of a result whose caller named none."""
    return info.format if info.format in OUTPUT_FORMATS else "png"


def thumbnails(source: Path, widths: Sequence[int], *, max_pixels: int) -> list[bytes]:
    """A WebP in sRGB for each width, at most so many pixels wide and upright; smaller pictures keep their size."""
    info = px.info_of(source, max_pixels)
    sizes = [_thumbnail_size(info.upright_size, width) for width in widths]
    largest = max(sizes)
    decoded, icc = px.decode(source, info, at_least=(largest[0] * 2, largest[1] * 2)), px.profile_of(source, info.mode)
    made = []
    for size in sizes:
        image = px.to_srgb(decoded.image.resize(size, Image.Resampling.LANCZOS, reducing_gap=_THUMBNAIL_GAP), icc)
        if decoded.alpha is not None:
            image.putalpha(decoded.alpha.resize(size, Image.Resampling.LANCZOS, reducing_gap=_THUMBNAIL_GAP))
        out = io.BytesIO()
        image.save(out, "WEBP", quality=80, method=0, icc_profile=None)
        made.append(out.getvalue())
    return made


def _thumbnail_size(full: tuple[int, int], width: int) -> tuple[int, int]:
    scale = min(1.0, width / full[0], 4 * width / full[1])
    return max(1, round(full[0] * scale)), max(1, round(full[1] * scale))


def read_mask(source: Path, size: tuple[int, int], mode: MaskMode, *, max_pixels: int) -> bytes:
    """The mask as a PNG of mode L, as `shared.mask` reads it. `size`: the picture's upright (width, height).

    Raises:
        MaskInvalid: another size, or what `shared.mask` refuses.
    """
    info = px.info_of(source, max_pixels)
    if info.upright_size != size:
        shown, needed = "×".join(map(str, info.upright_size)), "×".join(map(str, size))
        raise MaskInvalid(f"the mask is {shown} pixels, the picture {needed}; they must be the same")
    decoded = px.decode(source, info)
    alpha = decoded.alpha or (Image.new("L", size, 255) if info.has_alpha else None)
    out = io.BytesIO()
    selection(decoded.image, alpha, mode).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _is_sendable(info: PictureInfo, plan: GeometryPlan, keep_alpha: bool) -> bool:
    """Whether a model can take the coded pixels as they are."""
    modes = ("L", "RGB", "RGBA", "LA") if keep_alpha else ("L", "RGB")
    return (
        plan.method == "identity"
        and info.orientation == 1
        and info.frames == 1
        and info.mode in modes
        and (keep_alpha or not info.has_alpha)
        and info.format in REWRAPPED
    )


def _placed(image: Image.Image, plan: GeometryPlan) -> Image.Image:
    """Scaled, and surrounded by its own edges mirrored where the canvas is larger."""
    if image.size != plan.scaled:
        image = image.resize(plan.scaled, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if plan.scaled == plan.sent:
        return image
    left, top = plan.offset
    right, bottom = plan.sent[0] - plan.scaled[0] - left, plan.sent[1] - plan.scaled[1] - top
    colours = ((0, 0),) if image.mode == "RGB" else ()
    return Image.fromarray(np.pad(np.asarray(image), ((top, bottom), (left, right), *colours), mode="symmetric"))


def cut_out(image: Image.Image, box: tuple[float, float, float, float], size: tuple[int, int]) -> Image.Image:
    """The part within `box` (pixels, not necessarily whole ones) at exactly `size`."""
    if box == (0, 0, *size) and image.size == size:
        return image
    if all(edge == int(edge) for edge in box) and (box[2] - box[0], box[3] - box[1]) == size:
        return image.crop((int(box[0]), int(box[1]), int(box[2]), int(box[3])))
    return image.resize(size, Image.Resampling.LANCZOS, box=box)


def _wanted(
    wanted: Literal["match_input", "model"] | tuple[int, int], plan: GeometryPlan, box: tuple[float, float, float, float]
) -> tuple[int, int]:
    if wanted == "match_input":
        return plan.upright
    if wanted == "model":
        return max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1]))
    return wanted


def _check_place(received: Path, got: PictureInfo, source: Path, origin: PictureInfo, plan: GeometryPlan) -> None:
    """Not every model says where in its canvas it puts the picture. Raises ProviderBadOutput."""
    assert plan.inner is not None
    left, top, right, bottom = plan.content_box(got.upright_size)
    across, down = (right - left) / plan.upright[0], (bottom - top) / plan.upright[1]
    x, y = left + plan.inner[0] * across, top + plan.inner[1] * down
    place = (x, y, min(x + origin.upright_size[0] * across, right), min(y + origin.upright_size[1] * down, bottom))
    whole = (0, 0, *origin.upright_size)
    scaled = (place[2] - place[0], place[3] - place[1])
    if min(*scaled, *origin.upright_size) < _PLACE_LEAST:
        # Of so thin a strip half a pixel of what lies beside it is a large part.
        return
    # Coarser than either: dots are not to be told apart after scaling.
    grid = tuple(max(1, min(_PLACE_SIDE, int(min(sides)) // 4)) for sides in zip(scaled, origin.upright_size, strict=True))
    small = [
        px.flattened(decoded.image, decoded.alpha).convert("L").resize((grid[0], grid[1]), Image.Resampling.BOX, box=part)
        for decoded, part in ((px.decode(received, got), place), (px.decode(source, origin), whole))
    ]
    if ImageStat.Stat(ImageChops.difference(small[0], small[1])).mean[0] > _PLACE_MEAN:
        raise ProviderBadOutput("the picture does not lie in the larger canvas where it should", billed=True)


def _profile(received: Path, source: Path, origin: PictureInfo, mode: str) -> bytes | None:
    """The result's own profile, else the input's if its numbers went to the model as they were."""
    return px.profile_of(received, mode) or inherited_profile(source, origin, mode)


def inherited_profile(source: Path, origin: PictureInfo, mode: str) -> bytes | None:
    """The input's profile, if its numbers are those of its pixels as `decode` gives them."""
    kept = origin.mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA") or "16" in origin.mode
    return px.profile_of(source, mode) if kept else None


def described(
    file: Path, size: tuple[int, int], format_: str, method: Literal["untouched", "rewrapped", "encoded"]
) -> RestoredPicture:
    """The finished file with its digest."""
    with file.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    return RestoredPicture(file, size[0], size[1], format_, file.stat().st_size, digest, method)
