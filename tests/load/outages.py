"""S3 away, Redis frozen, the provider down, one after the other, under a steady load of single edits and a batch."""

import argparse
import asyncio
import contextlib
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.audit import audit
from tests.end_to_end.bulk import feed_of, one_event_each, records_of, submit_batch, upload
from tests.end_to_end.caller import PICTURE, Caller, calling, until
from tests.end_to_end.stack import Stack
from tests.load.report import Report

_WORKERS = 2
_EVERY_S = 0.5
_BATCH_ITEMS = 60
_CALM_S = 5.0
_RECOVERY_S = 400.0
_UNFETCHED = "said 1402"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--s3-s", type=float, default=60.0)
    parser.add_argument("--redis-s", type=float, default=30.0)
    parser.add_argument("--provider-s", type=float, default=60.0)


async def run(asked: argparse.Namespace, folder: Path) -> int:
    """The whole run."""
    title = f"S3 away {asked.s3_s:.0f} s, Redis frozen {asked.redis_s:.0f} s, provider down {asked.provider_s:.0f} s"
    report = Report(f"outages: {title}; an edit every {_EVERY_S} s and batches of {_BATCH_ITEMS}, half of all paid")
    with Stack(folder, latency_s=1.0, EDIT_STUDIO_LEASE_S="15", EDIT_STUDIO_REDIS_TIMEOUT_S="3") as stack:
        workers = [stack.start_worker() for _ in range(_WORKERS)]
        for worker in workers:
            await asyncio.to_thread(worker.ready)
        async with calling(stack) as caller:
            traffic = Traffic(caller, await upload(caller, PICTURE))
            for name, outage in (
                ("S3", _s3_away(stack, asked.s3_s)),
                ("Redis", _redis_frozen(stack, asked.redis_s)),
                ("provider", _provider_down(caller, asked.provider_s)),
            ):
                await traffic.through(report, name, outage)
            await traffic.judge(report)
            alive = [worker.alive for worker in workers]
            report.promise("workers that lived through it all", sum(alive), f"{_WORKERS}", is_kept=all(alive))
            await audit(caller.store)
            report.promise("audit of Redis", "nothing wrong", "nothing wrong", is_kept=True)
    return report.finish()


@contextlib.asynccontextmanager
async def _s3_away(stack: Stack, seconds: float) -> AsyncIterator[None]:
    stack.s3.kill()
    await asyncio.sleep(seconds)
    yield
    await asyncio.to_thread(stack.s3.start)


@contextlib.asynccontextmanager
async def _redis_frozen(stack: Stack, seconds: float) -> AsyncIterator[None]:
    stack.redis.freeze()
    await asyncio.sleep(seconds)
    yield
    stack.redis.thaw()


@contextlib.asynccontextmanager
async def _provider_down(caller: Caller, seconds: float) -> AsyncIterator[None]:
    async with caller.http.post(f"{caller.stack.simulator_url}/sim/faults", json={"down_s": seconds}) as answer:
        assert answer.status == 200
    await asyncio.sleep(seconds)
    yield


