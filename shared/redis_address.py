"""The address of a Redis that Sentinels watch over, read from its URL (pure)."""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_PORT = 26_379
_URL = re.compile(r"(rediss?)\+sentinel://(?:([^:@/]*)(?::([^@/]*))?@)?([^@/]+)/([^/?#]+)(?:/(\d+))?")
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+))(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """`service`: the name under which the Sentinels know the master.

    User and password are those of the Redis servers; the Sentinels themselves are asked without any. `tls` is for both.
    """

    sentinels: tuple[tuple[str, int], ...]
    service: str
    database: int
    tls: bool
    username: str | None
    password: str | None = field(repr=False)


def read_sentinel_address(url: str) -> SentinelAddress | None:
    """Of `redis+sentinel://[[user]:password@]host[:port],…/service[/db]`, or `rediss+sentinel` for TLS; None for other schemes.

    Raises ValueError, whose message does not tell the URL.
    """
    if not url.startswith(("redis+sentinel:", "rediss+sentinel:")):
        return None
    match = _URL.fullmatch(url)
    hosts = [_HOST.fullmatch(host) for host in match[4].split(",")] if match else []
    if match is None or None in hosts:
        raise ValueError("has to be redis+sentinel://[:password@]host:port,host:port/service-name[/db]")
    return SentinelAddress(
        sentinels=tuple((host[1] or host[2], int(host[3] or _PORT)) for host in hosts if host),
        service=unquote(match[5]),
        database=int(match[6] or 0),
        tls=match[1] == "rediss",
        username=unquote(match[2]) if match[2] else None,
        password=unquote(match[3]) if match[3] else None,
    )
