"""Reading an edit's status, whole and as 304.

The baseline is an HGETALL, answered as JSON. `python -m tests.bench.status` is its process.
"""

import os
from collections.abc import Mapping

import uvloop
from aiohttp import ClientSession, web
from redis.asyncio import Redis

from shared.job import API_PREFIX
from shared.parent import watch_parent
from shared.settings import load_settings
from tests.bench.figures import Figure, Goal, Rounds, interleaved
from tests.bench.http_load import request, send
from tests.bench.machine import measured
from tests.bench.processes import stack
from tests.bench.submit import serve

NAME = "status"
_REQUESTS = 5_000


async def run(rounds: Rounds) -> list[Figure]:
    """One edit that waits, read again and again by 32 callers."""
    async with stack(storage=True) as servers:
        gateway, key = await servers.gateway()
        plain = await servers.start("tests.bench.status")
        (job_id,) = await servers.accept_many(1, tenants=1)
        await servers.scripts.command("HSET", f"job:{job_id}", "tenant", "bench")
        count = rounds.some(_REQUESTS)
        url, authorization = f"{gateway.said}{API_PREFIX}/jobs/{job_id}", {"Authorization": f"Bearer {key}"}
        async with ClientSession() as session, session.get(url, headers=authorization) as answer:
            etag = answer.headers["ETag"]

        async def load(url: str, pid: int, headers: Mapping[str, str], expect: int) -> dict[str, float]:
            message = request("GET", url, headers=headers)
            with measured({"server": pid, "redis": servers.redis_server.pid, "load": os.getpid()}) as meter:
                await send(url, [message] * count, expect=expect)
            return meter.each(count)

        found = await interleaved(
            rounds,
            baseline=lambda: load(f"{plain.said}/jobs/{job_id}", plain.pid, {}, 200),
            whole=lambda: load(url, gateway.pid, authorization, 200),
            unchanged=lambda: load(url, gateway.pid, {**authorization, "If-None-Match": etag}, 304),
        )
    baseline = found["baseline"]
    return [
        Figure(
            NAME,
            what,
            "req/s",
            found[name]["per_s"],
            baseline["per_s"],
            Goal(bound),
            {"baseline cpu_us": baseline["cpu_us server"], **{k: v for k, v in found[name].items() if k.startswith("cpu_us")}},
        )
        for name, what, bound in (("whole", "GET of a waiting edit", 1.0), ("unchanged", "the same, 304", 1.3))
    ]


async def _serve() -> None:
    settings = load_settings()
    watch_parent(settings.parent_pid)
    redis = Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True)

    async def read(request: web.Request) -> web.Response:
        return web.json_response(await redis.hgetall(f"job:{request.match_info['id']}"))

    app = web.Application()
    app.router.add_get("/jobs/{id}", read)
    await serve(app)


if __name__ == "__main__":
    uvloop.run(_serve())
