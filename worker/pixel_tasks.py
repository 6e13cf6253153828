"""What is run in pool processes: pixel work with positional arguments. Imports little, since every process imports it."""

from pathlib import Path
from typing import Literal

from shared.geometry import GeometryPlan
from shared.mask import MaskMode
from shared.picture import PictureInfo, read_info
from worker.canvas import AdaptedPicture, RestoredPicture, adapt, read_mask, restore, thumbnails
from worker.inspection import Inspected, inspect
from worker.masking import Box, MaskedResult, Polarity, box_around, crop, deliver, mask_for_model, opened_mask

PIXELS_S = 120.0  #: longest pixel work on one picture

Wanted = Literal["match_input", "model"] | tuple[int, int]


def warm_up() -> None:
    """Nothing: the imports of this module are the work."""


def picture_info(file: Path, max_bytes: int, max_pixels: int, max_side: int, animated_first: bool) -> PictureInfo:
    """`shared.picture.read_info`."""
    return read_info(file, max_bytes=max_bytes, max_pixels=max_pixels, max_side=max_side, animated_first=animated_first)


def adapt_picture(
    source: Path, target: Path, plan: GeometryPlan, max_bytes: int, max_pixels: int, keep_alpha: bool
) -> AdaptedPicture:
    """`worker.canvas.adapt`."""
    return adapt(source, target, plan, max_bytes=max_bytes, max_pixels=max_pixels, keep_alpha=keep_alpha)


def mask_of(source: Path, target: Path, size: tuple[int, int], mode: MaskMode, max_pixels: int) -> Box:
    """`worker.canvas.read_mask` into `target`; the box around what it selects."""
    target.write_bytes(read_mask(source, size, mode, max_pixels=max_pixels))
    return box_around(opened_mask(target))


def crop_picture(source: Path, target: Path, box: Box, max_pixels: int) -> PictureInfo:
    """`worker.masking.crop`."""
    return crop(source, target, box, max_pixels=max_pixels)


def model_mask(mask: Path, target: Path, plan: GeometryPlan, polarity: Polarity) -> None:
    """`worker.masking.mask_for_model`, as a PNG in `target`."""
    mask_for_model(opened_mask(mask), plan, polarity).save(target, "PNG", compress_level=1)


def inspect_result(
    received: Path,
    sent: Path | None,
    source: Path | None,
    expected: tuple[int, int] | None,
    exact: bool,
    max_pixels: int,
) -> Inspected:
    """`worker.inspection.inspect`. An exact edit may change nothing: black and white of a grey picture."""
    return inspect(
        received,
        sent=sent,
        source=source,
        expected_size=expected,
        declared_type=None,
        no_op_allowed=exact,
        max_pixels=max_pixels,
    )


def restore_result(
    files: tuple[Path, Path, Path],
    plan: GeometryPlan,
    wanted: Wanted,
    output: tuple[str | None, int | None, bool],
    max_pixels: int,
) -> RestoredPicture:
    """`worker.canvas.restore`. `files`: received, source, target; `output`: format, quality, whether metadata is kept."""
    received, source, target = files
    form, quality, keep_metadata = output
    return restore(
        received,
        source,
        target,
        plan,
        wanted_size=wanted,
        output_format=form,
        output_quality=quality,
        keep_metadata=keep_metadata,
        max_pixels=max_pixels,
    )


def deliver_masked(
    files: tuple[Path, Path, Path, Path],
    plan: GeometryPlan,
    box: Box,
    wanted: Wanted,
    output: tuple[str | None, int | None, bool],
    max_pixels: int,
) -> MaskedResult:
    """`worker.masking.deliver`. `output`: format, quality, whether metadata is kept."""
    form, quality, keep_metadata = output
    return deliver(
        files,
        plan,
        box,
        wanted_size=None if isinstance(wanted, str) else wanted,
        output_format=form,
        output_quality=quality,
        keep_metadata=keep_metadata,
        max_pixels=max_pixels,
    )


def make_thumbnails(source: Path, widths: tuple[int, ...], max_pixels: int) -> list[bytes]:
    """`worker.canvas.thumbnails`."""
    return thumbnails(source, widths, max_pixels=max_pixels)
