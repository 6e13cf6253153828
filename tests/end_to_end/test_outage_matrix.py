"""The failure matrix, its second half: Redis, storage, providers and receivers that are away, poison, lost replies."""

import asyncio
import uuid

import pytest

from tests.audit import audit
from tests.end_to_end.caller import LOCAL_PROMPT, Caller, until
from tests.end_to_end.lossy_proxy import lossy_proxy
from tests.end_to_end.rescues import (
    delivered,
    edits_with_key,
    ended,
    holder,
    said,
    undisturbed,
)
from tests.end_to_end.stack import LEASE_S
from tests.servers import free_port

_OUTAGE_S = 1.25 * LEASE_S  #: longer than a lease: who took this for the death of all workers would do everything again


async def test_redis_killed_and_restarted(caller: Caller) -> None:
    """Workers hold what they have and go on; nothing is lost, nothing paid again."""
    job_ids = [await caller.simulated("slow=2s"), await caller.simulated(), await caller.local()]
    await caller.until(job_ids[0], call="handle")
    caller.stack.redis.kill()
    await asyncio.sleep(_OUTAGE_S)
    await asyncio.to_thread(caller.stack.redis.start)
    jobs = await caller.succeeded(*job_ids, await caller.local())
    for job in jobs:
        await undisturbed(caller, job["id"])
    assert [await caller.times_billed(job) for job in jobs] == [1, 1, 0, 0]


async def test_worker_started_while_redis_is_away_says_so_and_ends(caller: Caller) -> None:
    """One line on stderr, exit code 1."""
    caller.stack.redis.kill()
    try:
        worker = caller.stack.start_worker()
        assert await ended(worker) == 1
    finally:
        await asyncio.to_thread(caller.stack.redis.start)
    assert worker.said() == "worker: the job store did not answer\n"


async def test_redis_frozen(caller: Caller) -> None:
    """The gateway answers 503 within seconds; workers hold their results until it is back."""
    job_ids = [await caller.simulated("slow=2s"), await caller.simulated()]
    await caller.until(job_ids[0], call="handle")
    prompt, key = f"paint it like {uuid.uuid4().hex}", uuid.uuid4().hex
    caller.stack.redis.freeze()
    try:
        answer = await caller.post(prompt, key=key, model="qwen-edit")
        assert (answer.status, answer.json["code"]) == (503, "store_unavailable")
        await asyncio.sleep(_OUTAGE_S)
    finally:
        caller.stack.redis.thaw()
    again = await caller.post(prompt, key=key, model="qwen-edit")
    assert again.status == 202
    jobs = await caller.succeeded(*job_ids, again.json["id"])
    assert await edits_with_key(caller, prompt) == 1
    for job in jobs:
        await undisturbed(caller, job["id"])
        assert await caller.times_billed(job) == 1


async def test_redis_takes_no_writes_during_a_failover(caller: Caller) -> None:
    """Workers wait and repeat; nothing is lost."""
    job_ids = [await caller.simulated("slow=2s"), await caller.simulated()]
    await caller.until(job_ids[0], call="handle")
    await caller.store.replicaof("127.0.0.1", free_port())
    try:
        refused = await caller.post(LOCAL_PROMPT)
        assert (refused.status, refused.json["code"]) == (503, "store_unavailable")
        await asyncio.sleep(_OUTAGE_S)
    finally:
        await caller.store.replicaof("NO", "ONE")
    jobs = await caller.succeeded(*job_ids)
    for job in jobs:
        await undisturbed(caller, job["id"])
        assert await caller.times_billed(job) == 1


