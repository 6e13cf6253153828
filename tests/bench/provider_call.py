"""What we add to a provider's 0.5 s: from the caller's submit until the caller knows, by a held GET.

Ours goes through the real gateway, a worker with the real queue, lease, checkpoint and finish, and back. The baseline calls the
same provider without a queue.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiohttp import ClientSession, TCPConnector

from shared.job import API_PREFIX
from tests.bench.figures import Figure, Goal, Rounds, interleaved, percentile
from tests.bench.processes import PROMPT, child, stack

NAME = "provider_call"
_CALL_S = 0.5
_ONE_BY_ONE = 4
_TOGETHER = 30


async def run(rounds: Rounds) -> list[Figure]:
    """One call at a time, then 30 at once, with and without us."""
    async with stack(storage=True) as servers, child("tests.bench.slow_provider", str(_CALL_S)) as provider:
        earlier = await servers.finished_edit()
        worker = await servers.start("tests.bench.edit_worker", "64", f"{provider.said}/call")
        await worker.go()
        gateway, key = await servers.gateway()
        headers = {"Authorization": f"Bearer {key}"}
        wishes = {"image_id": earlier, "prompt": PROMPT}
        async with ClientSession(connector=TCPConnector(limit=0)) as session:

            async def direct() -> None:
                async with session.post(f"{provider.said}/call") as answer:
                    await answer.read()

            async def queued() -> None:
                async with session.post(f"{gateway.said}{API_PREFIX}/process", json=wishes, headers=headers) as answer:
                    url = answer.headers["Location"]
                async with session.get(f"{url}?wait=20", headers=headers) as answer:
                    job = await answer.json()
                if job["status"] != "succeeded":
                    raise RuntimeError(f"the edit ended as {job['status']}")

            found = await interleaved(
                rounds,
                direct_1=lambda: _latency(direct, 1),
                ours_1=lambda: _latency(queued, 1),
                direct_30=lambda: _latency(direct, _TOGETHER),
                ours_30=lambda: _latency(queued, _TOGETHER),
            )
    return [
        Figure(
            NAME,
            f"0.5 s call, {count} in flight, p50",
            "ms",
            found[f"ours_{count}"]["p50"],
            found[f"direct_{count}"]["p50"],
            Goal(bound, "at most", "added"),
            {
                "added ms": found[f"ours_{count}"]["p50"] - found[f"direct_{count}"]["p50"],
                "slowest": found[f"ours_{count}"]["max"],
            },
        )
        for count, bound in ((1, 15), (_TOGETHER, 60))
    ]


async def _latency(call: Callable[[], Awaitable[None]], together: int) -> dict[str, float]:
    async def one() -> float:
        started = time.perf_counter()
        await call()
        return time.perf_counter() - started

    seconds: list[float] = []
    for _ in range(_ONE_BY_ONE if together == 1 else 1):
        seconds += await asyncio.gather(*(one() for _ in range(together)))
    return {"p50": percentile(seconds, 0.5) * 1e3, "max": max(seconds) * 1e3}
