"""Small files that would be gigabytes if they were decoded, or take minutes to read, in every format that is taken.

Each breaks one limit only, so that no other one can hide that it is gone.
"""

import struct
import zlib
from functools import cache

from tests import pictures

HUGE = (60_000, 60_000)
#: As large as a picture may be.
LARGE = (7_000, 7_000)


@cache
def bombs() -> dict[str, bytes]:
    """By name, the format first. None of them may be decoded, in whole or in part."""
    jpeg = pictures.samples()["jpeg_progressive"]
    return {
        "png of 65 000 pixels square": pictures.header_only_png((65_000, 65_000)),
        "png of 2^31 pixels square": pictures.header_only_png((2**31 - 1, 2**31 - 1)),
        "png of plain black": pictures.plain_png((14_000, 14_000)),
        "png too long": pictures.header_only_png((16_385, 1)),
        "png of 50 MP and one": pictures.header_only_png((7_072, 7_072)),
        "png of 16 bits": pictures.raw_png((16_000, 16_000), 16, 6, [b""]),
        "png of 100 000 chunks": pictures.raw_png((8, 8), 8, 2, [b""], extra=_png_chunk(b"teXt", b"a\0b") * 100_000),
        "jpeg of 65 535 pixels square": sized_jpeg(jpeg, (65_535, 65_535)),
        "jpeg flat": sized_jpeg(jpeg, (65_535, 1)),
        "jpeg of 5 000 scans": scans_jpeg(jpeg, 5_000, LARGE),
        "webp extended": extended_webp((1 << 24, 1 << 24)),
        "webp lossless": lossless_webp((16_384, 16_384)),
        "webp of 16 383 pixels square": lossy_webp((16_383, 16_383)),
        "gif screen": gif((65_535, 65_535), (8, 8), frames=1),
        "gif frame": pictures.gif_with_huge_frame(),
        "bmp": bmp(HUGE, bits=1, compression=0),
        "bmp run lengths": bmp(HUGE, bits=8, compression=1),
        "bmp of 2^31 pixels a side": bmp((2**31 - 1, 2**31 - 1), bits=8, compression=1),
        "tiff": tiff(HUGE, compression=1),
        "tiff deflate": tiff(HUGE, compression=8),
        "tiff fax": tiff(HUGE, compression=4),
        "tiff of 2^32 pixels a side": tiff((2**32 - 1, 2**32 - 1), compression=5),
        "tiff of one tile": tiled_tiff((16, 16), tile=(65_536, 65_536)),
        "tiff of 60 000 entries": b"II*\0" + struct.pack("<LH", 8, 60_000) + struct.pack("<HHLL", 40_000, 3, 1, 0) * 60_000,
        "bigtiff of 2^63 entries": b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2**63) + bytes(400),
        "tiff of 2^32 strips": pictures.tiff_with_tags([(256, 4, 1, 16), (257, 4, 1, 16), (273, 4, 2**32 - 1, 8)]),
        "avif": avif((65_535, 65_535)),
        "avif of 2^32 pixels a side": avif((2**32 - 1, 2**32 - 1)),
    }


@cache
def long_animations() -> dict[str, bytes]:
    """Frames upon frames of the full size: only the first one may ever be decoded."""
    return {
        "png of 10 000 frames": animated_png(10_000, LARGE),
        "webp of 5 000 frames": animated_webp(5_000, LARGE),
        "gif of 2 000 frames": gif(LARGE, LARGE, frames=2_000),
    }


