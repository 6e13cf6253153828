"""Addresses of Redis behind Sentinels."""

import pytest

from shared.redis_address import SentinelAddress, read_sentinel_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (
            "redis+sentinel://:p%40ss@one:26379,two:5000/edits/2",
            SentinelAddress((("one", 26379), ("two", 5000)), "edits", 2, False, None, "p@ss"),
        ),
        ("redis+sentinel://one/edits", SentinelAddress((("one", 26379),), "edits", 0, False, None, None)),
        (
            "rediss+sentinel://user:secret@10.0.0.1:1,[::1]:2,[fe80::2]/my-service",
            SentinelAddress((("10.0.0.1", 1), ("::1", 2), ("fe80::2", 26379)), "my-service", 0, True, "user", "secret"),
        ),
    ],
)
def test_an_address_is_read(url: str, address: SentinelAddress) -> None:
    assert read_sentinel_address(url) == address


@pytest.mark.parametrize("url", ["redis://host:6379/0", "rediss://host", "unix:///run/redis.sock"])
def test_other_addresses_are_none_of_sentinels(url: str) -> None:
    assert read_sentinel_address(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel:host/service",
        "redis+sentinel://host:26379",
        "redis+sentinel:///service",
        "redis+sentinel://host:port/service",
        "redis+sentinel://one,,two/service",
        "redis+sentinel://host/service/zero",
        "redis+sentinel://:secret@:26379/service",
    ],
)
def test_a_wrong_address_is_refused_without_being_told(url: str) -> None:
    with pytest.raises(ValueError, match="service-name") as raised:
        read_sentinel_address(url)
    assert "secret" not in str(raised.value)


def test_the_password_is_not_shown() -> None:
    assert "very-secret" not in repr(read_sentinel_address("redis+sentinel://:very-secret@host/service"))
