"""Makers of pictures for the tests: real photographs from tests/data in every form that callers send, and broken ones."""

import io
import struct
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms

DATA = Path(__file__).parent / "data"


def photo(name: str = "coffee.png", size: tuple[int, int] | None = None) -> Image.Image:
    """A photograph in RGB without anything beside its pixels; `coffee.png` is 600×400."""
    image = _decoded(name)
    return image.copy() if size is None else image.resize(size, Image.Resampling.BICUBIC)


@cache
def _decoded(name: str) -> Image.Image:
    with Image.open(DATA / name) as opened:
        image = opened.convert("RGB")
    image.info = {}
    return image


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """The bytes of `image` in a format of Pillow's; PNG quickly rather than small."""
    out = io.BytesIO()
    quick = {"compress_level": 1} if form == "PNG" else {}
    image.save(out, form, **{**quick, **options})
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    """The decoded picture."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def rotated(orientation: int, form: str = "JPEG", size: tuple[int, int] = (120, 80)) -> bytes:
    """A picture whose upright form is `photo(size=size)`, stored as a camera held otherwise would."""
    turn_back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = photo(size=size)
    if orientation in turn_back:
        image = image.transpose(turn_back[orientation])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(image, form, exif=exif, **({"quality": 95} if form != "TIFF" else {}))


def with_gps(form: str = "JPEG", orientation: int = 1, size: tuple[int, int] = (120, 80)) -> bytes:
    """EXIF with a place, a camera and a text that can be searched for: `SECRETPLACE`."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "SECRETPLACE camera"
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.IFD.GPSInfo] = {
        ExifTags.GPS.GPSLatitudeRef: "N",
        ExifTags.GPS.GPSLatitude: (48.0, 51.0, 30.0),
        ExifTags.GPS.GPSAreaInformation: b"ASCII\0\0\0SECRETPLACE",
    }
    return encoded(photo(size=size), form, exif=exif.tobytes())


@cache  # lcms writes the time of its making into a profile
def display_p3() -> bytes:
    """A matrix profile with Display P3's primaries, built by hand from lcms' sRGB profile: same curves, other colorants."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    colorants = {b"rXYZ": (0.5151, 0.2412, -0.0011), b"gXYZ": (0.2920, 0.6922, 0.0419), b"bXYZ": (0.1571, 0.0666, 0.7841)}
    for index in range(struct.unpack(">I", profile[128:132])[0]):
        name, offset, _ = struct.unpack(">4sII", profile[132 + 12 * index : 144 + 12 * index])
        if name in colorants:
            profile[offset + 8 : offset + 20] = struct.pack(">3i", *(round(value * 65536) for value in colorants[name]))
    return bytes(profile)


@cache
def srgb_profile() -> bytes:
    """A plain sRGB profile. Made once, since it holds the second in which it was made."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def with_profile(form: str = "JPEG", size: tuple[int, int] = (120, 80)) -> bytes:
    """A photograph in Display P3."""
    return encoded(photo(size=size), form, icc_profile=display_p3())


