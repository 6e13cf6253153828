"""200 edits of 2 s each through three kill -9 of workers and one of redis-server."""

import asyncio
from collections import Counter
from pathlib import Path

from tests.end_to_end.caller import Caller, calling, until
from tests.end_to_end.crowd import all_ended, jobs_of, states_of, told_once
from tests.end_to_end.stack import Child, Stack

_EDITS = 200
_WORKERS = 3
_SUBMITS_AT_ONCE = 16
_DEADLINE_S = 90.0


async def test_two_hundred_edits_survive_three_killed_workers_and_a_killed_redis(tmp_path: Path) -> None:
    with Stack(tmp_path / "stack", latency_s=2.0, EDIT_STUDIO_WORKER_SLOTS="12") as stack:
        workers = [stack.start_worker() for _ in range(_WORKERS)]
        for worker in workers:
            await asyncio.to_thread(worker.ready)
        async with calling(stack) as caller:
            job_ids: list[str] = []
            turns = asyncio.Semaphore(_SUBMITS_AT_ONCE)

            async def submit() -> None:
                async with turns:
                    job_ids.append(await caller.simulated())

            feeding = asyncio.gather(*(submit() for _ in range(_EDITS)))
            try:
                for number, worker in enumerate(workers):
                    await _so_many_ended(caller, job_ids, 20 + 40 * number)
                    worker.kill()
                    stack.start_worker()
                    victims = await _held_by(caller, job_ids, worker)
                    assert victims
                    # Three kills under one edit would end it, as a poison; here no edit meets more than one.
                    await all_ended(caller, victims, deadline_s=_DEADLINE_S)
                await _so_many_ended(caller, job_ids, 140)
                stack.redis.kill()
                await asyncio.to_thread(stack.redis.start)
                await feeding
            finally:
                feeding.cancel()
            assert len(set(job_ids)) == _EDITS
            await all_ended(caller, job_ids, deadline_s=_DEADLINE_S)
            jobs = await jobs_of(caller, job_ids)
            assert Counter(job["status"] for job in jobs) == {"succeeded": _EDITS}
            billed = Counter(submit["prompt"] for submit in stack.ledger())
            assert billed == {job["prompt"]: 1 for job in jobs}
            late = await told_once(caller, job_ids)
            records = await asyncio.gather(*(caller.record(job_id) for job_id in job_ids))
            hit = sum(record.get("kills", "0") != "0" for record in records)
            assert hit > 0
            print(f"{_EDITS} edits, {hit} lost their worker, all succeeded and billed once; {late} webhooks still on their way")


async def _held_by(caller: Caller, job_ids: list[str], worker: Child) -> list[str]:
    """The edits that a dead worker has left behind."""
    records = [(job_id, await caller.record(job_id)) for job_id in job_ids]
    return [job_id for job_id, record in records if record["state"] == "running" and f"-{worker.pid}-" in record["worker"]]


async def _so_many_ended(caller: Caller, job_ids: list[str], wanted: int) -> None:
    async def so() -> bool:
        return (await states_of(caller, job_ids))["succeeded"] >= wanted

    await until(so, lambda: f"fewer than {wanted} have ended", deadline_s=_DEADLINE_S, poll_s=0.1)
