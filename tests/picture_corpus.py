"""Thousands of spoilt pictures, the same ones for the same seed: cut, flipped, reordered, lying, packed too well, polyglot."""

import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO

from shared.picture_blocks import jpeg_segments, png_chunks, webp_chunks
from tests import pictures
from tests.bomb_pictures import sized_jpeg

_LIES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_HEAD_BYTES = 160


def base_pictures() -> dict[str, bytes]:
    """One small good picture of each format, and of each kind that has blocks of its own."""
    image = pictures.photo(size=(24, 16))
    return {
        "jpeg": pictures.encoded(image, "JPEG", quality=60, icc_profile=pictures.srgb_profile()),
        "jpeg_progressive": pictures.encoded(image, "JPEG", progressive=True),
        "jpeg_exif": pictures.with_gps(size=(24, 16)),
        "png": pictures.encoded(image, "PNG", icc_profile=pictures.srgb_profile()),
        "png_palette": pictures.palette_with_alpha((24, 16)),
        "webp": pictures.encoded(image, "WEBP"),
        "webp_lossless": pictures.encoded(image, "WEBP", lossless=True),
        "webp_extended": pictures.with_gps("WEBP", size=(24, 16)),
        "gif": pictures.encoded(image.quantize(16), "GIF"),
        "gif_animated": pictures.animated("GIF", size=(24, 16)),
        "bmp": pictures.encoded(image, "BMP"),
        "tiff": pictures.encoded(image, "TIFF"),
        "tiff_lzw": pictures.encoded(image, "TIFF", compression="tiff_lzw"),
        "tiff_rotated": pictures.rotated(6, "TIFF", size=(24, 16)),
        "avif": pictures.encoded(image, "AVIF"),
    }


def spoilt_pictures(seed: int, *, each: int) -> Iterator[tuple[str, bytes]]:
    """Named cases; `each`: how many random ones of a kind for a picture."""
    chance = random.Random(seed)
    bases = base_pictures()
    for name, data in bases.items():
        for case, spoilt in _spoilt(data, chance, each):
            yield f"{name} {case}", spoilt
    yield from _chimeras(bases, chance)
    yield from _profiles(bases)
    yield from _exif_blocks(bases)
    yield from _polyglots(bases)


