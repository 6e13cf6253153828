"""What the tests of the failure matrix share: edits whose process dies at a point, and who takes them over."""

import asyncio
import uuid
from pathlib import Path

from tests.end_to_end.caller import DEADLINE_S, Caller, until
from tests.end_to_end.stack import Child

_ENDED_BY_FAULT = 9


async def ended(child: Child) -> int:
    return await asyncio.to_thread(child.process.wait, DEADLINE_S)


async def dies_at(caller: Caller, point: str, *, local: bool = False) -> str:
    """A worker that takes an edit and kills itself at this point, then others that go on; the edit's id."""
    others = caller.stack.workers()
    doomed = caller.stack.start_worker(fault=point)
    await asyncio.to_thread(doomed.ready)
    with caller.stack.frozen(others):
        job_id = await (caller.local() if local else caller.simulated())
        assert await ended(doomed) == _ENDED_BY_FAULT, doomed.said()
    return job_id


async def holder(caller: Caller, job_id: str) -> Child:
    """The worker that has the edit now."""
    record = await caller.until(job_id, state="running")
    return caller.stack.worker_named(record["worker"])


async def has_left(caller: Caller, job_id: str) -> None:
    """Wait until the worker that has this edit is no longer counted among the workers: it takes no more."""
    name = (await caller.record(job_id))["worker"]

    async def so() -> bool:
        return await caller.store.zscore("workers", name) is None

    await until(so, lambda: f"{name} did not leave")


async def rescued(caller: Caller, job_id: str) -> dict[str, str]:
    """The record of an edit that lost exactly one worker."""
    record = await caller.record(job_id)
    assert (record["kills"], record["attempts"]) == ("1", "2"), record
    return record


async def undisturbed(caller: Caller, job_id: str) -> None:
    """One worker had it from beginning to end."""
    record = await caller.record(job_id)
    assert (record.get("kills", "0"), record["attempts"], record["gen"]) == ("0", "1", "1"), record


async def edits_with_key(caller: Caller, prompt: str) -> int:
    """How many accepted edits have this prompt."""
    keys = await caller.store.keys("job:*")
    return sum([prompt in (await caller.store.hget(key, "spec") or "") for key in keys])  # type: ignore[misc]


async def gateway_dies(caller: Caller, point: str) -> tuple[str, str]:
    """A gateway that kills itself at this point of a submit, then a new one; the prompt and the Idempotency-Key."""
    caller.stack.gateway.kill()
    doomed = caller.stack.start_gateway(fault=point)
    await asyncio.to_thread(doomed.ready)
    prompt, key = f"paint it like {uuid.uuid4().hex}", uuid.uuid4().hex
    answer = await caller.post(prompt, key=key, model="qwen-edit")
    assert answer.status == 0
    assert await ended(doomed) == _ENDED_BY_FAULT
    await asyncio.to_thread(caller.stack.start_gateway().ready)
    return prompt, key


async def said(child: Child, words: str) -> bool:
    return words in child.said()


async def delivered(caller: Caller, job_id: str) -> bool:
    answer = await caller.get(f"/jobs/{job_id}/deliveries")
    return bool(answer.json) and '"delivered"' in str(answer.json).replace("'", '"')


async def received(simulator: Child, url: str) -> bool:
    """Whether bytes lie in the buffers of a frozen server: what was sent to it has left its sender."""
    port = f":{int(url.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path(f"/proc/{simulator.pid}/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(port) and int(row[4].partition(":")[2], 16) > 0 for row in rows if row[3] != "0A")
