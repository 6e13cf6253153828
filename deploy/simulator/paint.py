"""The simulator's idea of an edit: visible, different for every prompt, the same for the same seed, and marked as simulated.

The picture keeps its composition: its colours turn, and light falls on it in the colour that the prompt names (or one that its
text yields), from a point that the seed chooses. Nothing here touches the network or the clock; it runs in a thread pool.
"""

import colorsys
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter, ImageFont, ImageOps

_WORKING_SIDE = 2048
_FORMATS = {
    "jpeg": ("JPEG", {"quality": 92}),
    "png": ("PNG", {"compress_level": 1, "compress_type": zlib.Z_RLE}),
    "webp": ("WEBP", {"quality": 90, "method": 0}),
}

SpoiledAs = str  #: "", or one of the faults truncated, html, blank, placeholder, echo


class NotAPicture(ValueError):
    """An input that Pillow cannot decode."""


def paint(
    inputs: Sequence[bytes],
    *,
    prompt: str,
    seed: int,
    size_for: Callable[[tuple[int, int]], tuple[int, int]],
    output_format: str,
    mask: bytes | None = None,
    transparent_is_edit: bool = False,
    spoiled_as: SpoiledAs = "",
) -> bytes:
    """The edited first input, encoded. `size_for`: input size to output size. Raises NotAPicture."""
    first = _decode(inputs[0])
    size = size_for(first.size)
    match spoiled_as:
        case "echo":
            return inputs[0]
        case "html":
            return b"<!doctype html><title>503</title><h1>Service temporarily unavailable</h1>"
        case "blank":
            return _encode(Image.new("RGB", size, "grey"), output_format)
        case "placeholder":
            return _encode(_placeholder().resize(size), output_format)
    edited = _edit(first, [_decode(data) for data in inputs[1:]], prompt=prompt, seed=seed, size=size)
    if mask is not None:
        where = _selection(mask, transparent_is_edit).resize(size)
        edited = Image.composite(edited, first.resize(size), where)
    data = _encode(_marked(edited), output_format)
    return data[: len(data) // 2] if spoiled_as == "truncated" else data


def extend(picture: bytes, *, left: int, right: int, up: int, down: int) -> tuple[bytes, bytes]:
    """The picture on a canvas that is larger by these pixels, and the mask of what is new, both as PNG. Raises NotAPicture."""
    inner = _decode(picture)
    canvas = inner.resize((inner.width + left + right, inner.height + up + down))
    canvas.paste(inner, (left, up))
    mask = Image.new("L", canvas.size, 255)
    mask.paste(0, (left, up, left + inner.width, up + inner.height))
    return _encode(canvas, "png"), _encode(mask, "png")


def extend_evenly(
    picture: bytes, size_for: Callable[[tuple[int, int]], tuple[int, int]], *, enlarges: bool
) -> tuple[bytes, bytes]:
    """The picture in the middle of its canvas, and the mask of what is new. `size_for`: input size to canvas size.

    It is made smaller if the canvas does not hold it; `enlarges`: and larger until it fills the canvas in one direction.
    """
    inner = _decode(picture)
    canvas = size_for(inner.size)
    scale = min(canvas[0] / inner.width, canvas[1] / inner.height)
    if scale < 1 or enlarges:
        inner = inner.resize((max(1, round(inner.width * scale)), max(1, round(inner.height * scale))))
    left, up = (canvas[0] - inner.width) // 2, (canvas[1] - inner.height) // 2
    sides = {"left": left, "right": canvas[0] - inner.width - left, "up": up, "down": canvas[1] - inner.height - up}
    return extend(_encode(inner, "png"), **sides)


def cut_out(picture: bytes, output_format: str) -> bytes:
    """The picture with what counts as its subject here, the ellipse in its middle, on transparency."""
    subject = _decode(picture)
    alpha = Image.new("L", subject.size)
    width, height = subject.size
    ImageDraw.Draw(alpha).ellipse((width // 8, height // 8, width - width // 8, height - height // 8), fill=255)
    subject.putalpha(alpha)
    return _encode(subject, output_format)


def blur(picture: bytes, output_format: str) -> bytes:
    """The picture so that nothing can be made out, as moderation leaves it."""
    clear = _decode(picture)
    return _encode(clear.filter(ImageFilter.GaussianBlur(max(clear.size) / 16)), output_format)


def _decode(data: bytes, mode: str = "RGB") -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return ImageOps.exif_transpose(picture).convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise NotAPicture("the input is not a picture") from error


def _encode(picture: Image.Image, output_format: str) -> bytes:
    name, options = _FORMATS[output_format]
    target = io.BytesIO()
    picture.save(target, name, **options)
    return target.getvalue()


def _edit(first: Image.Image, others: Sequence[Image.Image], *, prompt: str, seed: int, size: tuple[int, int]) -> Image.Image:
    """The edit itself, at most `_WORKING_SIDE` pixels long; larger outputs are enlarged afterwards."""
    shrink = min(1.0, _WORKING_SIDE / max(size))
    width, height = (max(1, round(side * shrink)) for side in size)
    mixing, tint = _style(prompt)
    turned = first.resize((width, height)).convert("RGB", mixing)
    edited = Image.composite(Image.new("RGB", turned.size, tint), turned, _light(width, height, seed))
    for number, other in enumerate(others):  # Each further input shows as a small inset, so that one can see it arrived.
        inset = ImageOps.contain(other, (max(1, width // 6), max(1, height // 6)))
        edited.paste(inset, (number * width // 6, 0))
    return edited if edited.size == size else edited.resize(size, Image.Resampling.BILINEAR)


def _style(prompt: str) -> tuple[tuple[float, ...], tuple[int, int, int]]:
    """How the channels are mixed (three rows of four factors), and the colour of the light."""
    digest = hashlib.sha256(prompt.encode(errors="replace")).digest()
    share, turn = 0.25 + digest[0] / 512, 1 + digest[1] % 2
    rows = [[0.0] * 4 for _ in range(3)]
    for channel, row in enumerate(rows):  # Each row adds up to one: grey stays grey, and nothing is clipped.
        row[channel] = 1 - share
        row[(channel + turn) % 3] = share
    mixing = tuple(factor for row in rows for factor in row)
    named = next((word for word in re.findall(r"[a-z]+", prompt.lower()) if word in ImageColor.colormap), None)
    if named:
        return mixing, ImageColor.getrgb(named)[:3]
    red, green, blue = colorsys.hsv_to_rgb(digest[2] / 256, 0.9, 1.0)
    return mixing, (int(red * 255), int(green * 255), int(blue * 255))


def _light(width: int, height: int, seed: int) -> Image.Image:
    """How much light falls where: a part of a round glow, so that its middle lies where the seed chooses."""
    digest = hashlib.sha256(str(seed).encode()).digest()
    left, top = digest[0] // 2, digest[1] // 2
    return _glow().resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + 128, top + 128))


@lru_cache(maxsize=1)
def _glow() -> Image.Image:
    """256 pixels square, brightest in the middle, never opaque."""
    return Image.radial_gradient("L").point([round((255 - level) * 0.6) for level in range(256)])


def _selection(mask: bytes, transparent_is_edit: bool) -> Image.Image:
    """255 where the mask says edit."""
    if transparent_is_edit:
        return ImageChops.invert(_decode(mask, "RGBA").getchannel("A"))
    return _decode(mask, "L")


def _marked(picture: Image.Image) -> Image.Image:
    """The picture with SIMULATED in its lower right corner, as far as it fits."""
    mark = _mark(max(9, min(picture.size) // 32))
    picture.paste(mark, (max(0, picture.width - mark.width), max(0, picture.height - mark.height)))
    return picture


@lru_cache(maxsize=32)
def _mark(font_px: int) -> Image.Image:
    font = ImageFont.load_default(font_px)
    left, top, right, bottom = font.getbbox("SIMULATED")
    margin = max(2, font_px // 4)
    mark = Image.new("RGB", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin), "black")
    ImageDraw.Draw(mark).text((margin - left, margin - top), "SIMULATED", fill="white", font=font)
    return mark


def _placeholder() -> Image.Image:
    """What a provider shows in place of a result that it does not want to give."""
    picture = Image.linear_gradient("L").convert("RGB")
    ImageDraw.Draw(picture).text((40, 120), "content not available", fill="white")
    return picture