def sized_jpeg(data: bytes, size: tuple[int, int]) -> bytes:
    """A JPEG that says that it has another size."""
    at = next(at for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2") if (at := data.find(marker)) > 0)
    return data[: at + 5] + struct.pack(">HH", size[1], size[0]) + data[at + 9 :]


def scans_jpeg(data: bytes, scans: int, size: tuple[int, int]) -> bytes:
    """A progressive JPEG with the same tiny scan again and again: decoding walks over all pixels for each."""
    first = data.rfind(b"\xff\xda")
    scan = data[first:-2]
    return sized_jpeg(data[:first], size) + scan[:64] * scans + b"\xff\xd9"


def animated_png(frames: int, size: tuple[int, int]) -> bytes:
    """APNG: frames of hardly any bytes, each of the full size."""
    control = struct.pack(">II", frames, 0)
    return pictures.raw_png(size, 8, 6, [b""], extra=_png_chunk(b"acTL", control))


def extended_webp(size: tuple[int, int]) -> bytes:
    """The canvas of a VP8X header has 24 bits a side."""
    canvas = (size[0] - 1).to_bytes(3, "little") + (size[1] - 1).to_bytes(3, "little")
    return _riff([(b"VP8X", bytes(4) + canvas), (b"VP8L", b"\x2f" + bytes(9))])


def lossless_webp(size: tuple[int, int]) -> bytes:
    """VP8L says its size in 14 bits a side."""
    bits = (size[0] - 1) | (size[1] - 1) << 14
    return _riff([(b"VP8L", b"\x2f" + struct.pack("<I", bits) + bytes(20))])


def plain_webp(size: tuple[int, int]) -> bytes:
    """A whole picture, all black, in 30 bytes: five prefix codes of one symbol each take no bits a pixel. RFC 9649, 6.2."""
    sides = struct.pack("<I", (size[0] - 1) | (size[1] - 1) << 14)
    codes = sum(1 << 3 + 4 * code for code in range(5))
    return _riff([(b"VP8L", b"\x2f" + sides + codes.to_bytes(5, "little"))])


def lossy_webp(size: tuple[int, int]) -> bytes:
    """VP8 says it in 14 bits, too."""
    return _riff([(b"VP8 ", b"\x10\x00\x00\x9d\x01\x2a" + struct.pack("<HH", *size) + bytes(40))])


def animated_webp(frames: int, size: tuple[int, int]) -> bytes:
    """ANMF frames of the full canvas, each of one byte of pixels."""
    sides = (size[0] - 1).to_bytes(3, "little") + (size[1] - 1).to_bytes(3, "little")
    frame = (b"ANMF", bytes(6) + sides + bytes(4) + b"VP8L" + struct.pack("<I", 2) + b"\x2f\0")
    return _riff([(b"VP8X", b"\x02\0\0\0" + sides), (b"ANIM", bytes(6)), *[frame] * frames])


def gif(screen: tuple[int, int], frame: tuple[int, int], *, frames: int) -> bytes:
    """Frames whose LZW data end at once."""
    image = b"\x2c" + struct.pack("<HHHH", 0, 0, *frame) + b"\0" + b"\x02\x02\x4c\x01\0"
    return b"GIF89a" + struct.pack("<HH", *screen) + b"\x80\0\0" + bytes(6) + image * frames + b"\x3b"


def bmp(size: tuple[int, int], *, bits: int, compression: int) -> bytes:
    """A header of 40 bytes, a palette and next to no pixels."""
    header = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, compression, 0, 0, 0, 2, 0)
    return b"BM" + struct.pack("<IHHI", 200, 0, 0, 62) + header + bytes(8 + 100)


def tiff(size: tuple[int, int], *, compression: int) -> bytes:
    """One strip of a few bytes for all the rows."""
    packed = zlib.compress(bytes(1_000))
    tags = [(256, 4, 1, size[0]), (257, 4, 1, size[1]), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, size[1]), (279, 4, 1, len(packed))]
    return pictures.tiff_with_tags(tags)


def tiled_tiff(size: tuple[int, int], *, tile: tuple[int, int]) -> bytes:
    """A small picture in one tile, which is decoded whole."""
    packed = zlib.compress(bytes(1_000_000), 9)
    start = 8 + 2 + 10 * 12 + 4
    tags = [(256, 4, 1, size[0]), (257, 4, 1, size[1]), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    tags += [(322, 4, 1, tile[0]), (323, 4, 1, tile[1]), (324, 4, 1, start), (325, 4, 1, len(packed))]
    return pictures.tiff_with_tags(tags)[:start] + packed


def avif(size: tuple[int, int]) -> bytes:
    """A whole AVIF whose `ispe` property lies."""
    data = pictures.encoded(pictures.photo(size=(24, 16)), "AVIF")
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", *size) + data[at + 8 :]


def _riff(chunks: list[tuple[bytes, bytes]]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(inside)) + inside + b"\0" * (len(inside) % 2) for kind, inside in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
