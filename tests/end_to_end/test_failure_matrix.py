"""Every row of the failure matrix, done to real processes: the edit ends once, rightly, paid once, told once."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.audit import audit
from tests.end_to_end.caller import DEADLINE_S, LOCAL_PROMPT, Caller, calling, until
from tests.end_to_end.lossy_proxy import lossy_proxy
from tests.end_to_end.stack import LEASE_S, Child, Stack
from tests.servers import free_port

_WORKERS = 2
_ENDED_BY_FAULT = 9
_OUTAGE_S = 1.25 * LEASE_S  #: longer than a lease: who took this for the death of all workers would do everything again


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("matrix")) as stack:
        for worker in [stack.start_worker() for _ in range(_WORKERS)]:
            worker.ready()
        yield stack


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    """A caller; whatever the test did, the next one finds all servers up and two workers."""
    async with calling(stack) as caller:
        yield caller
    for worker in [stack.start_worker() for _ in range(_WORKERS - len(stack.workers()))]:
        await asyncio.to_thread(worker.ready)


async def _ended(child: Child) -> int:
    return await asyncio.to_thread(child.process.wait, DEADLINE_S)


async def _dies_at(caller: Caller, point: str, *, local: bool = False) -> str:
    """A worker that takes an edit and kills itself at this point, then others that go on; the edit's id."""
    others = caller.stack.workers()
    doomed = caller.stack.start_worker(fault=point)
    await asyncio.to_thread(doomed.ready)
    with caller.stack.frozen(others):
        job_id = await (caller.local() if local else caller.simulated())
        assert await _ended(doomed) == _ENDED_BY_FAULT, doomed.said()
    return job_id


async def _holder(caller: Caller, job_id: str) -> Child:
    """The worker that has the edit now."""
    record = await caller.until(job_id, state="running")
    return caller.stack.worker_named(record["worker"])


async def _has_left(caller: Caller, job_id: str) -> None:
    """Wait until the worker that has this edit is no longer counted among the workers: it takes no more."""
    name = (await caller.record(job_id))["worker"]

    async def so() -> bool:
        return await caller.store.zscore("workers", name) is None

    await until(so, lambda: f"{name} did not leave")


async def _rescued(caller: Caller, job_id: str) -> dict[str, str]:
    """The record of an edit that lost exactly one worker."""
    record = await caller.record(job_id)
    assert (record["kills"], record["attempts"]) == ("1", "2"), record
    return record


async def _undisturbed(caller: Caller, job_id: str) -> None:
    """One worker had it from beginning to end."""
    record = await caller.record(job_id)
    assert (record.get("kills", "0"), record["attempts"], record["gen"]) == ("0", "1", "1"), record


async def _edits_with_key(caller: Caller, prompt: str) -> int:
    """How many accepted edits have this prompt."""
    keys = await caller.store.keys("job:*")
    return sum([prompt in (await caller.store.hget(key, "spec") or "") for key in keys])  # type: ignore[misc]


async def _gateway_dies(caller: Caller, point: str) -> tuple[str, str]:
    """A gateway that kills itself at this point of a submit, then a new one; the prompt and the Idempotency-Key."""
    caller.stack.gateway.kill()
    doomed = caller.stack.start_gateway(fault=point)
    await asyncio.to_thread(doomed.ready)
    prompt, key = f"paint it like {uuid.uuid4().hex}", uuid.uuid4().hex
    answer = await caller.post(prompt, key=key, model="qwen-edit")
    assert answer.status == 0
    assert await _ended(doomed) == _ENDED_BY_FAULT
    await asyncio.to_thread(caller.stack.start_gateway().ready)
    return prompt, key


async def test_gateway_dies_before_accept(caller: Caller) -> None:
    """Nothing was promised; the caller repeats the request and gets one edit."""
    prompt, key = await _gateway_dies(caller, "before_accept")
    assert await _edits_with_key(caller, prompt) == 0
    again = await caller.post(prompt, key=key, model="qwen-edit")
    assert again.status == 202
    assert "Idempotent-Replayed" not in again.headers
    (job,) = await caller.succeeded(again.json["id"])
    assert await caller.times_billed(job) == 1


