"""Identifiers: a prefix and a UUIDv7 in lower-case Crockford base32, so that they sort by time (pure).

They match `[A-Za-z0-9_]+`: a dot would break webhook signatures. Source: RFC 9562 section 5.7 for the bit layout.
"""

import re

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_PATTERN = re.compile(r"(edit|batch|upl|whd|evt)_[0-9a-hjkmnp-tv-z]{26}")


def new_id(prefix: str, *, now_ms: int, random_bytes: bytes) -> str:
    """`prefix` + `_` + 26 characters. `random_bytes`: at least 10 bytes of entropy."""
    entropy = int.from_bytes(random_bytes[:10], "big")
    value = (now_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | (entropy >> 62 & 0xFFF) << 64 | 0b10 << 62 | entropy & (1 << 62) - 1
    digits = []
    for _ in range(26):
        digits.append(ALPHABET[value & 31])
        value >>= 5
    return f"{prefix}_{''.join(reversed(digits))}"


def id_created_ms(identifier: str) -> int:
    """The millisecond that `new_id` was given. Raises ValueError for anything that is not such an id."""
    if not ID_PATTERN.fullmatch(identifier):
        raise ValueError(f"{identifier!r} is not an id")
    value = 0
    for character in identifier.rsplit("_", 1)[1]:
        value = value << 5 | ALPHABET.index(character)
    return value >> 80