def _spoilt(data: bytes, chance: random.Random, each: int) -> Iterator[tuple[str, bytes]]:
    for end in sorted({*range(0, 40, 3), *(chance.randrange(len(data)) for _ in range(each)), len(data) - 1}):
        yield f"cut at {end}", data[:end]
    for n in range(each):
        spoilt = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 8))):
            place = chance.randrange(min(len(data), _HEAD_BYTES) if n % 2 else len(data))
            spoilt[place] ^= 1 << chance.randrange(8)
        yield f"flipped {n}", bytes(spoilt)
    for n in range(each):
        place, width = chance.randrange(2, min(len(data), _HEAD_BYTES) - 4), chance.choice((1, 2, 4))
        lie = (chance.choice(_LIES) & ((1 << 8 * width) - 1)).to_bytes(width, chance.choice(("big", "little")))
        yield f"lying {n}", data[:place] + lie + data[place + width :]
    blocks = _blocks(data)
    for n in range(each // 2):
        yield f"blocks {n}", _reordered(blocks, chance)
    start, end = sorted(chance.randrange(len(data)) for _ in range(2))
    yield "a piece twice", data[:end] + data[start:]
    yield "a piece gone", data[:start] + data[end:]
    yield "zeros within", data[:start] + bytes(end - start) + data[end:]
    yield "itself behind", data + data
    yield "noise behind", data + chance.randbytes(2_000)
    yield "noise before", chance.randbytes(7) + data


def _blocks(data: bytes) -> list[bytes]:
    """The file cut into its blocks: the signature, then each of them; in fixed pieces where the format has none to speak of."""
    if data.startswith(b"\xff\xd8"):
        edges = [(start, end) for _, start, end in jpeg_segments(data)]
    elif data.startswith(b"\x89PNG"):
        edges = [(start, end) for _, start, end in png_chunks(data)]
    elif data.startswith(b"RIFF"):
        edges = [(start, end) for _, start, end in webp_chunks(data)]
    else:
        edges = [(start, min(start + 24, len(data))) for start in range(12, len(data), 24)]
    return [data[: edges[0][0]], *(data[start:end] for start, end in edges), data[edges[-1][1] :]]


def _reordered(blocks: list[bytes], chance: random.Random) -> bytes:
    first, inner = blocks[0], blocks[1:]
    match chance.randrange(4):
        case 0:
            chance.shuffle(inner)
        case 1:
            inner.insert(chance.randrange(len(inner) + 1), chance.choice(inner))
        case 2:
            inner.pop(chance.randrange(len(inner)))
        case _:
            at = chance.randrange(len(inner))
            inner[at] = inner[at] * chance.choice((2, 50))
    return first + b"".join(inner)


def _chimeras(bases: dict[str, bytes], chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """The head of one format on the body of another."""
    for name, head in bases.items():
        for other in bases:
            if other.split("_")[0] != name.split("_")[0] and chance.random() < 0.4:
                yield f"{name} head on {other}", head[: chance.choice((4, 12, 30))] + bases[other][12:]


def _profiles(bases: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """ICC profiles that lie, that hold each other, that come in pieces of which some are missing."""
    profile = pictures.srgb_profile()
    inside = zlib.compress(profile)
    for n, packed in enumerate(
        (b"", b"icc\0\0", b"icc\0\0" + inside[:9], b"icc\0\7" + inside, b"icc\0\0" + zlib.compress(inside))
    ):
        yield f"png profile {n}", _with_png_chunk(bases["png_palette"], b"iCCP", packed)
    nested = profile
    for _ in range(20):
        nested = profile[:128] + zlib.compress(nested)
    yield "png profile nested", _with_png_chunk(bases["png_palette"], b"iCCP", b"icc\0\0" + zlib.compress(nested))
    yield "png profiles twice", _with_png_chunk(bases["png"], b"iCCP", b"icc\0\0" + inside)
    for n, (number, count) in enumerate(((1, 1), (2, 1), (0, 0), (1, 255), (255, 255))):
        head = b"ICC_PROFILE\0" + bytes((number, count))
        yield f"jpeg profile {n}", _with_jpeg_segment(bases["jpeg_progressive"], 0xE2, head + profile)
    many = bases["jpeg_progressive"]
    for number in range(60):
        many = _with_jpeg_segment(many, 0xE2, b"ICC_PROFILE\0" + bytes((number % 9, 8)) + bytes(60_000))
    yield "jpeg profile of megabytes", many
    for lie in _LIES:
        lying = struct.pack(">I", lie) + profile[4:128] + struct.pack(">I", lie) + profile[132:]
        yield f"profile that says {lie}", pictures.encoded(pictures.photo(size=(8, 8)), "PNG", icc_profile=lying)


def _exif_blocks(bases: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Directories that are huge, that lead to themselves, that lead nowhere."""
    entry = struct.pack("<HHLL", 0x112, 3, 1, 6)
    bodies = {
        "loop": struct.pack("<2sHLH", b"II", 42, 8, 1) + entry + struct.pack("<L", 8),
        "inner loop": struct.pack("<2sHLH", b"II", 42, 8, 1) + struct.pack("<HHLL", 0x8769, 4, 1, 8) + bytes(4),
        "endless": struct.pack("<2sHLH", b"II", 42, 8, 5_400) + entry * 5_400 + bytes(4),
        "far": struct.pack("<2sHL", b"II", 42, 0xFFFFFFF0),
        "many values": struct.pack("<2sHLH", b"II", 42, 8, 1) + struct.pack("<HHLL", 0x10E, 2, 0xFFFFFFFF, 8) + bytes(4),
        "no orientation": struct.pack("<2sHLH", b"II", 42, 8, 1) + struct.pack("<HHLL", 0x112, 12, 1, 0x7FF80000) + bytes(4),
        "orientation of 9": struct.pack("<2sHLH", b"II", 42, 8, 1) + struct.pack("<HHLL", 0x112, 3, 1, 9) + bytes(4),
        "empty": b"",
    }
    for name, body in bodies.items():
        yield f"jpeg exif {name}", _with_jpeg_segment(bases["jpeg_progressive"], 0xE1, b"Exif\0\0" + body)
        yield f"png exif {name}", _with_png_chunk(bases["png_palette"], b"eXIf", body)
        chunk = b"EXIF" + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        webp = bases["webp_extended"]
        yield f"webp exif {name}", b"RIFF" + struct.pack("<I", len(webp) - 8 + len(chunk)) + webp[8:] + chunk
    progressive, segment = bases["jpeg_progressive"], b"Exif\0\0" + bodies["endless"][:2_000]
    for n in (63, 64, 65, 4_000):
        many = (b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment) * n
        yield f"jpeg exif in {n} segments", progressive[:2] + many + progressive[2:]
    for start in (0, 1, 8, 0xFFFFFFFF):
        yield f"tiff directory at {start}", b"II*\0" + struct.pack("<L", start) + bases["tiff"][8:]
    tags = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 0x7FFFFFFF, 8), (262, 3, 1, 2), (273, 4, 1, 8), (279, 4, 1, 8)]
    yield "tiff with 2^31 samples", pictures.tiff_with_tags(tags)
    yield "tiff with an unknown compression", pictures.tiff_with_tags([*tags[:2], (259, 3, 1, 50_000), *tags[3:]])
    yield "tiff of the same tag", pictures.tiff_with_tags(tags[:2] * 2_000)


def _polyglots(bases: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Files that are something else too, and things that only begin like a picture."""
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("zeros", bytes(10_000_000))
    page, script = b"<html><script>alert(1)</script></html>", b"*/=1;alert(1)/*"
    for name, data in bases.items():
        yield f"{name} and a zip bomb", data + archive.getvalue()
        yield f"{name} and a page", data + page
        yield f"page before {name}", page + data
        yield f"{name} and a PDF", data + b"%PDF-1.7\n1 0 obj<<>>endobj"
    yield "zip bomb", archive.getvalue()
    yield "gif that is a script", b"GIF89a" + script + bases["gif"][6 + len(script) :]
    yield "bmp that is a script", b"BM" + script + bases["bmp"][2 + len(script) :]
    yield "bmp that holds a jpeg", bases["bmp"][:30] + struct.pack("<I", 4) + bases["bmp"][34:54] + bases["jpeg"]
    yield "svg", b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>'
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage"
    yield "gzip", zlib.compress(bases["png"], wbits=31)
    for brand in (b"avif", b"heic", b"mif1", b"avis", b"qt  ", b"\0\0\0\0"):
        yield f"boxes of {brand!r}", b"\0\0\0\x18ftyp" + brand + bytes(4) + brand * 2 + bases["avif"][24:]
    for signature in (
        b"8BPS",
        b"\0\0\1\0",
        b"P6\n9 9\n255\n",
        b"SIMPLE  =",
        b"\x76\x2f\x31\x01",
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"FLIF",
        b"RIFF",
    ):
        yield f"signature {signature!r}", signature + bases["png"]
    for size in ((0, 0), (0, 16), (24, 0)):
        yield f"png of {size}", pictures.header_only_png(size)
        yield f"jpeg of {size}", sized_jpeg(bases["jpeg_progressive"], size)
        yield f"gif of {size}", bases["gif"][:6] + struct.pack("<HH", *(side & 0xFFFF for side in size)) + bases["gif"][10:]
        yield f"bmp of {size}", bases["bmp"][:18] + struct.pack("<II", *size) + bases["bmp"][26:]
        yield f"tiff of {size}", pictures.tiff_with_tags([(256, 4, 1, size[0]), (257, 4, 1, size[1]), (273, 4, 1, 8)])


def _with_png_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
    return data[:33] + chunk + data[33:]


def _with_jpeg_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + b"\xff" + bytes((marker,)) + struct.pack(">H", len(body) + 2) + body + data[2:]