async def test_gateway_dies_after_accept_before_202(caller: Caller) -> None:
    """The edit runs; repeating the request with its Idempotency-Key answers that edit."""
    prompt, key = await _gateway_dies(caller, "after_accept")
    again = await caller.post(prompt, key=key, model="qwen-edit")
    assert again.status == 202
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await _edits_with_key(caller, prompt) == 1
    (job,) = await caller.succeeded(again.json["id"])
    assert await caller.times_billed(job) == 1


async def test_worker_dies_before_the_paid_call(caller: Caller) -> None:
    """Another worker takes over within a lease; the call is made once."""
    job_id = await _dies_at(caller, "before_call")
    (job,) = await caller.succeeded(job_id)
    await _rescued(caller, job_id)
    assert await caller.times_billed(job) == 1
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["succeeded"]


async def test_worker_dies_after_the_call_was_written_down_before_it_was_made(caller: Caller) -> None:
    """The call is looked for, not found, and made once."""
    job_id = await _dies_at(caller, "after_call_started")
    (job,) = await caller.succeeded(job_id)
    await _rescued(caller, job_id)
    assert await caller.times_billed(job) == 1
    # Whether the first call was made cannot be known; the caller pays for one.
    assert [line["billed"] for line in job["cost"]["lines"]] == [None, True]
    assert job["cost"]["actual"] == job["cost"]["estimated"]


async def test_worker_dies_inside_the_paid_call(caller: Caller) -> None:
    """The call is found in the provider's history and its result fetched; paid once."""
    caller.stack.simulator.freeze()
    try:
        job_id = await caller.simulated()
        await caller.until(job_id, call="started")
        worker = await _holder(caller, job_id)
        await until(lambda: _received(caller.stack.simulator, caller.stack.simulator_url), lambda: "nothing was sent")
        worker.kill()
    finally:
        caller.stack.simulator.thaw()
    (job,) = await caller.succeeded(job_id)
    await _rescued(caller, job_id)
    assert await caller.times_billed(job) == 1
    assert [line["billed"] for line in job["cost"]["lines"]] == [True]


async def test_worker_dies_inside_a_synchronous_call(caller: Caller) -> None:
    """The work is done again by another worker; the result is stored once."""
    frozen = [pid for worker in caller.stack.workers() for pid in worker.children()]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        job_id = await caller.local()
        await caller.until(job_id, call="started")
        (await _holder(caller, job_id)).kill()
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    await caller.succeeded(job_id)
    await _rescued(caller, job_id)


async def test_worker_dies_between_submit_answer_and_checkpoint(caller: Caller) -> None:
    """The call is found by its name in the provider's history; paid once."""
    job_id = await _dies_at(caller, "after_submit")
    assert (await caller.record(job_id))["call"] == "started"
    (job,) = await caller.succeeded(job_id)
    await _rescued(caller, job_id)
    assert await caller.times_billed(job) == 1
    assert [line["billed"] for line in job["cost"]["lines"]] == [True]


async def test_worker_dies_after_the_handle_is_stored(caller: Caller) -> None:
    """Another worker polls the same handle; paid once."""
    job_id = await _dies_at(caller, "after_handle")
    (job,) = await caller.succeeded(job_id)
    await _rescued(caller, job_id)
    assert await caller.times_billed(job) == 1


@pytest.mark.parametrize(
    ("point", "local"), [("before_store", False), ("after_store", False), ("before_finish", False), ("after_store", True)]
)
async def test_worker_dies_after_s3_put_before_finish(caller: Caller, point: str, local: bool) -> None:
    """A whole result is adopted, half of one is made again from the handle; paid once."""
    job_id = await _dies_at(caller, point, local=local)
    (job,) = await caller.succeeded(job_id)
    await _rescued(caller, job_id)
    assert await caller.times_billed(job) == (0 if local else 1)
    stored_by = (await caller.record(job_id))["course"].split(f"{job_id}/")[1].split("/")[0]
    assert stored_by == ("2" if point == "before_store" else "1"), "a result that was whole is adopted"


