"""From accept to running, and what a worker costs that has nothing to do.

Timed in process over Redis' own news: from before `accept` is sent until it is heard that a worker has taken the edit. The
baseline is stock arq with its default poll.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from shared.store.overview import Overview
from tests.bench.figures import Figure, Goal, Rounds, interleaved, percentile
from tests.bench.machine import commands, measured
from tests.bench.processes import Stack, new_job, stack
from tests.bench.stock_arq import FUNCTION

NAME = "pickup"
_EDITS = 60
_ARQ_JOBS = 12
_RUNNING = 500
_IDLE_S = 6.0
_LONGEST_S = 10.0


async def run(rounds: Rounds) -> list[Figure]:
    """A real worker process without work; then one of the bench's that holds 500 edits."""
    async with stack() as other:
        arq = await other.start("tests.bench.stock_arq", "10", "0", "0.5")
        await arq.go()
        async with stack(storage=True) as servers, stack() as busy:
            await servers.start("worker")
            holder = await busy.start("tests.bench.edit_worker", str(_RUNNING + 50), "sleep:600")
            await holder.go()
            await _hold(busy, _RUNNING)
            found = await interleaved(
                rounds,
                arq=lambda: _arq_latency(other, rounds.some(_ARQ_JOBS)),
                idle=lambda: _latency(servers, rounds.some(_EDITS), ends=True),
                running=lambda: _latency(busy, min(8, rounds.some(_EDITS)), ends=False),
            )
    arq_p50, idle, running = found["arq"]["p50"], found["idle"], found["running"]
    resting = await _resting()
    return [
        Figure(NAME, "accept → running, idle worker, p50", "ms", idle["p50"], arq_p50, Goal(5, "at most", "ours")),
        Figure(NAME, "accept → running, idle worker, p99", "ms", idle["p99"], found["arq"]["p99"], Goal(25, "at most", "ours")),
        Figure(NAME, f"with {_RUNNING} running, p50", "ms", running["p50"], None, Goal(5, "at most", "ours")),
        Figure(NAME, f"with {_RUNNING} running, slowest of a few", "ms", running["p99"], None, Goal(25, "at most", "ours")),
        *resting,
    ]


async def _latency(servers: Stack, count: int, *, ends: bool) -> dict[str, float]:
    """Milliseconds from accept to taken, one after the other. `ends`: wait for the end of each, so that the worker is idle."""
    jobs, seconds = servers.jobs, []
    async with _news(servers, "changed") as hear:
        for _ in range(count):
            job = new_job()
            started = time.perf_counter()
            await jobs.accept(job)
            # The first news is that it was accepted, the second that it was taken.
            await hear(job.id)
            await hear(job.id)
            seconds.append(time.perf_counter() - started)
            while ends and not (await jobs.get(job.tenant, job.id)).state.terminal:
                await asyncio.sleep(0.01)
    return {"p50": percentile(seconds, 0.5) * 1e3, "p99": percentile(seconds, 0.99) * 1e3}


async def _arq_latency(servers: Stack, count: int) -> dict[str, float]:
    seconds = []
    async with _news(servers, "begun") as hear:
        for number in range(count):
            started = time.perf_counter()
            await servers.scripts.redis.enqueue_job(FUNCTION, number)
            await hear(str(number))
            seconds.append(time.perf_counter() - started)
    return {"p50": percentile(seconds, 0.5) * 1e3, "p99": percentile(seconds, 0.99) * 1e3}


@asynccontextmanager
async def _news(servers: Stack, channel: str) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """A function that waits for the next message with this payload."""
    async with servers.scripts.redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(channel)
        await pubsub.get_message(timeout=1.0)

        async def hear(payload: str) -> None:
            async with asyncio.timeout(_LONGEST_S):
                while True:
                    message = await pubsub.get_message(timeout=_LONGEST_S)
                    if message is not None and str(message["data"]) == payload:
                        return

        yield hear


async def _hold(servers: Stack, count: int) -> None:
    """Give the worker so many edits that do not end."""
    overview = Overview(servers.scripts, servers.settings)
    await servers.accept_many(count)
    async with asyncio.timeout(_LONGEST_S):
        while (await overview.stats()).running < count:
            await asyncio.sleep(0.05)


async def _resting() -> list[Figure]:
    """Five seconds of a real worker process that has nothing to do."""
    async with stack(storage=True) as servers:
        worker = await servers.start("worker")
        await asyncio.sleep(1.0)
        before = commands(servers.redis_server)
        with measured({"worker": worker.pid}) as meter:
            await asyncio.sleep(_IDLE_S)
        made = commands(servers.redis_server) - before
        made.pop("info", None)
    share = meter.cpu_s["worker"] / meter.wall_s * 100
    return [
        Figure(NAME, "idle worker, processor time", "%", share, None, Goal(1, "at most", "ours")),
        Figure(
            NAME,
            "idle worker, Redis commands (in scripts too)",
            "a second",
            made.total() / meter.wall_s,
            None,
            Goal(10, "at most", "ours"),
            {"calls a second": made["evalsha"] / meter.wall_s, **dict(made.most_common(6))},
        ),
    ]
