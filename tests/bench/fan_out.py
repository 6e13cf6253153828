"""What many workers cost Redis before they do anything: a wake-up goes to every one of them, and every free one asks for work.

Processor time of redis-server alone, so that the machine's other load matters little. The listeners are bare connections.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from shared.store.webhooks import Outbox
from tests.bench.figures import Figure, Rounds
from tests.bench.machine import measured
from tests.bench.processes import Stack, stack
from tests.servers import RedisServer

NAME = "fan_out"
_LISTENERS = (10, 100, 1_000)
_PUBLISHED = 300
_CALLS = 3_000
_AT_ONCE = 100
_HELD = 32


async def run(rounds: Rounds) -> list[Figure]:
    """Microseconds of Redis: a publish by the number of its listeners, a `take` that finds nothing, a heartbeat."""
    async with stack() as servers:
        count = rounds.some(_CALLS)
        listened = {many: await _published(servers, many, rounds.some(_PUBLISHED)) for many in _LISTENERS}
        idle = await _each(servers, [_take(servers, number) for number in range(count)])
        passes = await _each(servers, [_maintain(servers) for _ in range(count)])
        await servers.accept_many(_HELD)
        records = await servers.leases.take("worker-0", nonce="held", want=_HELD, providers=("local",))
        held = [(record.id, record.gen) for record in records]
        renew = functools.partial(servers.leases.renew, "worker-0", slots=_HELD, providers=("local",), held=held)
        beat = await _each(servers, [renew() for _ in range(max(_AT_ONCE, count // 10))])
    notes = {f"{many} listeners": round(us, 1) for many, us in listened.items()}
    return [
        Figure(NAME, f"a publish to {_LISTENERS[-1]:,} workers", "us CPU", listened[_LISTENERS[-1]], None, None, notes),
        Figure(NAME, "a take that finds nothing", "us CPU", idle),
        Figure(NAME, "a maintenance pass that finds nothing", "us CPU", passes),
        Figure(NAME, f"a heartbeat with {_HELD} edits in hand", "us CPU", beat),
    ]


async def _take(servers: Stack, number: int) -> object:
    return await servers.leases.take(f"worker-{number % 1_000}", nonce=f"n{number}", want=_HELD, providers=("local",))


async def _maintain(servers: Stack) -> None:
    """What a worker does when it is told of a webhook."""
    await servers.leases.reap()
    await Outbox(servers.scripts).take(100)


async def _each(servers: Stack, calls: Sequence[Coroutine[Any, Any, object]]) -> float:
    """Microseconds of Redis for each call; so many at once as a crowd of workers would send."""
    with measured({"redis": servers.redis_server.pid}) as meter:
        for start in range(0, len(calls), _AT_ONCE):
            await asyncio.gather(*calls[start : start + _AT_ONCE])
    return meter.cpu_s["redis"] / len(calls) * 1e6


async def _published(servers: Stack, listeners: int, count: int) -> float:
    """Microseconds of Redis for one publish."""
    async with _listening(servers.redis_server, listeners):
        with measured({"redis": servers.redis_server.pid}) as meter:
            for _ in range(count):
                assert await servers.scripts.command("PUBLISH", "wake", "local") == listeners
    return meter.cpu_s["redis"] / count * 1e6


@asynccontextmanager
async def _listening(server: RedisServer, count: int) -> AsyncIterator[None]:
    """So many connections that have subscribed and read what comes."""

    async def listen() -> "asyncio.StreamWriter":
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"SUBSCRIBE wake\r\n")
        await reader.readuntil(b":1\r\n")
        readers.append(asyncio.create_task(_drain(reader)))
        return writer

    readers: list[asyncio.Task[None]] = []
    writers = [await listen() for _ in range(count)]
    try:
        yield
    finally:
        for writer in writers:
            writer.close()
        await asyncio.gather(*readers, return_exceptions=True)


async def _drain(reader: "asyncio.StreamReader") -> None:
    while await reader.read(65_536):
        continue
