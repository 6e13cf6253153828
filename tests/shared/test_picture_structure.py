"""Each limit on how a picture file may be built: what is at it passes, what is beyond it is refused and says why."""

import struct
from collections.abc import Callable
from typing import Any

import pytest

from shared import picture_structure
from shared.errors import NotAPicture
from shared.picture_structure import read_structure
from tests import pictures
from tests.bomb_pictures import LARGE, bombs, scans_jpeg, tiled_tiff

JPEG = pictures.samples()["jpeg_progressive"]
SIZE_TAGS = [(256, 4, 1, 16), (257, 4, 1, 16)]


def bigtiff(entries: int) -> bytes:
    """Width, height, and empty tags up to so many entries."""
    tags = [(256, 4, 1, 16), (257, 4, 1, 16), *((tag, 4, 1, 0) for tag in range(1_000, 998 + entries))]
    return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, entries) + b"".join(struct.pack("<HHQQ", *tag) for tag in tags) + bytes(8)


def chunked_png(chunks: int) -> bytes:
    """With so many chunks beside its pixels, the header among them."""
    text = bytes.fromhex("00000003") + b"teXta\0b" + bytes(4)
    return pictures.raw_png((8, 8), 8, 2, [bytes(24)] * 8, extra=text * (chunks - 1))


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda scans: scans_jpeg(JPEG, scans - JPEG.count(b"\xff\xda") + 1, LARGE), 100),
        (bigtiff, 4_096),
        (lambda side: tiled_tiff((16, 16), tile=(side, 16)), 1_024),
        (lambda side: tiled_tiff((16, 16), tile=(16, side)), 1_024),
        (lambda side: tiled_tiff((3_000, 3_000), tile=(side, 16)), 3_015),
        (lambda strips: pictures.tiff_with_tags([*SIZE_TAGS, (273, 4, strips, 8)]) + bytes(4 * strips), 262_144),
        (chunked_png, 1_000),
    ],
    ids=["scans of a JPEG", "entries of a BigTIFF", "tile width", "tile height", "tile of a large TIFF", "strips", "PNG chunks"],
)
def test_a_limit_holds_for_one_more(make: Callable[[int], bytes], most: int) -> None:
    read_structure(make(most))
    with pytest.raises(NotAPicture):
        read_structure(make(most + 1))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("jpeg of 5 000 scans", "more than 100 scans"),
        ("png of 100 000 chunks", "more than 1000 chunks beside its pixels"),
        ("tiff of one tile", "tiles that are far larger than itself"),
        ("tiff of 60 000 entries", "60000 entries, 4096 are the limit"),
        ("bigtiff of 2^63 entries", "9223372036854775808 entries"),
        ("tiff of 2^32 strips", "4294967295 values in tag 273"),
    ],
)
def test_a_bomb_is_refused_for_what_makes_it_one(name: str, words: str) -> None:
    with pytest.raises(NotAPicture, match=words):
        read_structure(bombs()[name])


def test_of_a_tag_that_comes_thousands_of_times_only_the_first_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    strips, copies = 100_000, 4_000
    tags = [*SIZE_TAGS, *[(273, 4, strips, 0)] * copies]
    data = pictures.tiff_with_tags(tags) + bytes(4 * strips)
    read_bytes = 0

    class Counting:
        """`struct`, as far as the module uses it."""

        error, calcsize = struct.error, staticmethod(struct.calcsize)

        @staticmethod
        def unpack(form: str, buffer: bytes) -> tuple[Any, ...]:
            nonlocal read_bytes
            read_bytes += len(buffer)
            return struct.unpack(form, buffer)

    monkeypatch.setattr(picture_structure, "struct", Counting)
    read_structure(data)
    assert 4 * strips < read_bytes < 4 * strips + 20 * len(tags) + 100


@pytest.mark.parametrize("sizes", [((16, 16), (9_000, 9_000)), ((9_000, 9_000), (16, 16))])
def test_of_two_sizes_the_one_counts_that_is_decoded(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    (width, height), (other_width, other_height) = sizes
    start = 8 + 2 + 11 * 12 + 4
    tags = [(256, 4, 1, width), (256, 4, 1, other_width), (257, 4, 1, height), (257, 4, 1, other_height), (258, 3, 1, 8)]
    tags += [(259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, start), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 256)]
    entries = b"".join(struct.pack("<HHLL", *tag) for tag in tags)
    data = b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4) + bytes(256)
    assert read_structure(data).size == (width, height)
    if (width, height) == (16, 16):
        assert pictures.opened(data).size == (16, 16)
