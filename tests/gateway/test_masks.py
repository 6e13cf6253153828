"""Masks that cost memory: few are decoded at once, and none whose header does not say what it takes."""

import asyncio
import threading
from typing import Any

import pytest
from PIL import Image

from gateway import masks
from gateway.masks import PLACES, check_mask
from gateway.spool import Content
from shared.errors import MaskEmpty
from shared.picture import read_info
from tests.bomb_pictures import plain_webp, tiled_tiff
from tests.pictures import animated, encoded, png_16_bit

#: These take some 350 MB on their way to a selection.
LARGE_MASK = plain_webp((4_000, 4_000))


def content_of(data: bytes) -> Content:
    return Content(data, len(data), "0" * 64)


def info_of(data: bytes) -> Any:
    return read_info(data, max_bytes=10**7, max_pixels=50_000_000, max_side=16_384, animated_first=True)


async def check(data: bytes, places: asyncio.Semaphore | None = None) -> None:
    await check_mask(content_of(data), info_of(data), "auto", places=places or asyncio.Semaphore(PLACES))


async def test_a_tiny_file_of_a_huge_mask_is_judged() -> None:
    assert len(LARGE_MASK) == 30
    with pytest.raises(MaskEmpty):
        await check(LARGE_MASK)


async def test_of_many_masks_only_two_are_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, now, most, done = threading.Lock(), 0, 0, 0
    second = threading.Barrier(2, timeout=30)

    def decode(*_: Any) -> None:
        nonlocal now, most, done
        with lock:
            now += 1
            most = max(most, now)
        second.wait()
        with lock:
            now -= 1
            done += 1

    monkeypatch.setattr(masks, "_check", decode)
    places = asyncio.Semaphore(PLACES)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(check(LARGE_MASK, places))
    assert (PLACES, most, done) == (2, 2, 10)


@pytest.mark.parametrize(
    "data",
    [
        tiled_tiff((16, 16), tile=(1_024, 1_024)),
        encoded(Image.new("L", (16, 16)), "TIFF"),
        encoded(Image.new("RGB", (16, 16)), "AVIF"),
        plain_webp((4_001, 4_000)),
        animated("WEBP"),
        png_16_bit(0),
    ],
    ids=["TIFF tile", "TIFF", "AVIF", "over 16 MP", "animation", "16 bits"],
)
async def test_what_may_cost_more_than_its_header_says_is_left_to_the_workers(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: Any) -> None:
        raise AssertionError("decoded in the gateway")

    monkeypatch.setattr(masks, "_check", decode)
    await check(data)
