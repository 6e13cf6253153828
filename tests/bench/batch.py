"""A batch of 10 000 items as NDJSON over HTTP: how long until it is promised, how long the loop was blocked, what memory it took.

Ours is the real gateway: key, checks, records, reservations, one promise. The baseline reads the same stream line by line,
validates each line with pydantic and pushes it to a list. Redis syncs every write. `python -m tests.bench.batch` serves both,
with a watch on the loop.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from aiohttp import web

from gateway.app import create_app
from gateway.connections import CONNECTIONS
from gateway.serve import Listener, _spare_the_collector
from shared.batch import BatchItem
from shared.job import API_PREFIX
from shared.parent import watch_parent
from shared.settings import load_settings
from tests.bench.figures import Figure, Goal, Rounds, interleaved
from tests.bench.machine import measured
from tests.bench.processes import PROMPT, TENANT, Child, Stack, stack

NAME = "batch"
_ITEMS = 10_000
_MANY = 100_000
_PIECE_LINES = 500
_TICK_S = 0.001
_LONGEST_S = 300.0


async def run(rounds: Rounds) -> list[Figure]:
    """Both in turn, then a long one for the memory."""
    async with stack(storage=True, batch_quota=10_000_000) as servers:
        earlier = await servers.finished_edit()
        await _announce_providers(servers)
        server = await servers.start("tests.bench.batch")
        key = await servers.key()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_LONGEST_S)) as session:

            async def ours() -> dict[str, float]:
                return await _send(session, server, servers, f"{API_PREFIX}/batches", key, earlier, _ITEMS)

            async def plain() -> dict[str, float]:
                return await _send(session, server, servers, "/plain", key, earlier, _ITEMS)

            found = await interleaved(Rounds(max(2, rounds.count // 2), rounds.scale), baseline=plain, ours=ours)
            count = _MANY if rounds.count > 1 else _MANY * 3 // 10
            before_mib = _memory_mib(server, "VmRSS")
            # Linux: 5 makes the peak begin anew. Source: proc(5), /proc/pid/clear_refs.
            Path(f"/proc/{server.pid}/clear_refs").write_text("5")
            many = await _send(session, server, servers, f"{API_PREFIX}/batches", key, earlier, count)
            growth_mib = _memory_mib(server, "VmHWM") - before_mib
    one, base = found["ours"], found["baseline"]
    notes = {"cpu_us server an item": one["cpu_us"], "cpu_us redis an item": one["redis_us"]}
    return [
        Figure(NAME, "10 000 lines over HTTP", "s", one["s"], base["s"], Goal(5, "at most", "ours"), notes),
        Figure(NAME, "the same, loop blocked at most", "ms", one["block_ms"], base["block_ms"], Goal(10, "at most", "ours")),
        Figure(
            NAME, f"{count:,} lines over HTTP".replace(",", " "), "s", many["s"], notes={"cpu_us server an item": many["cpu_us"]}
        ),
        Figure(NAME, "the same, loop blocked at most", "ms", many["block_ms"], None, Goal(10, "at most", "ours")),
        Figure(NAME, "the same, growth of the gateway's memory", "MiB", growth_mib, None, Goal(50, "at most", "ours")),
    ]


async def _send(
    session: aiohttp.ClientSession, server: Child, servers: Stack, path: str, key: str, earlier: str, count: int
) -> dict[str, float]:
    async def body() -> AsyncIterator[bytes]:
        for start in range(0, count, _PIECE_LINES):
            yield b"".join(_line(n, earlier) for n in range(start, min(count, start + _PIECE_LINES)))

    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
    await _blocked_ms(session, server)
    with measured({"server": server.pid, "redis": servers.redis_server.pid}) as meter:
        async with session.post(f"{server.said}{path}", data=body(), headers=headers) as answer:
            said: dict[str, Any] = await answer.json()
            if answer.status != 202 or said["counts"]["queued"] != count:
                raise RuntimeError(f"{path} answered {answer.status}: {said}")
    return {
        "s": meter.wall_s,
        "block_ms": await _blocked_ms(session, server),
        "cpu_us": meter.cpu_s["server"] / count * 1e6,
        "redis_us": meter.cpu_s["redis"] / count * 1e6,
    }


def _line(n: int, earlier: str) -> bytes:
    item = {"custom_id": f"item-{n:06d}", "image_id": earlier, "prompt": PROMPT, "metadata": {"sku": f"{n:08d}"}}
    return json.dumps(item).encode() + b"\n"


async def _blocked_ms(session: aiohttp.ClientSession, server: Child) -> float:
    """Milliseconds of work that the server's loop did at one stretch at most, since it was asked last."""
    async with session.get(f"{server.said}/blocked") as answer:
        return float(await answer.text())


def _memory_mib(server: Child, name: str) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) / 1024


async def _announce_providers(servers: Stack) -> None:
    """As if workers for every provider were there: the gateway has models to choose from."""
    names = ("local", "stability", "wavespeed")
    await servers.scripts.command(
        "ZADD", "providers", *[part for name in names for part in (int(time.time() * 1000 + 9e5), name)]
    )


async def _serve() -> None:
    settings = load_settings()
    watch_parent(settings.parent_pid)
    app, longest_s = create_app(settings), 0.0

    async def watch() -> None:
        """Processor time of the loop's own thread between two of its turns: what other processes take is not counted."""
        nonlocal longest_s
        while True:
            before = time.thread_time()
            await asyncio.sleep(_TICK_S)
            longest_s = max(longest_s, time.thread_time() - before)

    async def blocked(_: web.Request) -> web.Response:
        nonlocal longest_s
        answer, longest_s = longest_s, 0.0
        return web.Response(text=str(answer * 1000))

    async def plain(request: web.Request) -> web.Response:
        scripts, rest, count = app[CONNECTIONS].jobs._scripts, b"", 0
        held: list[bytes] = []
        async for piece in request.content.iter_any():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                BatchItem.model_validate_json(line)
                held.append(line)
            count += len(lines)
            if len(held) >= _PIECE_LINES:
                await scripts.command("LPUSH", f"plain:{TENANT}", *held)
                held = []
        if held:
            await scripts.command("LPUSH", f"plain:{TENANT}", *held)
        return web.json_response({"counts": {"queued": count}}, status=202)

    app.router.add_get("/blocked", blocked)
    app.router.add_post("/plain", plain)
    listener = Listener(app, host="127.0.0.1", port=0)
    url = await listener.start()
    _spare_the_collector()
    watching = asyncio.create_task(watch())
    sys.stdout.write(f"ready {url}\n")
    sys.stdout.flush()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


if __name__ == "__main__":
    uvloop.run(_serve())
