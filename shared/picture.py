"""What a picture is, told from its bytes without decoding it; limits (pure)."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from pydantic import BaseModel, ConfigDict

from shared.errors import AnimatedPicture, NotAPicture, PictureError, PictureTooLarge, TruncatedPicture
from shared.picture_blocks import Buffer
from shared.picture_structure import Structure, read_structure

_ORIENTATION = 274  # the EXIF and TIFF tag
_NAMES = {
    "JPEG": "jpeg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tiff",
    "AVIF": "avif",
    "HEIF": "heic",
}


class PictureInfo(BaseModel):
    """What the header says. `width` and `height` are as stored; `upright_*` after the EXIF orientation is applied."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str  #: jpeg, png, webp, gif, bmp, tiff, avif, heic
    width: int
    height: int
    bytes: int
    orientation: int = 1  #: EXIF, 1–8
    mode: str = "RGB"  #: Pillow's name of the pixel layout: L, RGB, RGBA, P, CMYK, I;16 …; RGB;16 and the like for 16 bits
    has_alpha: bool = False
    has_icc: bool = False
    has_metadata: bool = False  #: EXIF (GPS among it), XMP, IPTC or text comments
    frames: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) in pixels as a viewer shows it."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_info(
    source: bytes | Path | BinaryIO, *, max_bytes: int, max_pixels: int, max_side: int, animated_first: bool = False
) -> PictureInfo:
    """Tell what `source` is by its content alone; no pixel is decoded. Garbage behind the picture is tolerated.

    `max_bytes`, `max_pixels`, `max_side` (pixels): limits that hold before anything is decompressed. `animated_first`: take
    a picture of several frames for its first one. A file object is read to its end and left there.

    Raises:
        NotAPicture, TruncatedPicture, PictureTooLarge, AnimatedPicture: and nothing else but OSError from the file itself.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            length = file.seek(0, io.SEEK_END)
            _check_bytes(length, max_bytes)
            with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                return _read(data, file, max_pixels, max_side, animated_first)
    if not isinstance(source, bytes):
        source.seek(0)
        source = source.read(max_bytes + 1)
    _check_bytes(len(source), max_bytes)
    return _read(source, io.BytesIO(source), max_pixels, max_side, animated_first)


def content_type(format: str) -> str:  # noqa: A002
    """The media type of a format as `PictureInfo` names it."""
    return f"image/{format}"


def extension(format: str) -> str:  # noqa: A002
    """The customary end of a file's name, without the dot."""
    return "jpg" if format == "jpeg" else format


def pillow_formats() -> list[str]:
    """Pillow's names of the formats that are taken here; HEIC only where a plugin for it is registered."""
    return [name for name in _NAMES if name != "HEIF" or name in Image.OPEN]


class _Quiet:
    """Pillow's warnings off while at least one thread is inside.

    `warnings.catch_warnings` alone restores the wrong filters when two threads leave in the order in which they came.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._caught.__exit__(None, None, None)


quiet_pillow = _Quiet()


def _check_bytes(length: int, max_bytes: int) -> None:
    if length == 0:
        raise NotAPicture("there are no bytes")
    if length > max_bytes:
        raise PictureTooLarge(f"the picture has more than {max_bytes} bytes, which is the limit")


def _check_size(size: tuple[int, int], max_pixels: int, max_side: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise NotAPicture(f"the picture says that it is {width}×{height} pixels")
    if max(size) > max_side:
        raise PictureTooLarge(f"the picture is {width}×{height}; a side may have {max_side} pixels")
    if width * height > max_pixels:
        raise PictureTooLarge(f"the picture is {width}×{height} = {width * height} pixels; the limit is {max_pixels}")


def _read(data: Buffer, file: BinaryIO, max_pixels: int, max_side: int, animated_first: bool) -> PictureInfo:
    structure = read_structure(data)
    if structure.size is not None:
        _check_size(structure.size, max_pixels, max_side)
    if structure.frames > 1 and not animated_first:
        raise AnimatedPicture("the picture has more than one frame; send one frame, or animated=first to use the first")
    try:
        with quiet_pillow():
            info = _describe(file, structure, len(data))
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureTooLarge(f"the picture has far more than {max_pixels} pixels, which is the limit") from error
    except EOFError as error:
        raise TruncatedPicture("the picture ends inside of its header") from error
    except Exception as error:
        # Pillow's plugins raise whatever happens to them on broken bytes: struct.error, SyntaxError, MemoryError …
        raise NotAPicture("the header of the picture is broken, or of a kind that cannot be read here") from error
    _check_size((info.width, info.height), max_pixels, max_side)
    if info.frames > 1 and not animated_first:
        raise AnimatedPicture("the picture has more than one frame; send one frame, or animated=first to use the first")
    return info


def _describe(file: BinaryIO, structure: Structure, length: int) -> PictureInfo:
    formats = [name for name in structure.formats if name in pillow_formats()]
    if not formats:
        raise NotAPicture("HEIC pictures cannot be read here; send JPEG, PNG, WebP or AVIF")
    with Image.open(file, formats=formats) as picture:
        tiff = isinstance(picture, TiffImageFile)
        # Pillow turns the size of a TIFF by its orientation, and of no other format.
        width, height = structure.size if tiff and structure.size else picture.size
        return PictureInfo(
            # MPO is a JPEG with further JPEGs behind it, as telephones write them: the first is the picture.
            format=_NAMES[picture.format if picture.format in _NAMES else "JPEG"],
            width=width,
            height=height,
            bytes=length,
            orientation=_orientation(picture),
            mode=_mode(picture),
            has_alpha=picture.has_transparency_data,
            has_icc=bool(picture.info.get("icc_profile")),
            has_metadata=structure.metadata or any(picture.info.get(key) for key in ("exif", "xmp")),
            frames=max(structure.frames, getattr(picture, "n_frames", 1) if picture.format == "AVIF" else 1),
        )


def _mode(picture: Image.Image) -> str:
    """Pillow's mode, but RGB;16, RGBA;16 and LA;16 where the file has 16 bits and Pillow will keep 8 of them."""
    tiles = getattr(picture, "tile", None)
    arguments = tiles[0].args if tiles else ""
    raw = arguments if isinstance(arguments, str) else arguments[0] if isinstance(arguments, tuple) else ""
    layout, _, depth = str(raw).partition(";")
    return f"{layout};16" if depth.startswith("16") and picture.mode in ("RGB", "RGBA") else picture.mode


def _orientation(picture: Image.Image) -> int:
    """EXIF only, as browsers do; XMP may say otherwise. Broken EXIF does not spoil a good picture: 1."""
    try:
        if isinstance(picture, TiffImageFile):
            value = picture.tag_v2.get(_ORIENTATION, 1)
        else:
            exif = Image.Exif()
            exif.load(picture.info.get("exif", b""))
            value = exif.get(_ORIENTATION, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