async def test_redis_at_maxmemory(caller: Caller) -> None:
    """New edits are refused with 503; running ones finish."""
    running, waiting = await caller.simulated("slow=2s"), await caller.simulated()
    await caller.until(running, call="handle")
    await caller.store.config_set("maxmemory", "1")
    try:
        refused = await caller.post(LOCAL_PROMPT)
        assert (refused.status, refused.json["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) > 0
        jobs = await caller.succeeded(running, waiting)
    finally:
        await caller.store.config_set("maxmemory", "0")
    assert [await caller.times_billed(job) for job in jobs] == [1, 1]
    await caller.succeeded(await caller.local())
    assert len(caller.stack.workers()) == 2


async def test_s3_down(caller: Caller) -> None:
    """Submits answer 503; a worker keeps the bytes and stores them when storage is back; paid once."""
    job_id = await caller.simulated("slow=1.5s")
    await caller.until(job_id, call="handle")
    worker = await holder(caller, job_id)
    caller.stack.s3.kill()
    try:
        refused = await caller.post(LOCAL_PROMPT)
        assert (refused.status, refused.json["code"]) == (503, "storage_unavailable")
        await until(lambda: said(worker, "storage is away"), worker.said)
    finally:
        await asyncio.to_thread(caller.stack.s3.start)
    (job,) = await caller.succeeded(job_id)
    await undisturbed(caller, job_id)
    assert await caller.times_billed(job) == 1


@pytest.mark.parametrize("fault", ["503*2", "429=1s*2", "poll-503*2", "lost-answer*1", "5000*1"])
async def test_provider_down_or_429(caller: Caller, fault: str) -> None:
    """The edit waits, its lane pauses for everybody, then it succeeds."""
    job_id = await caller.simulated(fault)
    (job,) = await caller.succeeded(job_id)
    # A task that the provider accepted and failed is a second, known attempt.
    assert await caller.times_billed(job) == (2 if fault == "5000*1" else 1)
    assert (await caller.record(job_id)).get("kills", "0") == "0"


async def test_webhook_receiver_down(caller: Caller) -> None:
    """Delivered later under the same webhook-id."""
    caller.receiver.refuse = 3
    job_id = await caller.local()
    await caller.succeeded(job_id)
    assert caller.receiver.tries == 4
    answer = await caller.get(f"/jobs/{job_id}/deliveries")
    assert answer.status == 200, answer
    await until(lambda: delivered(caller, job_id), lambda: "the delivery was not written down")


async def test_poison_job(caller: Caller) -> None:
    """After two dead workers it runs alone, after three it fails `worker_crashed`; the edits beside it succeed."""
    poison = await caller.simulated("slow=60s")
    beside = [await caller.simulated("slow=2s") for _ in range(3)] + [await caller.local() for _ in range(3)]
    for gen in ("1", "2", "3"):
        record = await caller.until(poison, gen=gen, state="running")
        caller.stack.worker_named(record["worker"]).kill()
        caller.stack.start_worker()
    job = await caller.ended(poison)
    assert (job["status"], job["error"]["code"]) == ("failed", "worker_crashed")
    assert await caller.store.zscore("dead", poison) is not None
    assert (await caller.record(poison))["lane"] == "suspect"
    assert await caller.times_billed(job) == 1
    await caller.heard_once([poison])
    await caller.succeeded(*beside)


async def test_take_reply_lost(caller: Caller) -> None:
    """The worker asks again and gets the same edits; none is lost or counted as killed."""
    others = caller.stack.workers()
    async with lossy_proxy(caller.stack.redis.port, lambda request, answer: b"took:" in request and b"edit_" in answer) as proxy:
        worker = caller.stack.start_worker(EDIT_STUDIO_REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0")
        await asyncio.to_thread(worker.ready)
        with caller.stack.frozen(others):
            job_id = await caller.simulated()
            (job,) = await caller.succeeded(job_id)
            assert proxy.lost.is_set()
        worker.kill()
    await undisturbed(caller, job_id)
    assert await caller.times_billed(job) == 1


async def test_finish_reply_lost(caller: Caller) -> None:
    """Finishing again changes nothing; one event, one charge."""
    others = caller.stack.workers()
    async with lossy_proxy(caller.stack.redis.port, lambda request, answer: b"$9\r\nsucceeded\r\n" in request) as proxy:
        worker = caller.stack.start_worker(EDIT_STUDIO_REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0")
        await asyncio.to_thread(worker.ready)
        with caller.stack.frozen(others):
            job_id = await caller.simulated()
            (job,) = await caller.succeeded(job_id)
            assert proxy.lost.is_set()
        worker.kill()
    await undisturbed(caller, job_id)
    assert await caller.times_billed(job) == 1
    await audit(caller.store)


async def test_worker_outlives_a_lost_health_report(caller: Caller) -> None:
    """The worker goes on working."""
    others = caller.stack.workers()
    async with lossy_proxy(caller.stack.redis.port, lambda request, answer: b"arq:health-check" in request) as proxy:
        worker = caller.stack.start_worker(EDIT_STUDIO_REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0")
        await asyncio.to_thread(worker.ready)
        with caller.stack.frozen(others):
            first = await caller.local()
            await caller.succeeded(first)
            await proxy.lost.wait()
            await caller.succeeded(await caller.local())
        worker.kill()
    await undisturbed(caller, first)