@dataclass
class Traffic:
    """`paid`: the prompts of paid edits by id; `refused`: how often each status was answered instead of 202."""

    caller: Caller
    image_id: str
    edits: list[str] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)
    paid: dict[str, str] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)

    async def through(self, report: Report, name: str, outage: "contextlib.AbstractAsyncContextManager[None]") -> None:
        """Submit before, in and after the outage; tell how long it takes until all is as it was."""
        first = len(self.edits)
        self.refused.clear()
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(self._feed(group))
            await self._batch()
            await asyncio.sleep(_CALM_S)
            async with outage:
                end = time.time()
            await asyncio.sleep(_CALM_S)
            feeding.cancel()
        mine = self.edits[first:]
        await until(lambda: self._ended(mine), lambda: f"{name}: not all ended", deadline_s=_RECOVERY_S)
        rows = await records_of(self.caller, mine, "created", "finished")
        times = [(int(created or 0) / 1000 - end, int(finished or 0) / 1000 - end) for created, finished in rows]
        held_up = [finished for created, finished in times if created < 0 < finished]
        report.tell(f"{name}: edits, accepted before its end and ended after", f"{len(mine)}, {len(held_up)}")
        report.tell(f"{name}: refused meanwhile, by status", dict(self.refused))
        report.tell(f"{name}: first submit after its end accepted after, s", min(created for created, _ in times if created >= 0))
        report.tell(f"{name}: first edit after its end done after, s", min(finished for _, finished in times if finished >= 0))
        report.tell(f"{name}: all that was held up done after, s", max(held_up, default=0.0))

    async def judge(self, report: Report) -> None:
        """Nothing lost, nothing paid twice, one event each."""
        rows = await records_of(self.caller, self.edits, "state", "kills", "error_code", "course")
        bad = [(edit, *row[:3]) for edit, row in zip(self.edits, rows, strict=True) if row[0] != "succeeded"]
        report.nothing_wrong("edits that did not succeed", bad, of=len(rows))
        killed = [edit for edit, row in zip(self.edits, rows, strict=True) if (row[1] or "0") != "0"]
        report.nothing_wrong("edits taken from a living worker", killed, of=len(rows))
        billed = Counter(submit["prompt"] for submit in await asyncio.to_thread(self.caller.stack.ledger))
        courses = {edit: json.loads(row[3] or "{}") for edit, row in zip(self.edits, rows, strict=True)}
        repeated, refunded = [], 0
        for edit, prompt in self.paid.items():
            # The provider could not fetch the picture while S3 was away: it says so, and refunds the task.
            unfetched = sum(
                _UNFETCHED in (attempt["error"] or "") for attempt in courses[edit]["attempts"] if attempt.get("error")
            )
            refunded += unfetched
            if billed[prompt] != 1 + unfetched:
                repeated.append((edit, billed[prompt], courses[edit]["attempts"]))
        report.nothing_wrong("paid calls that are not exactly one", repeated, of=len(self.paid))
        report.tell("of them made again, the provider having no picture (1402)", refunded)
        events = one_event_each(await feed_of(self.caller), self.edits, self.batches)
        report.nothing_wrong("ends that are not exactly one event", events, of=len(self.edits) + len(self.batches))

    async def _feed(self, group: asyncio.TaskGroup) -> None:
        number = 0
        while True:
            group.create_task(self._submit(number))
            number += 1
            await asyncio.sleep(_EVERY_S)

    async def _submit(self, number: int) -> None:
        """Half of them paid; half bring their picture along, half name one."""
        wishes, key = self._wishes(is_paid=number % 2 == 0), uuid.uuid4().hex
        while True:
            if number % 4 < 2:
                answer = await self.caller.post(**wishes, key=key)
            else:
                body = {**wishes, "image_id": self.image_id}
                answer = await self.caller.call("POST", "/process", json=body, headers={"Idempotency-Key": key})
            if answer.status == 202:
                break
            self.refused[answer.status] += 1
            assert answer.status in (0, 503), answer
            await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
        self._note(answer.json["id"], wishes)

    async def _batch(self) -> None:
        items = [{**self._wishes(is_paid=n % 2 == 0), "image_id": self.image_id} for n in range(_BATCH_ITEMS)]
        batch = await submit_batch(self.caller, items)
        self.batches.append(batch)
        for edit, item in zip(await self.caller.store.zrange(f"batch:{batch}:items", 0, -1), items, strict=True):
            self._note(edit, item)

    def _wishes(self, *, is_paid: bool) -> dict[str, Any]:
        if not is_paid:
            return {"prompt": "flip horizontally"}
        return {"prompt": f"paint it like {uuid.uuid4().hex} [[sim: slow=2s]]", "model": "qwen-edit"}

    def _note(self, edit: str, wishes: dict[str, Any]) -> None:
        self.edits.append(edit)
        if "model" in wishes:
            self.paid[edit] = wishes["prompt"]

    async def _ended(self, edits: list[str]) -> bool:
        await asyncio.sleep(0.2)
        return all(finished for (finished,) in await records_of(self.caller, edits, "finished"))
