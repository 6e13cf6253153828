"""Every row of the failure matrix, done to real processes: the edit ends once, rightly, paid once, told once."""

import asyncio
import os
import signal

import pytest

from tests.end_to_end.caller import DEADLINE_S, Caller, until
from tests.end_to_end.lossy_proxy import lossy_proxy
from tests.end_to_end.rescues import (
    dies_at,
    edits_with_key,
    ended,
    gateway_dies,
    has_left,
    holder,
    received,
    rescued,
    undisturbed,
)
from tests.end_to_end.stack import LEASE_S
from tests.servers import freeze


async def test_gateway_dies_before_accept(caller: Caller) -> None:
    """Nothing was promised; the caller repeats the request and gets one edit."""
    prompt, key = await gateway_dies(caller, "before_accept")
    assert await edits_with_key(caller, prompt) == 0
    again = await caller.post(prompt, key=key, model="qwen-edit")
    assert again.status == 202
    assert "Idempotent-Replayed" not in again.headers
    (job,) = await caller.succeeded(again.json["id"])
    assert await caller.times_billed(job) == 1


async def test_gateway_dies_after_accept_before_202(caller: Caller) -> None:
    """The edit runs; repeating the request with its Idempotency-Key answers that edit."""
    prompt, key = await gateway_dies(caller, "after_accept")
    again = await caller.post(prompt, key=key, model="qwen-edit")
    assert again.status == 202
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await edits_with_key(caller, prompt) == 1
    (job,) = await caller.succeeded(again.json["id"])
    assert await caller.times_billed(job) == 1


async def test_worker_dies_before_the_paid_call(caller: Caller) -> None:
    """Another worker takes over within a lease; the call is made once."""
    job_id = await dies_at(caller, "before_call")
    (job,) = await caller.succeeded(job_id)
    await rescued(caller, job_id)
    assert await caller.times_billed(job) == 1
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["succeeded"]


async def test_worker_dies_after_the_call_was_written_down_before_it_was_made(caller: Caller) -> None:
    """The call is looked for, not found, and made once."""
    job_id = await dies_at(caller, "after_call_started")
    (job,) = await caller.succeeded(job_id)
    await rescued(caller, job_id)
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
        worker = await holder(caller, job_id)
        await until(lambda: received(caller.stack.simulator, caller.stack.simulator_url), lambda: "nothing was sent")
        worker.kill()
    finally:
        caller.stack.simulator.thaw()
    (job,) = await caller.succeeded(job_id)
    await rescued(caller, job_id)
    assert await caller.times_billed(job) == 1
    assert [line["billed"] for line in job["cost"]["lines"]] == [True]


async def test_worker_dies_inside_a_synchronous_call(caller: Caller) -> None:
    """The work is done again by another worker; the result is stored once."""
    frozen = [pid for worker in caller.stack.workers() for pid in worker.children()]
    for pid in frozen:
        freeze(pid)
    try:
        job_id = await caller.local()
        await caller.until(job_id, call="started")
        (await holder(caller, job_id)).kill()
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    await caller.succeeded(job_id)
    await rescued(caller, job_id)


async def test_worker_dies_between_submit_answer_and_checkpoint(caller: Caller) -> None:
    """The call is found by its name in the provider's history; paid once."""
    job_id = await dies_at(caller, "after_submit")
    assert (await caller.record(job_id))["call"] == "started"
    (job,) = await caller.succeeded(job_id)
    await rescued(caller, job_id)
    assert await caller.times_billed(job) == 1
    assert [line["billed"] for line in job["cost"]["lines"]] == [True]


async def test_worker_dies_after_the_handle_is_stored(caller: Caller) -> None:
    """Another worker polls the same handle; paid once."""
    job_id = await dies_at(caller, "after_handle")
    (job,) = await caller.succeeded(job_id)
    await rescued(caller, job_id)
    assert await caller.times_billed(job) == 1


@pytest.mark.parametrize(
    ("point", "local"), [("before_store", False), ("after_store", False), ("before_finish", False), ("after_store", True)]
)
async def test_worker_dies_after_s3_put_before_finish(caller: Caller, point: str, local: bool) -> None:
    """A whole result is adopted, half of one is made again from the handle; paid once."""
    job_id = await dies_at(caller, point, local=local)
    (job,) = await caller.succeeded(job_id)
    await rescued(caller, job_id)
    assert await caller.times_billed(job) == (0 if local else 1)
    stored_by = (await caller.record(job_id))["course"].split(f"{job_id}/")[1].split("/")[0]
    assert stored_by == ("2" if point == "before_store" else "1"), "a result that was whole is adopted"


async def test_worker_dies_after_finish(caller: Caller) -> None:
    """The edit has ended; its event is delivered by another worker."""
    job_id = await dies_at(caller, "after_finish")
    (job,) = await caller.succeeded(job_id)
    await undisturbed(caller, job_id)
    assert await caller.times_billed(job) == 1


async def test_worker_frozen_past_its_lease_then_thaws(caller: Caller) -> None:
    """Another worker finishes; the frozen one changes nothing when it wakes."""
    job_id = await caller.simulated(f"slow={1.5 * LEASE_S}s")
    await caller.until(job_id, call="handle")
    frozen = await holder(caller, job_id)
    frozen.freeze()
    try:
        await caller.until(job_id, gen="2")
    finally:
        frozen.thaw()
    (job,) = await caller.succeeded(job_id)
    await rescued(caller, job_id)
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
    leaving = await holder(caller, job_id)
    leaving.process.terminate()
    assert await ended(leaving) == 0, leaving.said()
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
        leaving = await holder(caller, job_id)
        leaving.process.terminate()
        await has_left(caller, job_id)
    finally:
        caller.stack.simulator.thaw()
    # As soon as the provider has answered, another worker can go on: there is nothing to wait for.
    await caller.until(job_id, gen="2", state="running")
    assert await ended(leaving) == 0, leaving.said()
    record = await caller.record(job_id)
    assert (record.get("kills", "0"), record["attempts"]) == ("0", "2"), record
    assert (await caller.cancel(job_id)).status == 200
    assert (await caller.ended(job_id))["status"] == "canceled"
    await caller.heard_once([job_id])


async def test_sigterm_while_edits_are_being_taken(caller: Caller) -> None:
    """What the stopping worker was given is given back at once, and done by another."""
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
            await has_left(caller, job_id)
            proxy.go_on.set()
            assert await ended(leaving) == 0, leaving.said()
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
            freeze(pid)
        job_id = await caller.local()
        await caller.until(job_id, call="started")
        leaving.process.terminate()
        await has_left(caller, job_id)
        for pid in pixels:
            os.kill(pid, signal.SIGCONT)
        assert await ended(leaving) == 0, leaving.said()
    await caller.succeeded(job_id)
    await undisturbed(caller, job_id)
