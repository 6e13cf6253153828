"""What models returned, as it is remembered for an hour: on fakeredis and on a server."""

from typing import Any

import pytest

from shared.errors import StoreUnavailable
from shared.store.connection import Scripts
from shared.store.seen import Seen

PICTURE, INPUT = "0f" * 32, "aa" * 32
OTHER_PICTURE, OTHER_INPUT = "f0" * 32, "55" * 32


def flipped(text: str, bits: int) -> str:
    """The hash with so many of its 256 bits turned over, spread as far as they go."""
    number = int(text, 16)
    for place in range(bits):
        number ^= 1 << (place * 256 // bits)
    return f"{number:064x}"


@pytest.fixture
def seen(scripts: Scripts) -> Seen:
    return Seen(scripts)


async def test_a_picture_returned_for_two_inputs_is_found(seen: Seen) -> None:
    assert not await seen.elsewhere("m", "edit_1", output=PICTURE, source=INPUT)
    assert await seen.elsewhere("m", "edit_2", output=PICTURE, source=OTHER_INPUT)
    assert await seen.elsewhere("m", "edit_3", output=PICTURE, source=INPUT), "the second edit's input was another one"


async def test_the_same_edit_or_another_model_or_another_picture_is_none(seen: Seen) -> None:
    await seen.elsewhere("m", "edit_1", output=PICTURE, source=INPUT)
    assert not await seen.elsewhere("m", "edit_1", output=PICTURE, source=OTHER_INPUT)
    assert not await seen.elsewhere("other", "edit_2", output=PICTURE, source=OTHER_INPUT)
    assert not await seen.elsewhere("m", "edit_2", output=OTHER_PICTURE, source=OTHER_INPUT)


async def test_the_same_input_may_well_come_to_the_same(seen: Seen) -> None:
    await seen.elsewhere("m", "edit_1", output=PICTURE, source=INPUT)
    assert not await seen.elsewhere("m", "edit_2", output=PICTURE, source=INPUT)


@pytest.mark.parametrize(("output_bits", "input_bits", "found"), [(0, 27, True), (6, 27, True), (7, 27, False), (0, 26, False)])
async def test_how_many_bits_may_and_must_differ(seen: Seen, output_bits: int, input_bits: int, found: bool) -> None:
    await seen.elsewhere("m", "edit_1", output=PICTURE, source=INPUT)
    changed = flipped(PICTURE, output_bits) if output_bits else PICTURE
    assert await seen.elsewhere("m", "edit_2", output=changed, source=flipped(INPUT, input_bits)) is found


async def test_after_an_hour_it_is_forgotten(seen: Seen, redis: Any) -> None:
    await seen.elsewhere("m", "edit_1", output=PICTURE, source=INPUT)
    assert 0 < await redis.pttl("seen:m") <= 3_600_000
    at, rest = (await redis.lindex("seen:m", 0)).split(" ", 1)
    await redis.lset("seen:m", 0, f"{int(at) - 3_600_001} {rest}")
    assert not await seen.elsewhere("m", "edit_2", output=PICTURE, source=OTHER_INPUT)


async def test_no_more_than_a_hundred_are_kept_of_a_model(seen: Seen, redis: Any) -> None:
    for number in range(105):
        await seen.elsewhere("m", f"edit_{number}", output=f"{number:064x}", source=INPUT)
    assert await redis.llen("seen:m") == 100
    assert (await redis.lindex("seen:m", 0)).split()[1] == "edit_104"


async def test_without_redis_nothing_is_suspected(seen: Seen, scripts: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("the job store did not answer")

    monkeypatch.setattr(scripts, "run", away)
    assert not await seen.elsewhere("m", "edit_1", output=PICTURE, source=INPUT)
