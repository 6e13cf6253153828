"""Change what lies beside the pixels of a JPEG, PNG or WebP without decoding them (pure).

Sources: ITU-T T.81 annex B and ICC.1 annex B.4 (JPEG), W3C PNG 3 section 11 (PNG), RFC 9649 (WebP).
"""

import re
import struct
import zlib

from shared.picture import PictureInfo
from shared.picture_blocks import jpeg_segment_is_plain, jpeg_segments, png_chunk_is_plain, png_chunks, webp_chunks

FORMATS = ("jpeg", "png", "webp")

# Behind FF in coded data: 00 is a stuffed byte, D0–D7 restart markers, FF fill.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_JPEG_PROFILE_PART_BYTES = 65_519
_PNG_COLOUR = (b"gAMA", b"cHRM", b"sRGB", b"cICP")
_WEBP_PIXELS = (b"VP8 ", b"VP8L", b"ALPH")


def rewrap(data: bytes, info: PictureInfo, *, icc: bytes | None, exif: bytes | None) -> bytes:
    """The same coded pixels with exactly this profile and EXIF block and nothing else beside them: no GPS, no text, no trailer.

    `info` is of `data`, whose format is one of FORMATS. `exif`: with its `Exif\\0\\0` prefix, at most 65 533 bytes.
    """
    if info.format == "jpeg":
        return _jpeg(data, icc, exif)
    return _png(data, icc, exif) if info.format == "png" else _webp(data, info, icc, exif)


def _jpeg(data: bytes, icc: bytes | None, exif: bytes | None) -> bytes:
    start_of_picture, coding, scan = [b"\xff\xd8"], [], 0
    for marker, start, scan in jpeg_segments(data):
        segment = data[start:scan]
        described = 0xE0 <= marker <= 0xEF or marker == 0xFE
        plain = marker in (0xE0, 0xEE) and jpeg_segment_is_plain(marker, segment[4:])
        if marker == 0xE0 and plain:
            start_of_picture.append(segment)
        elif plain or not described:
            coding.append(segment)
    if exif is not None:
        start_of_picture.append(b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)
    parts = [icc[at : at + _JPEG_PROFILE_PART_BYTES] for at in range(0, len(icc), _JPEG_PROFILE_PART_BYTES)] if icc else []
    for number, part in enumerate(parts, start=1):
        payload = b"ICC_PROFILE\0" + bytes((number, len(parts))) + part
        start_of_picture.append(b"\xff\xe2" + struct.pack(">H", len(payload) + 2) + payload)
    return b"".join([*start_of_picture, *coding, *_jpeg_scans(data, scan)])


def _jpeg_scans(data: bytes, start: int) -> list[bytes]:
    """Coded data and the segments between scans, up to the first end marker."""
    kept: list[bytes] = []
    position = start
    while found := _JPEG_MARKER.search(data, position):
        at, marker = found.start(), data[found.start() + 1]
        if marker == 0xD9:
            return [*kept, data[start : at + 2]]
        position = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            kept.append(data[start:at])
            start = position
    return [*kept, data[start:]]


def _png(data: bytes, icc: bytes | None, exif: bytes | None) -> bytes:
    parts = [data[:8]]
    for kind, start, end in png_chunks(data):
        if png_chunk_is_plain(kind) and not (icc and kind in _PNG_COLOUR):
            parts.append(data[start:end])
        if kind == b"IHDR" and icc:
            parts.append(_png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc)))
        if kind == b"IHDR" and exif:
            parts.append(_png_chunk(b"eXIf", exif[6:]))
    return b"".join(parts)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _webp(data: bytes, info: PictureInfo, icc: bytes | None, exif: bytes | None) -> bytes:
    pixels = [(kind, data[start:end]) for kind, start, end in webp_chunks(data) if kind in _WEBP_PIXELS]
    parts = [chunk for _, chunk in pixels]
    if icc or exif or any(kind == b"ALPH" for kind, _ in pixels):
        flags = 0x20 * bool(icc) | 0x10 * info.has_alpha | 0x08 * bool(exif)
        canvas = (info.width - 1).to_bytes(3, "little") + (info.height - 1).to_bytes(3, "little")
        profile = [_webp_chunk(b"ICCP", icc)] if icc else []
        parts = [_webp_chunk(b"VP8X", bytes((flags, 0, 0, 0)) + canvas), *profile, *parts]
        parts += [_webp_chunk(b"EXIF", exif[6:])] if exif else []
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)
