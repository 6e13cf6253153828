"""Redis with two replicas and three Sentinels: the master is killed in the midst of work, a replica takes its place.

Replication is asynchronous, also with `min-replicas-to-write 1`: that setting only stops a master that has lost all its replicas.
So this is what holds, and what is asserted here:

- What had reached a replica before the master died is kept: each such edit comes to one end, has one event, is billed once.
- What the master answered in its last moments and no replica has (milliseconds of writes; a cut-off master: up to
  `min-replicas-max-lag` seconds) is gone whole, never in part, for a script's effects are replicated as one transaction:
  - an edit accepted then answers 404; its caller, who repeats the request with its Idempotency-Key, gets a new one;
  - an edit whose progress was written then goes on from its earlier state: if that was before the provider's handle, the paid
    call is looked for in the provider's history, and made again where that does not tell; an end written then comes again, its
    event under the same webhook-id.
- Until a replica is master every submit is answered 503; nothing is answered 202 by a server that may not write.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from shared.settings import Settings
from shared.store.connection import open_redis
from tests.end_to_end.caller import LOCAL_PROMPT, TERMINAL, Caller, calling, until
from tests.end_to_end.stack import Stack
from tests.redis_group import RedisGroup

_BEFORE = 12
_AT_ONCE = 4
_NO_REPLICA_NO_WRITE = {"min-replicas-to-write": "1", "min-replicas-max-lag": "5"}


@pytest.fixture
def group(tmp_path: Path) -> RedisGroup:
    """Started by the stack."""
    return RedisGroup(tmp_path / "group", options=_NO_REPLICA_NO_WRITE)


@pytest.fixture
async def caller(group: RedisGroup, tmp_path: Path, make_settings: Callable[..., Settings]) -> AsyncIterator[Caller]:
    store = open_redis(make_settings(**group.settings, redis_timeout_s=1.0))
    with Stack(tmp_path / "stack", redis=group) as stack:
        stack.start_worker().ready()
        async with calling(stack) as caller:
            first, caller.store = caller.store, store
            yield caller
            caller.store = first
    await store.aclose(close_connection_pool=True)


async def test_what_was_replicated_outlives_the_master(caller: Caller, group: RedisGroup) -> None:
    """A replica takes over: what it had is done once, what it had not is gone whole, and new edits are taken."""
    running = [await caller.simulated("slow=4s") for _ in range(2)]
    for job_id in running:
        await caller.until(job_id, call="handle")
    waiting = await asyncio.gather(*(caller.local() for _ in range(_BEFORE)))
    await asyncio.to_thread(group.replicated)

    last_moments: list[tuple[str, str]] = []

    async def submit_on() -> None:
        while True:
            key = uuid.uuid4().hex
            answer = await caller.post(LOCAL_PROMPT, key=key)
            if answer.status != 202:
                return
            last_moments.append((key, answer.json["id"]))

    submitting = [asyncio.create_task(submit_on()) for _ in range(_AT_ONCE)]
    await until(lambda: _some(last_moments), lambda: "nothing was accepted")
    group.first.kill()
    killed_at = time.monotonic()
    await asyncio.gather(*submitting)
    again = await caller.local()
    away_s = time.monotonic() - killed_at

    jobs = await caller.succeeded(*running, *waiting, again)
    assert [await caller.times_billed(job) for job in jobs[: len(running)]] == [1, 1]
    lost = 0
    for key, job_id in last_moments:
        answer = await caller.get(f"/jobs/{job_id}?wait=20")
        if answer.status == 404:
            lost += 1
            answer = await caller.post(LOCAL_PROMPT, key=key)
            assert answer.status == 202
            job_id = answer.json["id"]
        job = await caller.ended(job_id)
        assert job["status"] in TERMINAL
    assert group.port != group.first.port
    print(f"\nnew edits {away_s:.1f} s after the kill; {lost} of {len(last_moments)} accepted in its last moments were lost")


async def _some(found: list[tuple[str, str]]) -> bool:
    return len(found) >= 2 * _AT_ONCE
