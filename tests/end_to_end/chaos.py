"""Random kill -9 of workers, gateway and Redis under a load of single edits and batches."""

import asyncio
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from tests.end_to_end.bulk import CountWatch, submit_batch, upload
from tests.end_to_end.caller import PICTURE, Caller, until
from tests.end_to_end.known_edits import POSTED, PROMPTS, picture_bytes

_PICTURES = 12
_BATCH_ITEMS = (20, 80)
_BATCH_CHANCE = 0.03  #: then three of five edits are in batches
_PAID = 1 / 3
_UNFINISHED_MAX = 400
_END_S = 300.0


@dataclass
class Load:
    """What was accepted. `known`: picture and prompt of the edits whose result is known; `paid`: prompts of the others."""

    singles: list[str] = field(default_factory=list)
    batches: dict[str, list[str]] = field(default_factory=dict)
    known: dict[str, tuple[int, str]] = field(default_factory=dict)
    paid: dict[str, str] = field(default_factory=dict)

    @property
    def edits(self) -> list[str]:
        """All of them."""
        return [*self.singles, *(edit for items in self.batches.values() for edit in items)]

    def note(self, edit: str, number: int, wishes: dict[str, Any]) -> None:
        """Remember what was asked for."""
        if "model" in wishes:
            self.paid[edit] = wishes["prompt"]
        else:
            self.known[edit] = number, wishes["prompt"]


class Chaos:
    """Feeds so many edits, and kills so many processes meanwhile. The seed decides what and when, not how it comes out."""

    def __init__(self, caller: Caller, seed: int, *, edits: int, kills: int, edits_a_second: float, workers: int = 3) -> None:
        self.caller = caller
        self.load = Load()
        self.killed: Counter[str] = Counter()
        self.watches: list[CountWatch] = []
        self._chance = random.Random(seed)
        self._edits, self._kills, self._workers, self._rate = edits, kills, workers, edits_a_second
        self._fed = 0
        self._uploads: list[str] = []
        self._large = ""

    async def run(self) -> None:
        """All of it; at the end every edit has ended, and every server and worker runs."""
        self._uploads = [await upload(self.caller, picture_bytes(number)) for number in range(_PICTURES)]
        self._large = await upload(self.caller, PICTURE)
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._keep_workers())
            killing = group.create_task(self._kill())
            await self._feed()
            await killing
            await until(self._all_ended, lambda: "some edits did not end", deadline_s=_END_S)
            keeping.cancel()

    async def _feed(self) -> None:
        async with asyncio.TaskGroup() as group:
            while self._fed < self._edits:
                await until(self._is_room, lambda: "the edits do not end", deadline_s=_END_S)
                size = 1
                if self._chance.random() < _BATCH_CHANCE:
                    size = min(self._edits - self._fed, self._chance.randint(*_BATCH_ITEMS))
                self._fed += size
                group.create_task(self._submit() if size == 1 else self._submit_batch(size))
                await asyncio.sleep(self._chance.expovariate(self._rate / size))

    async def _submit(self) -> None:
        wishes = self._wishes()
        edit = await self.caller.submit(**wishes)
        self.load.singles.append(edit)
        self.load.note(edit, POSTED, wishes)

    async def _submit_batch(self, size: int) -> None:
        caller, numbers = self.caller, [self._chance.randrange(_PICTURES) for _ in range(size)]
        items = [self._wishes() for _ in range(size)]
        for item, number in zip(items, numbers, strict=True):
            item["image_id"] = self._large if "model" in item else self._uploads[number]
        # In every second batch the items tell of themselves, too.
        each = {"webhook_url": caller.receiver.url} if self._chance.random() < 0.5 else {}
        batch = await submit_batch(caller, items, defaults=each, webhook_url=caller.receiver.url)
        watch = CountWatch(caller, batch, size)
        self.watches.append(watch)
        edits = self.load.batches[batch] = await self._items_of(batch, size)
        for edit, number, item in zip(edits, numbers, items, strict=True):
            self.load.note(edit, number, item)
        while not watch.batch.get("finished_at"):
            await watch.look()
            await watch.compare()
            await asyncio.sleep(1.0)

    def _wishes(self) -> dict[str, Any]:
        if self._chance.random() >= _PAID:
            return {"prompt": self._chance.choice(PROMPTS)}
        slow_s = self._chance.uniform(0.3, 3.0)
        return {"prompt": f"paint it like {uuid.uuid4().hex} [[sim: slow={slow_s:.2f}s]]", "model": "qwen-edit"}

    async def _items_of(self, batch: str, size: int) -> list[str]:
        edits: list[str] = []

        async def so() -> bool:
            nonlocal edits
            try:
                edits = await self.caller.store.zrange(f"batch:{batch}:items", 0, -1)
            except (RedisError, OSError):
                return False
            return len(edits) == size

        await until(so, lambda: f"{batch} has {len(edits)} items, not {size}")
        return edits

    async def _unfinished(self) -> int:
        """How many accepted edits have not ended; many while Redis is away. Items that nobody was promised do not count."""
        try:
            singles = int(await self.caller.store.hget("open", "default") or 0)  # type: ignore[misc]
        except (RedisError, OSError):
            return self._edits
        counts = [watch.batch["counts"] if watch.batch else {"queued": watch.total, "running": 0} for watch in self.watches]
        return singles + sum(one["queued"] + one["running"] for one in counts)

    async def _is_room(self) -> bool:
        return await self._unfinished() < _UNFINISHED_MAX

    async def _all_ended(self) -> bool:
        return not await self._unfinished()

    async def _kill(self) -> None:
        """One after the other, in step with what was fed."""
        stack = self.caller.stack
        for number in range(self._kills):
            await asyncio.sleep(self._chance.uniform(1.0, 2.5))
            while self._fed * self._kills < number * self._edits:
                await asyncio.sleep(0.1)
            kind = self._chance.choices(("worker", "gateway", "redis"), (8, 1, 1))[0]
            self.killed[kind] += 1
            if kind == "worker":
                # One that has only just started has nothing to lose.
                await until(self._is_ready, lambda: "no worker becomes ready")
                self._chance.choice([worker for worker in stack.workers() if worker.is_ready]).kill()
            elif kind == "gateway":
                stack.gateway.kill()
                await asyncio.to_thread(stack.start_gateway().ready)
            else:
                stack.redis.kill()
                await asyncio.sleep(self._chance.uniform(0.1, 2.0))
                await asyncio.to_thread(stack.redis.start)

    async def _is_ready(self) -> bool:
        return any(worker.is_ready for worker in self.caller.stack.workers())

    async def _keep_workers(self) -> None:
        """What a supervisor does. A worker that finds no Redis when it starts ends, and is started again."""
        while True:
            for _ in range(self._workers - len(self.caller.stack.workers())):
                self.caller.stack.start_worker()
            await asyncio.sleep(0.5)
