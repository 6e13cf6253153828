"""Pixels in and out: decoded upright in 8 bits, encoded in the format that is wanted (pure, runs off the loop)."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms

from shared.errors import PictureTooLarge, TruncatedPicture
from shared.picture import PictureInfo, pillow_formats, quiet_pillow, read_info

WHITE = 255
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUALITY = {"jpeg": 95, "webp": 90, "avif": 80}
_MAX_SIDE = {"jpeg": 65_535, "webp": 16_383}  # what the formats can hold
_BAND_ROWS = 256
_JPEG_EXIF_MAX_BYTES = 65_533
# What describes the photograph rather than how its file is laid out: a TIFF keeps both in one table.
_EXIF_KEPT = frozenset([270, 271, 272, 282, 283, 296, 305, 306, 315, 33432, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo])


@dataclass(frozen=True, slots=True)
class Pixels:
    """`image`: upright, mode L or RGB. `alpha`: mode L, None where all is opaque. `notes`: what had to be changed."""

    image: Image.Image
    alpha: Image.Image | None
    notes: tuple[str, ...]


def info_of(path: Path, max_pixels: int) -> PictureInfo:
    """What a file already taken in is; of several frames the first. Raises PictureError."""
    return read_info(path, max_bytes=path.stat().st_size + 1, max_pixels=max_pixels, max_side=max_pixels, animated_first=True)


def decode(path: Path, info: PictureInfo, *, at_least: tuple[int, int] | None = None) -> Pixels:
    """The pixels of the picture at `path`, of which `info` was read under a pixel limit.

    `at_least`: upright (width, height) that is enough; a JPEG is then decoded at an eighth, a quarter or half of its size.

    Raises:
        TruncatedPicture: the pixels end early or are damaged.
    """
    notes = []
    try:
        # Not by its path: Pillow maps a bare TIFF of a path into memory, and then swaps its sides before it reads them.
        with path.open("rb") as file, quiet_pillow(), Image.open(file, formats=pillow_formats()) as opened:
            if at_least is not None:
                opened.draft(None, at_least if info.orientation < 5 else at_least[::-1])
            opened.load()
            icc = opened.info.get("icc_profile")
            image, alpha = _in_8_bits(opened, info)
        if image.mode not in ("L", "RGB"):
            notes.append(f"{image.mode} converted to RGB")
            image = to_srgb(image, icc)
    except Exception as error:
        # Decoders raise whatever happens to them on broken bytes.
        raise TruncatedPicture("the picture is cut short or damaged: its pixels cannot be decoded") from error
    if "16" in info.mode or info.mode in ("I", "F"):
        notes.append("reduced to 8 bits a channel")
    if info.frames > 1:
        notes.append("only the first frame used")
    turn = _TURNS.get(info.orientation)
    if turn is not None and info.format != "tiff":  # Pillow turns TIFF by itself
        image = image.transpose(turn)
        alpha = alpha and alpha.transpose(turn)
    if alpha is not None and alpha.getextrema() == (255, 255):
        alpha = None
    return Pixels(image, alpha, tuple(notes))


def _in_8_bits(picture: Image.Image, info: PictureInfo) -> tuple[Image.Image, Image.Image | None]:
    """(image without alpha, alpha or None): L, RGB, or a mode of other colours as it is."""
    alpha = None
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture)
        if isinstance(transparent := picture.info.get("transparency"), int):
            alpha = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
        return Image.fromarray(_scaled_to_8_bits(values)), alpha
    if picture.mode == "1" and not picture.has_transparency_data:
        return picture.convert("L"), None
    if picture.has_transparency_data:
        grey = picture.mode in ("1", "L", "LA", "La") or info.mode == "LA;16"
        picture = picture.convert("RGBA")
        return picture.convert("RGB").getchannel(0) if grey else picture.convert("RGB"), picture.getchannel("A")
    return picture.convert("RGB") if picture.mode == "P" else picture.copy(), None


def _scaled_to_8_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if values.dtype.kind == "f":
        top = 1.0 if np.nanmax(values) <= 1 else 255.0
        return np.asarray((np.clip(np.nan_to_num(values), 0, top) * (255 / top)).round(), dtype=np.uint8)
    if values.dtype.itemsize > 2:
        # Mode I: 16 bits in a 32-bit frame, as PNM and some TIFF have them; more than that is scaled by its own range.
        values = np.clip(values, 0, None)
        while values.max() > 0xFFFF:
            values = values >> 1
    wide = values.astype(np.uint16)
    return np.asarray((wide - (wide >> 8) + 128) >> 8, dtype=np.uint8)  # v / 257, rounded, within 16 bits


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """The picture in sRGB by its own profile; by plain formula where it has none, or one that does not work."""
    if icc:
        try:
            target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def profile_of(path: Path, mode: str) -> bytes | None:
    """The ICC profile in the file, if it belongs to pixels of `mode` (RGB or grey)."""
    with quiet_pillow(), Image.open(path, formats=pillow_formats()) as picture:
        icc = picture.info.get("icc_profile") or b""
    space = b"GRAY" if mode in ("1", "L", "LA", "LA;16") else b"RGB "
    return icc if isinstance(icc, bytes) and icc[16:20] == space else None  # ICC.1 7.2.6: colour space of the data


def exif_of(path: Path, size: tuple[int, int]) -> bytes | None:
    """What the file's EXIF says of the photograph, for a copy of `size` that is upright; None if it has none or is broken.

    Its thumbnail, which shows the picture before the edit, is left out.
    """
    try:
        with quiet_pillow(), Image.open(path, formats=pillow_formats()) as picture:
            exif = picture.getexif()
            details = exif.get_ifd(ExifTags.IFD.Exif)
            for tag in set(exif) - _EXIF_KEPT:
                del exif[tag]
            if details:
                details.update({ExifTags.Base.ExifImageWidth: size[0], ExifTags.Base.ExifImageHeight: size[1]})
            if not len(exif):
                return None
            if len(exif.tobytes()) > _JPEG_EXIF_MAX_BYTES:
                details.pop(ExifTags.Base.MakerNote, None)
            block = exif.tobytes()
    except Exception:
        # Broken EXIF is no reason to lose a good edit; Pillow raises whatever happens to it.
        return None
    return block if len(block) <= _JPEG_EXIF_MAX_BYTES else None


def flattened(image: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """The picture laid on white."""
    if alpha is None:
        return image
    white = Image.new(image.mode, image.size, WHITE if image.mode == "L" else (WHITE,) * 3)
    return Image.composite(image, white, alpha)


def lifted_off_white(image: Image.Image, alpha: Image.Image) -> Image.Image:
    """Undo `flattened`, so that half-transparent edges carry no white fringe on another ground."""
    out = image.copy()
    for top in range(0, image.height, _BAND_ROWS):
        box = (0, top, image.width, min(top + _BAND_ROWS, image.height))
        seen = np.asarray(image.crop(box), dtype=np.float32)
        share = np.asarray(alpha.crop(box), dtype=np.float32) / 255
        share = share[..., None] if seen.ndim == 3 else share
        colour = np.where(share > 0, (seen - WHITE * (1 - share)) / np.maximum(share, 1 / 255), seen)
        out.paste(Image.fromarray(colour.round().clip(0, 255).astype(np.uint8)), box)
    return out


def encode(
    pixels: Pixels,
    target: Path,
    *,
    format: str,  # noqa: A002
    quality: int | None,
    icc: bytes | None,
    exif: bytes | None,
) -> None:
    """Write the picture to `target` as png, jpeg (alpha laid on white), webp or avif. `quality`: 1–100, None for our default.

    Raises:
        PictureTooLarge: the format cannot hold a side of this length.
    """
    image, alpha = pixels.image, pixels.alpha
    limit = _MAX_SIDE.get(format)
    if limit is not None and max(image.size) > limit:
        raise PictureTooLarge(f"{format} holds at most {limit} pixels a side; the result has {max(image.size)}")
    if alpha is not None and format == "jpeg":
        image = flattened(image, alpha)
    elif alpha is not None:
        image = Image.merge("LA" if image.mode == "L" else "RGBA", (*image.split(), alpha))
    image.info = {}  # Pillow would write comments and transparency from here
    options: dict[str, Any] = {"icc_profile": icc, **({"exif": exif} if exif else {})}
    if format == "png":
        options["compress_level"] = 1
    else:
        quality = options["quality"] = quality or _QUALITY[format]
    if format == "jpeg":
        options["subsampling"] = "4:4:4" if quality and quality >= 90 else "4:2:0"
    elif format == "webp":
        options["method"] = 2
    elif format == "avif":
        options["speed"] = 8
    image.save(target, format=format, **options)
