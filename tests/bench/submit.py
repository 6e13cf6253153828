"""Submitting an edit: small JSON that names the result of an earlier edit.

Ours is the real gateway: key, rate, idempotency, checks, record, promise. The baseline validates the same body with pydantic
and writes a hash and a queue entry in one pipeline, nothing else. `python -m tests.bench.submit` is the baseline's process.
"""

import asyncio
import os
import sys
from collections.abc import Mapping

import uvloop
from aiohttp import web
from redis.asyncio import Redis

from shared.edit import EditRequest
from shared.job import API_PREFIX
from shared.parent import watch_parent
from shared.settings import load_settings
from tests.bench.figures import Figure, Goal, Rounds, interleaved
from tests.bench.http_load import request, send
from tests.bench.machine import measured
from tests.bench.processes import PROMPT, stack

NAME = "submit"
_REQUESTS = 3_000


async def run(rounds: Rounds) -> list[Figure]:
    """Both servers beside each other on one Redis, measured in turn."""
    async with stack(storage=True) as servers:
        earlier = await servers.finished_edit()
        gateway, key = await servers.gateway()
        plain = await servers.start("tests.bench.submit")
        body = b'{"image_id":"%b","prompt":"%b"}' % (earlier.encode(), PROMPT.encode())
        count = rounds.some(_REQUESTS)
        numbers = iter(range(sys.maxsize))

        async def load(url: str, pid: int, headers: Mapping[str, str]) -> dict[str, float]:
            shared = {**headers, "Content-Type": "application/json"}
            requests = [
                request("POST", url, headers={**shared, "Idempotency-Key": f"bench-{next(numbers)}"}, body=body)
                for _ in range(count)
            ]
            with measured({"server": pid, "redis": servers.redis_server.pid, "load": os.getpid()}) as meter:
                await send(url, requests, expect=202)
            return meter.each(count)

        found = await interleaved(
            rounds,
            baseline=lambda: load(f"{plain.said}/submit", plain.pid, {}),
            ours=lambda: load(f"{gateway.said}{API_PREFIX}/process", gateway.pid, {"Authorization": f"Bearer {key}"}),
        )
    baseline, ours = found["baseline"], found["ours"]
    notes = {"baseline cpu_us": baseline["cpu_us server"], **{name: ours[name] for name in ours if name.startswith("cpu_us")}}
    return [Figure(NAME, "small JSON with image_id", "req/s", ours["per_s"], baseline["per_s"], Goal(0.7), notes)]


async def _serve() -> None:
    settings = load_settings()
    watch_parent(settings.parent_pid)
    redis = Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True)

    async def submit(request: web.Request) -> web.Response:
        wishes = EditRequest.model_validate_json(await request.read())
        job_id = os.urandom(16).hex()
        pipeline = redis.pipeline(transaction=True)
        pipeline.hset(f"plain:{job_id}", mapping={"state": "queued", "spec": wishes.model_dump_json(exclude_defaults=True)})
        pipeline.zadd("plain-queue", {job_id: 0})
        await pipeline.execute()
        return web.json_response({"id": job_id, "status": "queued"}, status=202)

    app = web.Application()
    app.router.add_post("/submit", submit)
    await serve(app)
    await redis.aclose()


async def serve(app: web.Application) -> None:
    """Listen on a free port, say so, and go on until terminated."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sys.stdout.write(f"ready http://127.0.0.1:{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