def cmyk_jpeg(size: tuple[int, int] = (120, 80)) -> bytes:
    """A photograph in CMYK without a profile."""
    return encoded(photo(size=size).convert("CMYK"), "JPEG", quality=95)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def raw_png(size: tuple[int, int], depth: int, colour: int, rows: Iterable[bytes], extra: bytes = b"") -> bytes:
    """A PNG from its packed rows. `colour`: 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA. `extra`: chunks before the pixels."""
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(b"\0" + row) for row in rows) + packer.flush()
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    chunks = _png_chunk(b"IHDR", header) + extra + _png_chunk(b"IDAT", pixels) + _png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_with_cut_pixels() -> bytes:
    """A PNG whose blocks are all whole and whose compressed pixels stop half-way."""
    data = samples()["png"]
    start = data.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", data[start - 8 : start - 4])
    return data[: start - 8] + _png_chunk(b"IDAT", data[start : start + length // 2]) + _png_chunk(b"IEND", b"")


def png_16_bit(colour: int, size: tuple[int, int] = (120, 80)) -> bytes:
    """A photograph with 16 bits a channel; `colour` as in `raw_png`."""
    image = photo(size=size).convert({0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}[colour])
    values = (np.asarray(image).astype(np.uint32) * 257).astype(">u2")
    return raw_png(size, 16, colour, [values[row].tobytes() for row in range(size[1])])


def palette_with_alpha(size: tuple[int, int] = (120, 80)) -> bytes:
    """A palette PNG whose left half is wholly transparent and whose right half is not."""
    image = photo(size=size).quantize(64)
    values = np.asarray(image).copy()
    values[:, : size[0] // 2] = 0
    values[:, size[0] // 2 :] = np.maximum(values[:, size[0] // 2 :], 1)
    out = Image.fromarray(values, "L").convert("L")
    flat = Image.new("P", size)
    flat.putdata(list(out.get_flattened_data()))
    flat.putpalette(image.getpalette() or [])
    return encoded(flat, "PNG", transparency=0)


def with_alpha(size: tuple[int, int] = (120, 80), mode: str = "RGBA", form: str = "PNG") -> bytes:
    """A photograph that fades out from left (transparent) to right (opaque)."""
    image = photo(size=size).convert(mode)
    image.putalpha(alpha_ramp(size))
    return encoded(image, form, **({"lossless": True} if form == "WEBP" else {}))


def alpha_ramp(size: tuple[int, int]) -> Image.Image:
    """0 at the left edge, 255 at the right one."""
    row = np.linspace(0, 255, size[0]).round().astype(np.uint8)
    return Image.fromarray(np.repeat(row[None, :], size[1], axis=0))


def animated(form: str, frames: int = 3, size: tuple[int, int] = (60, 40)) -> bytes:
    """GIF, WEBP or PNG with several frames."""
    pictures = [photo(size=size).rotate(90 * index) for index in range(frames)]
    return encoded(pictures[0], form, save_all=True, append_images=pictures[1:], duration=100)


def plain_png(size: tuple[int, int]) -> bytes:
    """A small file of one bit a pixel, all black: a bomb when `size` is large."""
    return raw_png(size, 1, 0, (bytes((size[0] + 7) // 8) for _ in range(size[1])))


def header_only_png(size: tuple[int, int]) -> bytes:
    """A PNG that says `size` and holds next to nothing."""
    return raw_png(size, 8, 2, [b""])


def png_with_text_bomb(kind: bytes) -> bytes:
    """100 MB of zeros, packed into a zTXt, iTXt or iCCP chunk of some 100 kB."""
    packed = zlib.compress(bytes(100_000_000), 9)
    head = {b"zTXt": b"comment\0\0", b"iTXt": b"comment\0\1\0\0\0", b"iCCP": b"icc\0\0"}[kind]
    return raw_png((4, 4), 8, 2, [bytes(12)] * 4, extra=_png_chunk(kind, head + packed))


def gif_with_huge_frame() -> bytes:
    """A small screen, and a frame of 60000×60000 within."""
    data = bytearray(encoded(photo(size=(8, 8)).quantize(8), "GIF"))
    at = data.index(b"\x2c", 13 + 3 * 8)
    data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    return bytes(data)


def tiff_with_tags(tags: list[tuple[int, int, int, int]]) -> bytes:
    """A little-endian TIFF of one directory: (tag, type, count, value or offset)."""
    entries = b"".join(struct.pack("<HHLL", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + struct.pack("<L", 0) + bytes(64)


@cache
def samples() -> dict[str, bytes]:
    """One good picture of each kind that is taken, by name; the name begins with the format."""
    image = photo(size=(120, 80))
    return {
        "jpeg": encoded(image, "JPEG", quality=90),
        "jpeg_grey": encoded(image.convert("L"), "JPEG"),
        "jpeg_progressive": encoded(image, "JPEG", progressive=True),
        "jpeg_cmyk": cmyk_jpeg(),
        "jpeg_rotated": rotated(6),
        "jpeg_p3": with_profile(),
        "jpeg_gps": with_gps(),
        "png": encoded(image, "PNG"),
        "png_alpha": with_alpha(),
        "png_grey_alpha": with_alpha(mode="LA"),
        "png_palette_alpha": palette_with_alpha(),
        "png_16_rgb": png_16_bit(2),
        "png_16_grey": png_16_bit(0),
        "png_16_alpha": png_16_bit(6),
        "png_1_bit": encoded(image.convert("1"), "PNG"),
        "png_gps": with_gps("PNG"),
        "webp": encoded(image, "WEBP"),
        "webp_alpha": with_alpha(form="WEBP"),
        "webp_gps": with_gps("WEBP"),
        "gif": encoded(image.quantize(64), "GIF"),
        "bmp": encoded(image, "BMP"),
        "tiff": encoded(image, "TIFF"),
        "tiff_lzw": encoded(image, "TIFF", compression="tiff_lzw"),
        "tiff_rotated": rotated(6, "TIFF"),
        "avif": encoded(image, "AVIF"),
        "avif_alpha": with_alpha(form="AVIF"),
    }