async def test_worker_dies_after_finish(caller: Caller) -> None:
    """The edit has ended; its event is delivered by another worker."""
    job_id = await _dies_at(caller, "after_finish")
    (job,) = await caller.succeeded(job_id)
    await _undisturbed(caller, job_id)
    assert await caller.times_billed(job) == 1


async def test_worker_frozen_past_its_lease_then_thaws(caller: Caller) -> None:
    """Another worker finishes; the frozen one changes nothing when it wakes."""
    job_id = await caller.simulated(f"slow={1.5 * LEASE_S}s")
    await caller.until(job_id, call="handle")
    frozen = await _holder(caller, job_id)
    frozen.freeze()
    try:
        await caller.until(job_id, gen="2")
    finally:
        frozen.thaw()
    (job,) = await caller.succeeded(job_id)
    await _rescued(caller, job_id)
    assert frozen.alive
    assert await caller.times_billed(job) == 1


async def test_worker_thaws_and_gets_the_very_edit_that_it_still_holds(caller: Caller) -> None:
    """Its old turn is void, its new one goes on from the handle."""
    others = caller.stack.workers()
    thawing = caller.stack.start_worker()
    await asyncio.to_thread(thawing.ready)
    with caller.stack.frozen(others):
        job_id = await caller.simulated(f"slow={2 * LEASE_S}s")
        await caller.until(job_id, call="handle")
    thawing.freeze()
    try:
        # Another worker takes it over and gives it back while the first one sleeps.
        second = (await caller.until(job_id, gen="2", state="running"))["worker"]
        with caller.stack.frozen([worker for worker in others if worker.pid != caller.stack.worker_named(second).pid]):
            caller.stack.worker_named(second).process.terminate()
            await caller.until(job_id, state="queued")
            thawing.thaw()
            await caller.until(job_id, gen="3")
    finally:
        thawing.thaw()
    (job,) = await caller.succeeded(job_id)
    record = await caller.record(job_id)
    assert (record["kills"], record["gen"]) == ("1", "3"), record
    assert await caller.times_billed(job) == 1


async def test_sigterm_with_a_polled_job(caller: Caller) -> None:
    """The edit is given back at once and polled on by another worker."""
    job_id = await caller.simulated("slow=4s")
    await caller.until(job_id, call="handle")
    leaving = await _holder(caller, job_id)
    leaving.process.terminate()
    assert await _ended(leaving) == 0, leaving.said()
    (job,) = await caller.succeeded(job_id)
    record = await caller.record(job_id)
    assert (record.get("kills", "0"), record["attempts"]) == ("0", "2"), record
    assert await caller.times_billed(job) == 1


async def test_sigterm_in_the_middle_of_a_submit(caller: Caller) -> None:
    """The submit is finished, its handle kept, the edit given back."""
    caller.stack.simulator.freeze()
    try:
        job_id = await caller.simulated("slow=20s")
        await caller.until(job_id, call="started")
        leaving = await _holder(caller, job_id)
        leaving.process.terminate()
        await _has_left(caller, job_id)
    finally:
        caller.stack.simulator.thaw()
    # As soon as the provider has answered, another worker can go on: there is nothing to wait for.
    await caller.until(job_id, gen="2", state="running")
    assert await _ended(leaving) == 0, leaving.said()
    record = await caller.record(job_id)
    assert (record.get("kills", "0"), record["attempts"]) == ("0", "2"), record
    assert (await caller.cancel(job_id)).status == 200
    assert (await caller.ended(job_id))["status"] == "canceled"
    await caller.heard_once([job_id])


