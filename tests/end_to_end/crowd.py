"""Many edits at once: what must hold for all of them when the last one has ended."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import redis

from tests.audit import audit
from tests.end_to_end.caller import TERMINAL, Caller, until

_AT_ONCE = 8
_POLL_S = 0.1


async def states_of(caller: Caller, job_ids: Sequence[str]) -> Counter[str]:
    """How many edits are in each state; the empty state is for what Redis does not tell now."""
    asked = caller.store.pipeline(transaction=False)
    for job_id in job_ids:
        asked.hget(f"job:{job_id}", "state")
    try:
        return Counter(state or "" for state in await asked.execute())
    except (redis.exceptions.RedisError, OSError):
        return Counter({"": len(job_ids)})


async def all_ended(caller: Caller, job_ids: Sequence[str], *, deadline_s: float) -> None:
    """Wait until nothing is unfinished."""
    states: Counter[str] = Counter()

    async def so() -> bool:
        nonlocal states
        states = await states_of(caller, job_ids)
        return states.keys() <= TERMINAL

    await until(so, lambda: f"not all ended: {states}", deadline_s=deadline_s, poll_s=_POLL_S)


async def jobs_of(caller: Caller, job_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Their Jobs; the results of those that succeeded are fetched and looked at."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(job_id: str) -> dict[str, Any]:
        async with turns:
            job = await caller.ended(job_id)
            if job["status"] == "succeeded":
                await caller.has_right_result(job)
            return job

    return await asyncio.gather(*(one(job_id) for job_id in job_ids))


async def told_once(caller: Caller, job_ids: Sequence[str]) -> int:
    """Each end is one event: taken by the receiver under one webhook-id, or still in the outbox. How many are.

    Where a sender was killed in the middle of a delivery, it is due again only after a minute.
    """
    waiting: set[str] = set()

    async def so() -> bool:
        nonlocal waiting
        outbox = [name for key in await caller.store.keys("outbox:*") for name in await caller.store.zrange(key, 0, -1)]
        waiting = {job_id for job_id in job_ids if job_id not in caller.receiver.ids}
        return all(any(name.startswith(f"whd_{job_id.partition('_')[2]}_") for name in outbox) for job_id in waiting)

    await until(so, lambda: f"neither told nor in the outbox: {waiting}")
    assert caller.receiver.ids.keys() <= set(job_ids)
    for job_id, ids in list(caller.receiver.ids.items()):
        assert len(ids) == 1, ids
        assert caller.receiver.states[job_id] == (await caller.record(job_id))["state"]
    await audit(caller.store)
    return len(waiting)
