"""Lines of batches that are too long, cut off or nonsense; and gzip bodies that are bombs, broken, or within each other."""

import gzip
import json
import random
import zlib
from collections.abc import Iterator

from shared.batch import ITEMS_MAX, LINE_MAX_BYTES
from tests.gateway.body_corpus import FORM, JSON, LINES, WISH, Body, as_bytes, values, wishes

_GOOD = json.dumps(WISH).encode() + b"\n"
_PACKED = {"Content-Encoding": "gzip"}


def batch_bodies(seed: int, *, each: int) -> Iterator[Body]:
    """Lines, plain and packed."""
    chance = random.Random(seed)
    lines = [as_bytes(text).replace(b"\n", b"") for _, text in wishes(chance, each=each)]
    chance.shuffle(lines)
    yield Body("lines", "/batches", b"\n".join(lines), LINES, is_taken=True)
    for name, (data, is_taken) in _lines().items():
        yield Body(name, "/batches", data, LINES, is_taken=is_taken)
    for name, data in _cut().items():
        yield Body(name, "/batches", data, LINES, is_taken=False)
        yield Body(f"{name}, packed", "/batches", gzip.compress(data, 1), LINES, _PACKED, is_taken=False)
    for name, (data, takers) in _gzips().items():
        for kind in (LINES, JSON, FORM):
            yield Body(f"gzip {name}", "/batches", data, kind, _PACKED, is_taken=kind in takers)
    yield Body("gzip where none is taken", "/process", gzip.compress(_GOOD), JSON, _PACKED, is_taken=False)
    for encoding in ("deflate", "br", "zstd", "gzip, gzip", "GZIP", "x-gzip", "identity, gzip", "chunked", "\xe9"):
        yield Body(f"encoding {encoding}", "/batches", _GOOD, LINES, {"Content-Encoding": encoding}, is_taken=False)


def _lines() -> dict[str, tuple[bytes, bool]]:
    """Lines, and whether they have to be taken: then each broken one is a failed item."""
    long = json.dumps({**WISH, "prompt": "x" * LINE_MAX_BYTES}).encode() + b"\n"
    return {
        "a line over 1 MiB": (_GOOD + long + _GOOD, True),
        "a line of exactly 1 MiB": (b'{"image_url": "https://example.com/"}'.ljust(LINE_MAX_BYTES) + b"\n" + _GOOD, True),
        "only a line over 1 MiB": (long, True),
        "a line over 1 MiB without end": (_GOOD + long[:-1], True),
        "many values on a line": (b'{"webhook_events":[' + b"1," * 400_000 + b"1]}\n" + _GOOD, True),
        "many values in the head": (b'{"defaults":{"webhook_events":[' + b"1," * 400_000 + b"1]}}\n" + _GOOD, False),
        "nothing": (b"", False),
        "line ends only": (b"\n" * 10_000, False),
        "more line ends than lines may be": (b"\n" * (2 * ITEMS_MAX + 10), False),
        "carriage returns": (_GOOD.replace(b"\n", b"\r\n") * 3 + b"\r\r\r\n", True),
        "a byte order mark in the middle": (_GOOD + b"\xef\xbb\xbf" + _GOOD, True),
        "UTF-16": (_GOOD.decode().encode("utf-16"), True),
        "zeros": (bytes(5_000), True),
        "an array": (b"[" + _GOOD.strip() + b"]", True),
        "two on a line": (_GOOD.strip() + _GOOD, True),
        "a value a line": (b'1\n"x"\nnull\n[]\n' + _GOOD, True),
        "deep lines": (b"".join(as_bytes(value) + b"\n" for value in values() if "\n" not in value), True),
        "a head twice": (b'{"defaults": {}}\n' * 2 + _GOOD, True),
        "a head that is none": (b'{"defaults": 1}\n' + _GOOD, False),
        "names twice": (b"".join(json.dumps({**WISH, "custom_id": "same"}).encode() + b"\n" for _ in range(5)), True),
        "one upload that is not, 300 times": (b'{"image_id": "upl_00000000000000000000000000", "prompt": "x"}\n' * 300, True),
    }


def _cut() -> dict[str, bytes]:
    return {"half a line": _GOOD + _GOOD[: len(_GOOD) // 2], "only half a line": _GOOD[:40]}


def _gzips() -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """Packed bodies, and the content types under which they have to be taken."""
    zeros, packed = gzip.compress(bytes(70_000_000), 9), gzip.compress(_GOOD)
    return {
        "of zeros": (zeros, ()),
        "of spaces": (gzip.compress(b" " * 70_000_000, 9), ()),
        "of brackets": (gzip.compress(b"[" * 30_000_000, 1), (LINES,)),
        "of items": (gzip.compress(b'{"items":[' + b"{}," * 10_000_000, 1), (LINES,)),
        "of values": (gzip.compress(b'{"items":[{}],"webhook_events":[' + b"1," * 15_000_000, 1), (LINES,)),
        "of broken items": (gzip.compress(b"{}\n" * 300, 9), (LINES,)),
        "of gzip": (gzip.compress(zeros), (LINES,)),
        "of line ends": (gzip.compress(b"\n" * 30_000_000, 1), ()),
        "of members that hold nothing": (gzip.compress(b"") * 20_000 + packed, (LINES,)),
        "of many members": (packed * 50, (LINES,)),
        "cut": (packed[:-9], ()),
        "cut in its header": (packed[:5], ()),
        "with noise behind": (packed + b"noise", ()),
        "with another sum": (packed[:-8] + bytes(4) + packed[-4:], ()),
        "with a flipped byte": (packed[:30] + bytes((packed[30] ^ 255,)) + packed[31:], ()),
        "that is zlib": (zlib.compress(_GOOD), ()),
        "that is none": (_GOOD, ()),
        "of nothing": (b"", ()),
    }