async def test_sigterm_while_edits_are_being_taken(caller: Caller) -> None:
    """What was asked for before the stop and is answered after it goes back at once."""
    others = caller.stack.workers()
    port = caller.stack.redis.port
    async with lossy_proxy(port, lambda request, answer: b"took:" in request and b"edit_" in answer, holds=True) as proxy:
        leaving = caller.stack.start_worker(
            EDIT_STUDIO_REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0", EDIT_STUDIO_REDIS_TIMEOUT_S=str(DEADLINE_S)
        )
        await asyncio.to_thread(leaving.ready)
        with caller.stack.frozen(others):
            job_id = await caller.simulated()
            await proxy.lost.wait()
            leaving.process.terminate()
            await _has_left(caller, job_id)
            proxy.go_on.set()
            assert await _ended(leaving) == 0, leaving.said()
            assert (await caller.record(job_id))["at"] == "ready"
    (job,) = await caller.succeeded(job_id)
    record = await caller.record(job_id)
    assert (record.get("kills", "0"), record["attempts"]) == ("0", "2"), record
    assert await caller.times_billed(job) == 1


async def test_sigterm_with_a_synchronous_call(caller: Caller) -> None:
    """The call is finished before the process ends."""
    others = caller.stack.workers()
    leaving = caller.stack.start_worker()
    await asyncio.to_thread(leaving.ready)
    pixels = leaving.children()
    with caller.stack.frozen(others):
        for pid in pixels:
            os.kill(pid, signal.SIGSTOP)
        job_id = await caller.local()
        await caller.until(job_id, call="started")
        leaving.process.terminate()
        await _has_left(caller, job_id)
        for pid in pixels:
            os.kill(pid, signal.SIGCONT)
        assert await _ended(leaving) == 0, leaving.said()
    await caller.succeeded(job_id)
    await _undisturbed(caller, job_id)


async def test_redis_killed_and_restarted(caller: Caller) -> None:
    """Workers hold what they have and go on; nothing is lost, nothing paid again."""
    job_ids = [await caller.simulated("slow=2s"), await caller.simulated(), await caller.local()]
    await caller.until(job_ids[0], call="handle")
    caller.stack.redis.kill()
    await asyncio.sleep(_OUTAGE_S)
    await asyncio.to_thread(caller.stack.redis.start)
    jobs = await caller.succeeded(*job_ids, await caller.local())
    for job in jobs:
        await _undisturbed(caller, job["id"])
    assert [await caller.times_billed(job) for job in jobs] == [1, 1, 0, 0]


async def test_worker_started_while_redis_is_away_says_so_and_ends(caller: Caller) -> None:
    """One line on stderr, exit code 1."""
    caller.stack.redis.kill()
    try:
        worker = caller.stack.start_worker()
        assert await _ended(worker) == 1
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
    assert await _edits_with_key(caller, prompt) == 1
    for job in jobs:
        await _undisturbed(caller, job["id"])
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
        await _undisturbed(caller, job["id"])
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
    assert len(caller.stack.workers()) == _WORKERS


async def test_s3_down(caller: Caller) -> None:
    """Submits answer 503; a worker keeps the bytes and stores them when storage is back; paid once."""
    job_id = await caller.simulated("slow=1.5s")
    await caller.until(job_id, call="handle")
    worker = await _holder(caller, job_id)
    caller.stack.s3.kill()
    try:
        refused = await caller.post(LOCAL_PROMPT)
        assert (refused.status, refused.json["code"]) == (503, "storage_unavailable")
        await until(lambda: _said(worker, "storage is away"), worker.said)
    finally:
        await asyncio.to_thread(caller.stack.s3.start)
    (job,) = await caller.succeeded(job_id)
    await _undisturbed(caller, job_id)
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
    await until(lambda: _delivered(caller, job_id), lambda: "the delivery was not written down")


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
    await _undisturbed(caller, job_id)
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
    await _undisturbed(caller, job_id)
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
    await _undisturbed(caller, first)


async def _said(child: Child, words: str) -> bool:
    return words in child.said()


async def _delivered(caller: Caller, job_id: str) -> bool:
    answer = await caller.get(f"/jobs/{job_id}/deliveries")
    return bool(answer.json) and '"delivered"' in str(answer.json).replace("'", '"')


async def _received(simulator: Child, url: str) -> bool:
    """Whether bytes lie in the buffers of a frozen server: what was sent to it has left its sender."""
    port = f":{int(url.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path(f"/proc/{simulator.pid}/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(port) and int(row[4].partition(":")[2], 16) > 0 for row in rows if row[3] != "0A")
