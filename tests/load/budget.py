"""1 000 submits at once, at two gateways, against a limit that allows 100; then batches and single edits against another."""

import argparse
import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.audit import audit
from tests.end_to_end.bulk import post_batch, upload
from tests.end_to_end.caller import Answer, Caller, calling, until
from tests.end_to_end.stack import Stack
from tests.load.report import Report
from tests.load.tenants import tenant
from tests.pictures import encoded, photo

_MODEL = "qwen-edit"
_MICRO_USD = 20_000  #: of one call, by the catalogue
_ALLOWED = 100
_LIMIT_MICRO_USD = _ALLOWED * _MICRO_USD
_WORKERS = 2
_DEADLINE_S = 180.0
_BATCHES, _BATCH_ITEMS, _BESIDE = 12, 15, 60


def arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--submits", type=int, default=1_000)


async def run(asked: argparse.Namespace, folder: Path) -> int:
    """The whole run."""
    report = Report(f"budget: {asked.submits:,} submits at once at two gateways, a limit for {_ALLOWED}, {_WORKERS} workers")
    with Stack(folder, latency_s=0.2, EDIT_STUDIO_LEASE_S="15", EDIT_STUDIO_REDIS_TIMEOUT_S="10") as stack:
        other_url = await asyncio.to_thread(stack.start_another_gateway().ready)
        for worker in [stack.start_worker() for _ in range(_WORKERS)]:
            await asyncio.to_thread(worker.ready)
        async with calling(stack) as operator:
            first = await _Tenant.make(operator, "first", other_url)
            await first.submit(report, asked.submits)
            await first.ends(report)
            second = await _Tenant.make(operator, "second", other_url)
            await second.submit_both(report)
            await second.ends(report)
            billed = Counter(submit["prompt"] for submit in await asyncio.to_thread(stack.ledger))
            calls = len(first.accepted) + len(second.accepted)
            is_kept = (sum(billed.values()), len(billed)) == (calls, calls)
            report.promise("paid calls", sum(billed.values()), f"{calls}, one each", is_kept=is_kept)
            await audit(operator.store)
            report.promise("audit of Redis", "nothing wrong", "nothing wrong", is_kept=True)
    return report.finish()


@dataclass
class _Tenant:
    """One with a daily limit. `accepted`: ids of edits and items; `over`: what was seen above the limit."""

    name: str
    gateways: Sequence[Caller]
    image_id: str
    accepted: list[str] = field(default_factory=list)
    over: list[tuple[int, int]] = field(default_factory=list)
    looks: int = 0
    most: int = 0

    @classmethod
    async def make(cls, operator: Caller, name: str, other_url: str) -> "_Tenant":
        caller = await tenant(operator, name, daily_limit=_LIMIT_MICRO_USD / 1e6)
        other = Caller(caller.stack, caller.http, caller.store, caller.receiver, url=other_url, api_key=caller.api_key)
        return cls(name, (caller, other), await upload(caller, encoded(photo(size=(256, 256)), "PNG")))

    async def submit(self, report: Report, count: int) -> None:
        """All at once; again some when the limit is spent."""
        started = time.monotonic()
        answers = await self._watched([self._single(n) for n in range(count)])
        report.tell("all answered after, s", time.monotonic() - started)
        statuses = Counter(answer.status for answer in answers)
        self._keep(answers)
        is_kept = statuses == {202: _ALLOWED, 402: count - _ALLOWED}
        report.promise(
            "accepted / refused with 402", f"{statuses[202]} / {statuses[402]}", f"{_ALLOWED} / the others", is_kept=is_kept
        )
        codes = Counter(answer.json["code"] for answer in answers if answer.status == 402)
        report.promise("what the others were told", dict(codes), "budget_exceeded", is_kept=codes.keys() == {"budget_exceeded"})

    async def submit_both(self, report: Report) -> None:
        """Batches that are taken whole or not at all, and single edits, all at once."""
        batches = [self._batch(n) for n in range(_BATCHES)]
        answers = await self._watched([*batches, *(self._single(n) for n in range(_BESIDE))])
        self._keep(answers[_BATCHES:])
        taken = [answer for answer in answers[:_BATCHES] if answer.status == 202]
        store = self.gateways[0].store
        for answer in taken:
            self.accepted += await store.zrange(f"batch:{answer.json['id']}:items", 0, -1)
        statuses = Counter(answer.status for answer in answers)
        found = f"{len(taken)} of {_BATCH_ITEMS}, {len(self.accepted) - len(taken) * _BATCH_ITEMS}"
        is_kept = len(self.accepted) <= _ALLOWED and statuses.keys() == {202, 402}
        report.promise("batches and edits accepted together", found, f"at most {_ALLOWED}", is_kept=is_kept)

    async def ends(self, report: Report) -> None:
        """Everything that was accepted is done and charged, and nothing beyond it."""
        answers = await self._watched([self._all_ended(), *(self._single(n) for n in range(200))])
        late = [answer for answer in answers[1:] if answer.status == 202]
        self._keep(late)
        await self._all_ended()
        spent, reserved = await self._spending()
        what = f"tenant {self.name}: spent, reserved at the end, 1e-6 USD"
        is_kept = (spent, reserved) == (len(self.accepted) * _MICRO_USD, 0) and spent <= _LIMIT_MICRO_USD
        report.promise(what, f"{spent:,}, {reserved}", f"{len(self.accepted)} calls, 0", is_kept=is_kept)
        report.nothing_wrong(f"tenant {self.name}: instants above the limit of {_LIMIT_MICRO_USD:,}", self.over, of=self.looks)
        report.tell(f"tenant {self.name}: the most that was seen, 1e-6 USD", self.most)

    async def _watched(self, work: Sequence[Awaitable[Any]]) -> list[Any]:
        """All of it at once, while the spending is read as often as Redis answers."""
        done = asyncio.Event()

        async def watch() -> None:
            while not done.is_set():
                spent, reserved = await self._spending()
                self.looks += 1
                self.most = max(self.most, spent + reserved)
                if spent + reserved > _LIMIT_MICRO_USD:
                    self.over.append((spent, reserved))

        watching = asyncio.create_task(watch())
        try:
            return await asyncio.gather(*work)
        finally:
            done.set()
            await watching

    async def _spending(self) -> tuple[int, int]:
        store = self.gateways[0].store
        rows = [await store.hmget(key, "spent", "reserved") for key in await store.keys(f"spend:{self.name}:d*")]
        return sum(int(row[0] or 0) for row in rows), sum(int(row[1] or 0) for row in rows)

    async def _single(self, n: int) -> Answer:
        return await self.gateways[n % 2].call("POST", "/process", json=self._wishes())

    async def _batch(self, n: int) -> Answer:
        return await post_batch(self.gateways[n % 2], [self._wishes() for _ in range(_BATCH_ITEMS)])

    def _wishes(self) -> dict[str, Any]:
        return {"image_id": self.image_id, "prompt": f"paint it like {uuid.uuid4().hex}", "model": _MODEL}

    def _keep(self, answers: Sequence[Answer]) -> None:
        self.accepted += [answer.json["id"] for answer in answers if answer.status == 202]

    async def _all_ended(self) -> None:
        store = self.gateways[0].store

        async def so() -> bool:
            left = await store.hget("open", self.name), await store.hget("open:batches", self.name)
            return not any(int(count or 0) for count in left)

        await until(so, lambda: f"the edits of {self.name} did not end", deadline_s=_DEADLINE_S)
