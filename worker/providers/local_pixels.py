"""The pixel work of `local`: from a picture file to lossless PNG bytes. Runs in a process of the pixel pool.

Pictures are upright with 8 bits a channel and nothing beside their pixels. Transparency is kept.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from shared.adjustment import Adjustment, Blur, Border, Crop, CropAspect, Filter, Flip, Resize, Rotate, Scale, Tone
from shared.adjustments import output_size
from shared.errors import ProviderRefused, ProviderUnusable
from worker.providers.local_fill import filled
from worker.providers.local_subject import subject_alpha

# Source: W3C Filter Effects Module Level 1, sepia(100%).
_SEPIA = (0.393, 0.769, 0.189, 0, 0.349, 0.686, 0.168, 0, 0.272, 0.534, 0.131, 0)
_ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}


def adjust(file: Path, adjustments: tuple[Adjustment, ...]) -> bytes:
    """The adjustments, one after the other. Their sizes must have been checked (`output_size`)."""
    picture = _open(file)
    for adjustment in adjustments:
        picture = _adjusted(picture, adjustment)
    return _png(picture)


def upscale(file: Path, factor: int) -> bytes:
    """Both sides times `factor`, Lanczos."""
    picture = _open(file)
    size = picture.width * factor, picture.height * factor
    return _png(picture.resize(size, Image.Resampling.LANCZOS))


def remove_background(file: Path) -> bytes:
    """The subject on transparency; where the picture was transparent it stays so. Raises ProviderRefused without a subject."""
    picture = _open(file)
    alpha = Image.fromarray(subject_alpha(picture.convert("RGB"), opencv()))
    if "A" in picture.getbands():
        alpha = Image.fromarray(np.minimum(np.asarray(alpha), np.asarray(picture.getchannel("A"))))
    result = picture.convert("RGBA")
    result.putalpha(alpha)
    return _png(result)


def erase(file: Path, mask_file: Path) -> bytes:
    """Fill what the mask selects (255 = edit, values between blend) from around it; pixels where it is 0 stay as they are.

    Raises ProviderRefused if the mask's size differs or nothing is left to fill from.
    """
    picture = _open(file)
    weight = np.asarray(_open(mask_file).convert("L"))
    if weight.shape != (picture.height, picture.width):
        raise ProviderRefused("the mask must have the picture's size")
    if weight.all():
        raise ProviderRefused("the mask selects the whole picture: nothing is left to fill it from")
    colours = filled(np.array(picture.convert("RGB")), weight, opencv())
    result = Image.fromarray(colours)
    if "A" in picture.getbands():
        result.putalpha(picture.getchannel("A"))
    return _png(result)


def outpaint(file: Path, expand: tuple[int, int, int, int]) -> bytes:
    """Extend by (left, right, up, down) pixels: mirrored, the more blurred the farther out. The picture itself is untouched."""
    picture, cv2 = _open(file), opencv()
    left, right, up, down = expand
    inner = np.asarray(picture)
    canvas = cv2.copyMakeBorder(inner, up, down, left, right, cv2.BORDER_REFLECT)
    height, width = canvas.shape[:2]
    across, along = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    beside = np.maximum(np.maximum(left - across, across - (left + picture.width - 1)), 0)
    above = np.maximum(np.maximum(up - along, along - (up + picture.height - 1)), 0)
    distance = np.hypot(beside[None, :], above[:, None]).astype(np.float32)
    # Each blur takes over from the one before at its own distance; wide ones are made on a small copy.
    for sigma in (3, 9, 27):
        small_size = max(1, round(width / sigma)), max(1, round(height / sigma))
        small = cv2.GaussianBlur(cv2.resize(canvas, small_size, interpolation=cv2.INTER_AREA), (0, 0), 1.5)
        blurred = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        share = np.clip(distance / (4 * sigma) - 0.25, 0, 1)
        canvas = cv2.blendLinear(canvas, blurred, 1 - share, share)
    canvas[up : up + picture.height, left : left + picture.width] = inner
    return _png(Image.fromarray(canvas))


def opencv() -> Any:
    """The module, on one thread: the pool has a process a core. Raises ProviderUnusable if it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise ProviderUnusable("this edit needs OpenCV: install edit-studio[standalone]") from error
    cv2.setNumThreads(1)
    # The same picture gives the same result: k-means and GrabCut draw from this generator.
    cv2.setRNGSeed(0)
    return cv2


def _open(file: Path) -> Image.Image:
    """The decoded picture, RGB or RGBA. Raises ProviderRefused if it cannot be decoded."""
    try:
        with Image.open(file) as opened:
            opened.load()
            return opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise ProviderRefused("the picture cannot be decoded") from error


def _png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _adjusted(picture: Image.Image, adjustment: Adjustment) -> Image.Image:
    match adjustment:
        case Filter(name=name):
            return _filtered(picture, name)
        case Rotate(degrees_clockwise=degrees):
            # Pillow's names count counter-clockwise.
            turns = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
            return picture.transpose(turns[degrees])
        case Flip(direction="horizontal"):
            return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        case Flip():
            return picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        case Tone(property=name, percent=percent):
            return _ENHANCERS[name](picture).enhance(1 + percent / 100)
        case Blur(radius_px=radius):
            if picture.mode == "RGB":
                return picture.filter(ImageFilter.GaussianBlur(radius))
            # Premultiplied, or the colours hidden under transparent pixels would bleed out.
            return picture.convert("RGBa").filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        case Crop() | CropAspect():
            width, height = output_size((adjustment,), picture.size)
            left, top = (picture.width - width) // 2, (picture.height - height) // 2
            return picture.crop((left, top, left + width, top + height))
        case Resize() | Scale():
            return picture.resize(output_size((adjustment,), picture.size), Image.Resampling.LANCZOS)
        case Border(width_px=width, colour=colour):
            return ImageOps.expand(picture, width, colour)


def _filtered(picture: Image.Image, name: str) -> Image.Image:
    colours = picture.convert("RGB")
    if name == "grayscale":
        colours = colours.convert("L").convert("RGB")
    elif name == "sepia":
        colours = colours.convert("RGB", _SEPIA)
    else:
        colours = ImageOps.invert(colours)
    if "A" in picture.getbands():
        colours.putalpha(picture.getchannel("A"))
    return colours
