"""arq as it comes, the baseline for queue work: jobs of no size or of a sleep, JSON instead of pickle, no results kept.

`python -m tests.bench.stock_arq <slots> <seconds of each job> <poll delay>` is one worker process; it begins when a line comes in
"""

import asyncio
import sys
from typing import Any

import uvloop
from arq.connections import ArqRedis
from arq.worker import Worker, func

from shared.parent import watch_parent
from shared.queue import deserialize, serialize
from shared.settings import load_settings
from shared.store.connection import open_redis

FUNCTION = "work"


async def enqueue_many(redis: "ArqRedis", count: int) -> None:
    """So many jobs, each through arq's own call."""
    for start in range(0, count, 200):
        await asyncio.gather(*(redis.enqueue_job(FUNCTION, number) for number in range(start, min(count, start + 200))))


async def _run(slots: int, seconds: float, poll_delay_s: float) -> None:
    settings = load_settings()
    watch_parent(settings.parent_pid)

    async def work(ctx: dict[str, Any], number: int) -> None:
        # The time at which the job begins is what the pick-up is measured by.
        await ctx["redis"].publish("begun", number)
        if seconds:
            await asyncio.sleep(seconds)

    async def work_silently(ctx: dict[str, Any], number: int) -> None:
        if seconds:
            await asyncio.sleep(seconds)

    redis = open_redis(settings)
    # arq reads its keys as bytes.
    redis.connection_pool.connection_kwargs["decode_responses"] = False
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    worker = Worker(
        functions=[func(work if poll_delay_s >= 0.5 else work_silently, name=FUNCTION, keep_result=0)],
        redis_pool=redis,
        max_jobs=slots,
        poll_delay=poll_delay_s,
        keep_result=0,
        job_serializer=serialize,
        job_deserializer=deserialize,
    )
    await worker.async_run()


if __name__ == "__main__":
    try:
        uvloop.run(_run(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
    except asyncio.CancelledError:
        # arq's way of ending after SIGTERM.
        sys.exit(0)
