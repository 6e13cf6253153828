"""The blocks that JPEG, PNG and WebP files are made of, and which of them a picture needs to be shown (pure).

Nothing is decompressed. Numbers of blocks are capped, so that a file made of a million tiny blocks costs milliseconds.
Sources: ITU-T T.81 annex B (JPEG), W3C PNG 3, RFC 9649 (WebP).
"""

import struct
from collections.abc import Iterator
from mmap import mmap

from shared.errors import NotAPicture, TruncatedPicture

Buffer = bytes | mmap

_JPEG_SEGMENTS_MAX = 4_096
_JPEG_JUNK_MAX_BYTES = 65_536
_PNG_CHUNKS_MAX = 200_000
_PNG_OTHER_CHUNKS_MAX = 1_000  # libpng's PNG_USER_CHUNK_CACHE_MAX
_WEBP_CHUNKS_MAX = 100_000
_PNG_PLAIN = frozenset(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB cICP sBIT bKGD pHYs".split())


def jpeg_segments(data: Buffer) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment after the SOI, up to the first SOS and with it."""
    position, junk_bytes = 2, 0
    for _ in range(_JPEG_SEGMENTS_MAX):
        start = data.find(b"\xff", position)
        if start < 0:
            raise TruncatedPicture("the JPEG ends before its pixels")
        while data[start + 1] == 0xFF and junk_bytes <= _JPEG_JUNK_MAX_BYTES:  # fill bytes
            start, junk_bytes = start + 1, junk_bytes + 1
        junk_bytes += start - position
        if junk_bytes > _JPEG_JUNK_MAX_BYTES:
            raise NotAPicture("the JPEG has more than 64 KiB of junk in its header")
        marker = data[start + 1]
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # stand-alone markers
            position = start + 2
            continue
        if marker == 0xD9:
            raise NotAPicture("the JPEG holds no pixels")
        (length,) = struct.unpack(">H", data[start + 2 : start + 4])
        end = start + 2 + length
        if length < 2:
            raise NotAPicture("the JPEG has a segment of impossible length")
        if end > len(data):
            raise TruncatedPicture("the JPEG ends before its pixels")
        yield marker, start, end
        if marker == 0xDA:
            return
        position = end
    raise NotAPicture(f"the JPEG has more than {_JPEG_SEGMENTS_MAX} segments before its pixels")


def jpeg_segment_is_plain(marker: int, payload: bytes) -> bool:
    """Whether an APPn or COM segment is needed to show the picture: JFIF, Adobe's colour transform, the ICC profile."""
    return (
        (marker == 0xE0 and payload.startswith(b"JFIF\0"))
        or (marker == 0xEE and payload.startswith(b"Adobe"))
        or (marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0"))
    )


def png_chunks(data: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each chunk, CRC within, up to IEND and with it."""
    position, others = 8, 0
    for _ in range(_PNG_CHUNKS_MAX):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        end = position + 12 + length
        if not kind.isalpha() or end > len(data):
            raise TruncatedPicture("the PNG ends before its pixels do, or has a broken chunk")
        yield kind, position, end
        if kind == b"IEND":
            return
        others += kind not in (b"IDAT", b"fdAT", b"fcTL")
        if others > _PNG_OTHER_CHUNKS_MAX:
            raise NotAPicture(f"the PNG has more than {_PNG_OTHER_CHUNKS_MAX} chunks beside its pixels")
        position = end
    raise NotAPicture(f"the PNG has more than {_PNG_CHUNKS_MAX} chunks")


def png_chunk_is_plain(kind: bytes) -> bool:
    """Whether a chunk is part of the still picture rather than a description of it. The profile is not counted here."""
    return kind in _PNG_PLAIN


def webp_chunks(data: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each chunk, header and padding within."""
    (size,) = struct.unpack("<I", data[4:8])
    total, position = size + 8, 12
    if total > len(data):
        raise TruncatedPicture(f"the WebP announces {total} bytes and has {len(data)}")
    for _ in range(_WEBP_CHUNKS_MAX):
        if position + 8 > total:
            return
        kind, length = struct.unpack("<4sI", data[position : position + 8])
        end = position + 8 + length + (length & 1)
        if position + 8 + length > total:
            raise TruncatedPicture("the WebP ends inside of a chunk")
        yield kind, position, end
        position = end
    raise NotAPicture(f"the WebP has more than {_WEBP_CHUNKS_MAX} chunks")
