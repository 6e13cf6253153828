"""500 provider calls in flight in one worker process: how many end in a second, and what each of them holds in memory.

The rate is of our real queue, lease, checkpoint and finish around calls of two seconds; the baseline makes the same calls and
nothing else. The memory is the real worker's, with edits of a megapixel that a polled provider works on.
"""

import asyncio
import contextlib
import os
import time
from pathlib import Path

import aiohttp

from tests.bench.drain import drain_ours
from tests.bench.figures import Figure, Goal, Rounds, interleaved
from tests.bench.one_edit import accept, stored_picture
from tests.bench.polled_provider import access
from tests.bench.processes import Child, child, stack, variables_of

NAME = "in_flight"
_CALLS = 500
_CALL_S = 2.0
_WARM_UP = 50
_LONGEST_S = 120.0


async def run(rounds: Rounds) -> list[Figure]:
    """Rate and memory, each with processes of its own."""
    count = _CALLS * max(2, rounds.some(4))
    async with child("tests.bench.slow_provider", str(_CALL_S)) as provider:
        found = await interleaved(
            Rounds(max(1, rounds.count // 2), rounds.scale),
            plain=lambda: _plain(f"{provider.said}/call", count),
            ours=lambda: drain_ours(count, workers=1, slots=_CALLS, work=f"{provider.said}/call"),
        )
    ours, plain = found["ours"], found["plain"]
    notes = {"ideal": _CALLS / _CALL_S, "cpu_us": ours["cpu_us workers"]}
    held = await _held_kib()
    return [
        Figure(NAME, f"{_CALLS} calls of {_CALL_S:g} s in flight", "calls/s", ours["per_s"], plain["per_s"], Goal(0.9), notes),
        Figure(NAME, "worker's memory for a call in flight", "KiB", held, None, Goal(150, "at most", "ours")),
    ]


async def _plain(url: str, count: int) -> dict[str, float]:
    places = asyncio.Semaphore(_CALLS)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> None:
            async with places, session.post(url) as answer:
                await answer.read()

        started = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(count)))
        return {"per_s": count / (time.perf_counter() - started)}


async def _held_kib() -> float:
    """What the worker process grows by, for each edit that it holds while a provider works on it."""
    async with (
        stack(storage=True, worker_slots=_CALLS + _WARM_UP) as servers,
        child("tests.bench.polled_provider", "600") as provider,
    ):
        picture = await stored_picture(servers)
        async with child("worker", **variables_of(servers.settings), **access(provider.said)) as worker:
            held: list[float] = []
            for count in (_WARM_UP, _CALLS):
                jobs = await accept(servers, picture, count)
                async with asyncio.timeout(_LONGEST_S):
                    while {(await servers.jobs.get(job.tenant, job.id)).call for job in jobs} != {"handle"}:
                        await asyncio.sleep(0.5)
                held.append(_rss_kib(worker))
            # It need not finish what nobody waits for.
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, 9)
    return (held[1] - held[0]) / _CALLS


def _rss_kib(process: Child) -> float:
    return float(Path(f"/proc/{process.pid}/status").read_text().partition("VmRSS:")[2].split()[0])
