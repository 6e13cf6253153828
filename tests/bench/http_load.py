"""A load generator that costs little beside what it measures: raw HTTP/1.1 over kept connections."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from yarl import URL

_LONGEST_S = 60.0


@dataclass
class Answers:
    """`seconds`: of each request, from its first byte sent to its answer's last."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


def request(method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    target = URL(url)
    lines = [f"{method} {target.raw_path_qs} HTTP/1.1", f"Host: {target.host}:{target.port}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def send(url: str, requests: Iterable[bytes], *, connections: int = 32, expect: int) -> Answers:
    """All `requests` to `url`'s server, on so many connections. Raises RuntimeError for another status than `expect`."""
    answers, target = Answers(), URL(url)
    loop, source = asyncio.get_running_loop(), iter(requests)
    host, port = target.host or "", target.port or 80
    opened = [await loop.create_connection(lambda: _Connection(source, answers), host, port) for _ in range(connections)]
    async with asyncio.timeout(_LONGEST_S):
        await asyncio.gather(*(protocol.begin() for _, protocol in opened))
    if set(answers.statuses) != {expect}:
        raise RuntimeError(f"{url} answered {dict(answers.statuses)} instead of {expect}")
    return answers


class _Connection(asyncio.Protocol):
    """One connection: the next request as soon as the last one was answered."""

    def __init__(self, requests: Iterator[bytes], answers: Answers) -> None:
        self._requests = requests
        self._answers = answers
        self._done = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._missing = -1
        self._started = 0.0

    async def begin(self) -> None:
        """Send until there are no more requests."""
        self._send_next()
        await self._done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by inheritance.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._missing < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self._status = int(head[9:12])
            self._missing = end + 4 + length
        if len(self._buffer) >= self._missing:
            self._answers.statuses[self._status] += 1
            self._answers.seconds.append(time.perf_counter() - self._started)
            self._buffer, self._missing = b"", -1
            self._send_next()

    def _send_next(self) -> None:
        message = next(self._requests, None)
        if message is None:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._started = time.perf_counter()
        self._transport.write(message)
