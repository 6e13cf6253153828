"""A TCP proxy that breaks one connection exactly where a test wants it: after a request has had its effect, before its answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_CHUNK_BYTES = 1024 * 1024


@dataclass
class LossyProxy:
    """`loses(request, answer)` says of the last chunk each way whether the answer is lost; it is, with its connection, once.

    `holds`: the answer is not lost, but held until `go_on` is set.
    """

    target_port: int
    loses: Callable[[bytes, bytes], bool]
    holds: bool = False
    port: int = 0
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            return
        request = b""

        async def forward() -> None:
            nonlocal request
            while chunk := await reader.read(_CHUNK_BYTES):
                request = chunk
                ours.write(chunk)
                await ours.drain()

        async def back() -> None:
            while chunk := await theirs.read(_CHUNK_BYTES):
                if not self.lost.is_set() and self.loses(request, chunk):
                    self.lost.set()
                    if not self.holds:
                        return
                    await self.go_on.wait()
                writer.write(chunk)
                await writer.drain()

        ways = [asyncio.create_task(forward()), asyncio.create_task(back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            ours.close()
            self._tasks.discard(task)

    async def end(self) -> None:
        """Break what is open."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def lossy_proxy(
    target_port: int, loses: Callable[[bytes, bytes], bool], *, holds: bool = False
) -> AsyncIterator[LossyProxy]:
    """A proxy on a free port in front of `target_port`."""
    proxy = LossyProxy(target_port, loses, holds)
    server = await asyncio.start_server(proxy.take, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
        await server.wait_closed()
