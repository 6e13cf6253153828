"""How picture files are built: what they are, where they end, what lies beside the pixels (pure).

Nothing is decompressed. Numbers of blocks are capped, so that a file made of a million tiny blocks costs milliseconds.
Sources: GIF89a, TIFF 6.0 and BigTIFF, ISO/IEC 14496-12 (AVIF, HEIC), and those of `shared.picture_blocks`.
"""

import struct
from dataclasses import dataclass

from shared.errors import NotAPicture, TruncatedPicture
from shared.picture_blocks import Buffer, jpeg_segment_is_plain, jpeg_segments, png_chunk_is_plain, png_chunks, webp_chunks

_JPEG_EXIF_SEGMENTS_MAX = 64  # Pillow joins them, which costs the square of their number
_JPEG_SCANS_MAX = 100  # encoders write a dozen; decoding walks over all pixels for each
_GIF_BLOCKS_MAX = 1_000_000
_TIFF_ENTRIES_MAX = 4_096
_TIFF_STRIPS_MAX = 262_144  # tiles of 16×16 cut 50 MP into 195 000
_TIFF_TILE_SIDE = 1_024  # tiles of up to this may be larger than the picture; a tile is decoded whole

_PNG_BESIDE = frozenset(b"acTL fcTL fdAT iCCP".split())
_WEBP_PLAIN = frozenset([b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"])
_TIFF_DESCRIPTIVE = frozenset([270, 271, 272, 305, 306, 315, 316, 700, 33432, 33723, 34377, 34665, 34853])
_TIFF_READ = frozenset([256, 257, 273, 279, 322, 323, 324, 325])
_TIFF_NUMBERS = {3: "H", 4: "L", 13: "L", 16: "Q"}
_HEIC_BRANDS = frozenset(b"heic heix heim heis hevc hevx".split())


@dataclass(frozen=True, slots=True)
class Structure:
    """`formats`: Pillow's names of what it can be. `size`: (width, height) as stored, None if only a decoder can tell.

    `frames`: 2 stands for "more than one" in TIFF, whose pages are a chain. `metadata`: something describes the picture.
    """

    formats: tuple[str, ...]
    size: tuple[int, int] | None = None
    frames: int = 1
    metadata: bool = False


def read_structure(data: Buffer) -> Structure:
    """Tell the format by its first bytes and check that the file is whole. Raises NotAPicture, TruncatedPicture."""
    head = data[:16]
    try:
        if head.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            return _webp(data)
        if head.startswith((b"GIF87a", b"GIF89a")):
            return _gif(data)
        if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            return _tiff(data)
        if head[4:8] == b"ftyp":
            return _boxes(data)
        if head.startswith(b"BM"):
            return _bmp(data)
    except (struct.error, IndexError) as error:
        # A field lies behind the end of the data.
        raise TruncatedPicture("the picture ends inside of its header") from error
    raise NotAPicture("the bytes do not begin like a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC picture")


def _jpeg(data: Buffer) -> Structure:
    size, exif_segments, metadata, end = None, 0, False, 0
    for marker, start, end in jpeg_segments(data):
        payload = data[start + 4 : min(end, start + 20)]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", payload[1:5])
            size = (width, height)
        elif (0xE0 <= marker <= 0xEF or marker == 0xFE) and not jpeg_segment_is_plain(marker, payload):
            metadata = True
            exif_segments += payload.startswith(b"Exif\0")
    if exif_segments > _JPEG_EXIF_SEGMENTS_MAX:
        raise NotAPicture(f"the JPEG has {exif_segments} EXIF segments, {_JPEG_EXIF_SEGMENTS_MAX} are the limit")
    # Coded data never hold FF D9, so that searching from the back finds the end of the picture or of what follows it. A
    # thumbnail in the EXIF block has an end of its own, hence the bound.
    last = data.rfind(b"\xff\xd9", end)
    if last < 0:
        raise TruncatedPicture("the JPEG has no end marker")
    scan, scans = end, 1
    while (scan := data.find(b"\xff\xda", scan + 1, last)) > 0:
        scans += 1
        if scans > _JPEG_SCANS_MAX:
            raise NotAPicture(f"the JPEG has more than {_JPEG_SCANS_MAX} scans")
    return Structure(("JPEG",), size, metadata=metadata or last + 2 != len(data))


def _png(data: Buffer) -> Structure:
    size, frames, metadata, pixels, whole_bytes = None, 1, False, False, 0
    for kind, start, end in png_chunks(data):
        whole_bytes = end
        if kind == b"IHDR":
            width, height = struct.unpack(">II", data[start + 8 : start + 16])
            size = (width, height)
        elif kind == b"acTL" and not pixels:
            (frames,) = struct.unpack(">I", data[start + 8 : start + 12])
        pixels = pixels or kind == b"IDAT"
        metadata = metadata or not (png_chunk_is_plain(kind) or kind in _PNG_BESIDE)
    if not pixels:
        raise NotAPicture("the PNG holds no pixels")
    return Structure(("PNG",), size, frames=max(1, frames), metadata=metadata or whole_bytes != len(data))


def _webp(data: Buffer) -> Structure:
    size, frames, metadata = None, 0, False
    for kind, start, _ in webp_chunks(data):
        body = data[start + 8 : start + 18]
        if kind == b"VP8X":
            size = (int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1)
        elif kind == b"VP8 " and size is None:
            width, height = struct.unpack("<HH", body[6:10])
            size = (width & 0x3FFF, height & 0x3FFF)
        elif kind == b"VP8L" and size is None:
            bits = int.from_bytes(body[1:5], "little")
            size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        frames += kind == b"ANMF"
        metadata = metadata or kind not in _WEBP_PLAIN
    if size is None:
        raise NotAPicture("the WebP holds no pixels")
    trailing = len(data) > int.from_bytes(data[4:8], "little") + 9
    return Structure(("WEBP",), size, frames=max(1, frames), metadata=metadata or trailing)


def _gif(data: Buffer) -> Structure:
    def after_palette(flags: int, at: int) -> int:
        return at + (3 << (flags & 7) + 1) if flags & 0x80 else at

    position, frames, blocks, metadata = after_palette(data[10], 13), 0, 0, False
    while data[position] != 0x3B:
        if data[position] == 0x2C:
            frames += 1
            position = after_palette(data[position + 9], position + 10) + 1
        elif data[position] == 0x21:
            kind, application = data[position + 1], data[position + 3 : position + 11]
            metadata = metadata or kind == 0xFE or (kind == 0xFF and application not in (b"NETSCAPE", b"ANIMEXTS"))
            position += 2
        else:
            raise NotAPicture("the GIF has a block of an unknown kind")
        while length := data[position]:
            position, blocks = position + 1 + length, blocks + 1
            if blocks > _GIF_BLOCKS_MAX:
                raise NotAPicture(f"the GIF has more than {_GIF_BLOCKS_MAX} blocks")
        position += 1
    if not frames:
        raise NotAPicture("the GIF holds no pixels")
    return Structure(("GIF",), struct.unpack("<HH", data[6:10]), frames=frames, metadata=metadata)


def _bmp(data: Buffer) -> Structure:
    offset, header_bytes = struct.unpack("<II", data[10:18])
    if header_bytes == 12:
        (width, height, _, bits), compression = struct.unpack("<HHHH", data[18:26]), 0
    elif 16 <= header_bytes <= 256:
        width, height, _, bits, compression = struct.unpack("<iiHHI", data[18:34])
    else:
        raise NotAPicture("the BMP has a header of an unknown kind")
    stored_bytes = (max(width, 0) * bits + 31) // 32 * 4 * abs(height)
    if compression in (0, 3, 6) and offset + stored_bytes > len(data):
        raise TruncatedPicture(f"the BMP needs {offset + stored_bytes} bytes and has {len(data)}")
    return Structure(("BMP",), (width, abs(height)))


def _tiff(data: Buffer) -> Structure:
    order, big = "<" if data[:1] == b"I" else ">", data[2:4] in (b"+\0", b"\0+")
    number, entry, entry_bytes = ("Q", "HHQ8s", 20) if big else ("L", "HHL4s", 12)
    width_bytes = struct.calcsize(f"={number}")

    def value(form: str, at: int) -> int:
        return int(struct.unpack(order + form, data[at : at + struct.calcsize(f"={form}")])[0])

    directory = value(number, 8 if big else 4)
    entries = value("Q" if big else "H", directory)
    if entries > _TIFF_ENTRIES_MAX:
        raise NotAPicture(f"the TIFF has {entries} entries, {_TIFF_ENTRIES_MAX} are the limit")
    first = directory + (8 if big else 2)
    tags: dict[int, tuple[int, ...]] = {}
    for index in range(entries):
        at = first + index * entry_bytes
        tag, kind, count, inline = struct.unpack(order + entry, data[at : at + entry_bytes])
        if tag in tags or tag not in _TIFF_READ:
            tags.setdefault(tag, ())  # of tags that come twice, decoders take the first
            continue
        if kind not in _TIFF_NUMBERS or not 1 <= count <= _TIFF_STRIPS_MAX:
            raise NotAPicture(f"the TIFF has {count} values in tag {tag}")
        form = f"{order}{count}{_TIFF_NUMBERS[kind]}"
        length = struct.calcsize(form)
        if length > width_bytes:
            (start,) = struct.unpack(order + number, inline)
            inline = data[start : start + length]
        tags[tag] = struct.unpack(form, inline[:length])
    after = value(number, first + entries * entry_bytes)
    if 256 not in tags or 257 not in tags:
        raise NotAPicture("the TIFF does not say its size")
    for side, tile in ((256, 322), (257, 323)):
        if max(tags.get(tile, (0,))) > max(tags[side][0] + 15, _TIFF_TILE_SIDE):
            raise NotAPicture("the TIFF has tiles that are far larger than itself")
    for offsets, lengths in ((273, 279), (324, 325)):
        ends = [offset + length for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False)]
        if max(ends, default=0) > len(data):
            raise TruncatedPicture(f"the TIFF needs {max(ends)} bytes and has {len(data)}")
    return Structure(
        ("TIFF",), (tags[256][0], tags[257][0]), frames=2 if after else 1, metadata=not _TIFF_DESCRIPTIVE.isdisjoint(tags)
    )


def _boxes(data: Buffer) -> Structure:
    brand, seen, position = data[8:12], set[bytes](), 0
    while position + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[position : position + 8])
        if size == 1:
            (size,) = struct.unpack(">Q", data[position + 8 : position + 16])
        end = len(data) if size == 0 else position + size
        if end > len(data) and not {b"meta", b"mdat"} <= seen:
            raise TruncatedPicture("the picture ends inside of a box")
        if end > len(data) or size in range(1, 8):
            break  # garbage behind a whole picture, or no box at all
        seen.add(kind)
        position = end
    if b"meta" not in seen or b"mdat" not in seen:
        raise TruncatedPicture("the picture ends before its pixels")
    return Structure(("HEIF",) if brand in _HEIC_BRANDS else ("AVIF", "HEIF"))
