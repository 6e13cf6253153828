"""Guarded HTTP to addresses that callers and providers give us.

Three checks, since each alone can be passed: `check_url` refuses what can be told from the text, for the first URL and each
redirect; the resolver refuses a name if any of its addresses is forbidden; and no socket is opened to a forbidden address,
however the client came by it. A name is resolved once per connection and the connection goes to the address that was checked.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shared.errors import UrlFetchFailed, UrlNotAllowed
from shared.settings import Settings
from shared.url_rules import address_allowed, check_url

_REDIRECTS_MAX = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES = 64 * 1024
_DRAIN_BYTES = 64 * 1024
_DRAIN_S = 1.0
_LOOKUPS = 64

#: As `socket.getaddrinfo`: host and port to addresses.
Lookup = Callable[..., list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Posted:
    """What a receiver answered. `retry_after_s`: the wait it asked for, None if it asked for none."""

    status: int
    retry_after_s: float | None


class GuardedHttp:
    """One per process, opened with `open_guarded`; safe for concurrent use. Callers bound how many requests they make."""

    def __init__(self, settings: Settings, *, first_byte_s: float, total_s: float, lookup: Lookup) -> None:
        self._allow_private = settings.allow_private_urls
        self._ports = None if self._allow_private else frozenset(settings.url_ports)
        self._first_byte_s = first_byte_s
        self._total_s = total_s
        # Threads of its own: names that resolve slowly must not keep files from being written.
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="resolve")
        self._callers = _session(self._threads, lookup, allow_private=self._allow_private)
        # A session of its own, since a kept-alive connection to a private address must never serve a caller's URL.
        self._trusted = _session(self._threads, lookup, allow_private=True)

    async def close(self) -> None:
        """Close all connections. A thread that still resolves a name is not waited for."""
        await self._callers.close()
        await self._trusted.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def download(self, url: str, into: Path, *, max_bytes: int, trusted: bool = False) -> str:
        """Write what `url` holds into the file `into` and return its content type. After an error `into` may hold a part.

        `trusted`: the URL is on the server that an operator configured for a provider, which may be private and have any
        port; what it redirects to is held to the rules for everybody, unless it is on that very server.

        Raises:
            UrlNotAllowed: the URL, a redirect or an address behind them is forbidden.
            UrlFetchFailed: no whole answer of at most `max_bytes` in time.
        """
        with _failures_told():
            async with asyncio.timeout(self._total_s), await self._open(url, trusted=trusted) as response:
                await _save(response, into, max_bytes)
                return response.content_type

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Posted:
        """Post `body`; redirects are answers like any other, and what the receiver says beyond its status is thrown away.

        Raises:
            UrlNotAllowed: the URL or an address behind it is forbidden.
            UrlFetchFailed: no answer within `timeout_s`.
        """
        target = check_url(url, ports=self._ports, allow_private=self._allow_private)
        with _failures_told():
            async with asyncio.timeout(timeout_s):
                response = await self._callers.post(target, data=body, headers=headers, allow_redirects=False)
            async with response:
                await _drain(response)
                return Posted(response.status, _retry_after_s(response.headers.get("Retry-After"), now=datetime.now(UTC)))

    async def _open(self, url: str, *, trusted: bool) -> aiohttp.ClientResponse:
        """The first answer that is not a redirect, its body unread."""
        home = check_url(url, ports=None, allow_private=True).origin() if trusted else None
        for _ in range(_REDIRECTS_MAX + 1):
            target, session = self._route(url, home)
            async with asyncio.timeout(self._first_byte_s):
                response = await session.get(
                    target,
                    allow_redirects=False,
                    headers={"Accept-Encoding": "identity"},
                    timeout=aiohttp.ClientTimeout(total=None, sock_read=self._first_byte_s),
                )
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                return response
            response.close()
            try:
                url = urljoin(str(target), location)
            except ValueError:
                raise UrlNotAllowed("the URL redirects to one that is malformed") from None
        raise UrlFetchFailed("the URL redirects too often")

    def _route(self, url: str, home: URL | None) -> tuple[URL, aiohttp.ClientSession]:
        """The URL to request and the session for it. `home`: the trusted origin, if there is one."""
        if home is not None:
            target = check_url(url, ports=None, allow_private=True)
            if target.origin() == home:
                return target, self._trusted
        return check_url(url, ports=self._ports, allow_private=self._allow_private), self._callers


def open_guarded(
    settings: Settings, *, first_byte_s: float = 10.0, total_s: float = 120.0, lookup: Lookup = socket.getaddrinfo
) -> GuardedHttp:
    """The guarded HTTP of this process; call it where an event loop runs.

    `first_byte_s`: longest wait for an answer to begin, per redirect, and for each next piece of it; `total_s`: for a whole
    download.
    """
    return GuardedHttp(settings, first_byte_s=first_byte_s, total_s=total_s, lookup=lookup)


class _Refused(OSError):
    """The address is forbidden. An OSError, since that is what aiohttp expects of a resolver and a socket factory."""

    def __init__(self) -> None:
        super().__init__("address refused")


class _CheckedResolver(AbstractResolver):
    """Resolves names in threads; refuses a name that has even one forbidden address."""

    def __init__(self, threads: ThreadPoolExecutor, lookup: Lookup, *, allow_private: bool) -> None:
        self._threads = threads
        self._lookup = lookup
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AddressFamily.AF_UNSPEC
    ) -> list[ResolveResult]:
        ask = partial(self._lookup, host, port, family=family, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        if not all(address_allowed(address[0], allow_private=self._allow_private) for *_, address in found):
            raise _Refused
        return [
            ResolveResult(
                hostname=host, host=address[0], port=port, family=found_family, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for found_family, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """The threads belong to GuardedHttp."""


def _open_socket(address_info: tuple[Any, ...], *, allow_private: bool) -> socket.socket:
    """The last check before a connection, for every address, literal or resolved."""
    family, kind, proto, _, address = address_info
    if not address_allowed(address[0], allow_private=allow_private):
        raise _Refused
    return socket.socket(family, kind, proto)


def _session(threads: ThreadPoolExecutor, lookup: Lookup, *, allow_private: bool) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        resolver=_CheckedResolver(threads, lookup, allow_private=allow_private),
        socket_factory=partial(_open_socket, allow_private=allow_private),
        use_dns_cache=False,
        # No limit here: waiting for a connection that slow servers hold would make them delay the others.
        limit=0,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        # Nothing is unpacked, so nothing can unpack to more than the byte cap.
        auto_decompress=False,
        headers={"User-Agent": f"edit-studio/{version('edit-studio')}"},
    )


@contextmanager
def _failures_told() -> Iterator[None]:
    """aiohttp's errors as ours. They do not say what answered: it may be none of the caller's business."""
    try:
        yield
    except TimeoutError as error:
        raise UrlFetchFailed("the URL timed out") from error
    except aiohttp.ClientError as error:
        if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _Refused):
            raise UrlNotAllowed("the URL's address is not public") from error
        raise UrlFetchFailed("the URL could not be reached or its answer broke off") from error


async def _save(response: aiohttp.ClientResponse, into: Path, max_bytes: int) -> None:
    if response.status != 200 or response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UrlFetchFailed("the URL answered with an error")
    too_large = UrlFetchFailed(f"what the URL holds is too large: more than {max_bytes} bytes")
    if (response.content_length or 0) > max_bytes:
        raise too_large
    taken_bytes = 0
    with await asyncio.to_thread(into.open, "wb") as file:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            taken_bytes += len(chunk)
            if taken_bytes > max_bytes:
                raise too_large
            await asyncio.to_thread(file.write, chunk)


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read the little that a receiver says, so that its connection can be used again."""
    # The status has come and is all that counts: a body that is slow, long or broken costs the connection, nothing else.
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            drained_bytes = 0
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                drained_bytes += len(chunk)
                if drained_bytes > _DRAIN_BYTES:
                    break


def _retry_after_s(value: str | None, *, now: datetime) -> float | None:
    """Seconds from a Retry-After header: a number or a date (RFC 9110 section 10.2.3); None if it is neither."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value).astimezone(UTC) - now).total_seconds())
    except (ValueError, OverflowError):
        return None
