"""Draining a queue of edits that do nothing, with one worker process.

Ours is the whole life cycle on Redis: fair turn, claim, checkpoint, finish, event, usage. The baseline is stock arq, tuned.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tests.bench.figures import Figure, Goal, Rounds, interleaved
from tests.bench.machine import commands, measured
from tests.bench.processes import Child, Stack, stack
from tests.bench.stock_arq import enqueue_many

NAME = "drain"
SLOTS = 100
ARQ_POLL_S = "0.02"
_JOBS = 3_000
_POLL_S = 0.01
_LONGEST_S = 60.0


async def run(rounds: Rounds) -> list[Figure]:
    """Filled while no worker runs, then timed from the start signal to the last end."""
    count = rounds.some(_JOBS)
    found = await interleaved(
        rounds,
        baseline=lambda: drain_arq(count, workers=1, slots=SLOTS, seconds=0.0),
        ours=lambda: drain_ours(count, workers=1, slots=SLOTS, work="none"),
    )
    baseline, ours = found["baseline"], found["ours"]
    notes = {
        "baseline cpu_us": baseline["cpu_us workers"],
        "cpu_us": ours["cpu_us workers"],
        "redis cpu_us": ours["cpu_us redis"],
        "calls a job": ours["calls"],
        "commands a job with those in scripts": ours["commands"],
        "baseline commands a job": baseline["commands"],
    }
    return [
        Figure(NAME, f"no-op edits, one worker, {SLOTS} slots", "edits/s", ours["per_s"], baseline["per_s"], Goal(2.0), notes)
    ]


async def drain_ours(count: int, *, workers: int, slots: int, work: str) -> dict[str, float]:
    """A fresh Redis with `count` edits, drained by real leases and real loops."""
    async with stack() as servers:
        await servers.accept_many(count, tenants=4)
        children = [await servers.start("tests.bench.edit_worker", str(slots), work) for _ in range(workers)]

        async def left() -> int:
            # Nothing was called, so no model did it.
            done = await servers.scripts.command("HGET", "telemetry", "edits|succeeded|general_edit|none|succeeded")
            return count - int(done or 0)

        return await _timed(servers, children, count, left)


async def drain_arq(count: int, *, workers: int, slots: int, seconds: float) -> dict[str, float]:
    """A fresh Redis with `count` jobs, drained by stock arq."""
    async with stack() as servers:
        await enqueue_many(servers.scripts.redis, count)
        children = [await servers.start("tests.bench.stock_arq", str(slots), str(seconds), ARQ_POLL_S) for _ in range(workers)]

        async def left() -> int:
            return int(await servers.scripts.command("ZCARD", "arq:queue"))

        return await _timed(servers, children, count, left)


async def _timed(servers: Stack, children: Sequence[Child], count: int, left: Callable[[], Awaitable[int]]) -> dict[str, float]:
    before, looks = commands(servers.redis_server), 0
    with measured({"workers": [child.pid for child in children], "redis": servers.redis_server.pid}) as meter:
        for child in children:
            await child.go()
        async with asyncio.timeout(_LONGEST_S):
            while await left() > 0:
                looks += 1
                await asyncio.sleep(_POLL_S)
    made = commands(servers.redis_server) - before
    return {
        **meter.each(count),
        # Of the commands that reach Redis from a worker of ours nearly all are script calls.
        "calls": made["evalsha"] / count,
        "commands": (made.total() - looks) / count,
    }
