"""Identifiers: their alphabet, their order, and the time within them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ids import ALPHABET, ID_PATTERN, id_created_ms, new_id

_MS = st.integers(0, (1 << 48) - 1)
_RANDOM = st.binary(min_size=10, max_size=16)
_PREFIXES = ("edit", "batch", "upl", "whd", "evt")


@given(st.sampled_from(_PREFIXES), _MS, _RANDOM)
def test_an_id_matches_its_pattern_and_tells_its_millisecond(prefix: str, now_ms: int, entropy: bytes) -> None:
    identifier = new_id(prefix, now_ms=now_ms, random_bytes=entropy)
    assert ID_PATTERN.fullmatch(identifier)
    assert re.fullmatch(r"[A-Za-z0-9_]+", identifier)
    assert id_created_ms(identifier) == now_ms


@given(_MS, _MS, _RANDOM, _RANDOM)
def test_ids_sort_by_time(one_ms: int, other_ms: int, one: bytes, other: bytes) -> None:
    earlier, later = (new_id("edit", now_ms=ms, random_bytes=data) for ms, data in ((one_ms, one), (other_ms, other)))
    if one_ms != other_ms:
        assert (earlier < later) == (one_ms < other_ms)


def test_every_bit_of_entropy_counts() -> None:
    """74 random bits: version and variant take 6 of the 80 that follow a UUID's time."""
    ids = {new_id("edit", now_ms=1, random_bytes=(1 << bit).to_bytes(10, "big")) for bit in range(74)}
    assert len(ids) == 74


@given(_MS, _RANDOM)
def test_the_value_is_a_uuid_of_version_7(now_ms: int, entropy: bytes) -> None:
    value = 0
    for character in new_id("edit", now_ms=now_ms, random_bytes=entropy).partition("_")[2]:
        value = value << 5 | ALPHABET.index(character)
    assert value >> 76 & 0xF == 7
    assert value >> 62 & 0b11 == 0b10
    assert value < 1 << 128


@pytest.mark.parametrize(
    "text", ["", "edit_", "edit_" + "i" * 26, "edit_" + "0" * 25, "job_" + "0" * 26, "edit_" + "0" * 26 + "\n"]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        id_created_ms(text)
