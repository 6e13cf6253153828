"""Batches in Redis: expanded in chunks that nobody sees, promised in one step, steered, counted."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.edit import EditSpec
from shared.errors import IdempotencyInFlight, NotFound, QueueFull, StoreUnavailable
from shared.job import Course
from shared.settings import Settings
from shared.store.budget import budget_exceeded
from shared.store.connection import Argument, Scripts
from shared.store.jobs import IDEMPOTENCY_MS, TOMBSTONE_MS, hook_of
from shared.store.listing import not_a_cursor
from shared.store.retention import borrowed_from, keep_pictures

CHUNK_MAX = 500
ABANDONED_AFTER_MS = 600_000
#: No item's deadline is further away than a day.
_LONGEST_LIFE_MS = 2 * 86_400_000
_STEP = 200
#: How long a request is held for what its batch leaves to do.
_PATIENCE_S = 2.0

BatchState = Literal["expanding", "running", "held", "canceled", "completed", "completed_with_errors"]
Counted = Literal["total", "queued", "running", "succeeded", "failed", "canceled"]


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to be expanded. `max_micro_usd`: 1e-6 USD, None: no limit of its own.

    `canary`: how many items run before it is held, 0: none. `stop_rate`: the share of failed items above which it is held,
    looked at from the 20th on; 0: never. `hook_events`: `batch.completed`, `batch.held`.
    """

    id: str
    tenant: str
    name: str = ""
    metadata: str = "{}"
    max_micro_usd: int | None = None
    canary: int = 0
    stop_rate: float = 0.0
    webhook_url: str = ""
    webhook_events: Sequence[str] = ()
    parent: str = ""
    bulk: bool = True


@dataclass(frozen=True, slots=True)
class NewItem:
    """One item. `failed`: the course of one that cannot be done, with its error. `twin_of`: the id of its like in this batch.

    `deadline_s`: from now.
    """

    id: str
    lane: str
    spec: EditSpec
    deadline_s: int
    reserved_micro_usd: int = 0
    twin_of: str = ""
    failed: Course | None = None


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """The hash `batch:{id}`. Times are ms of Redis' clock, money 1e-6 USD. `held_reason`: `canary`, `failure_rate`, `max_cost`.

    `version` grows with every change of a count or of the state. `reserved`: by items that have not ended. `broken`: how many
    of the failed ones failed before the batch began.
    """

    id: str
    tenant: str
    state: BatchState
    held_reason: str
    counts: dict[Counted, int]
    version: int
    name: str
    metadata: str
    parent: str
    bulk: bool
    webhook_url: str
    webhook_events: tuple[str, ...]
    canary: int
    stop_rate: float
    broken: int
    estimated_micro_usd: int
    reserved_micro_usd: int
    spent_micro_usd: int
    max_micro_usd: int | None
    created: int
    finished: int | None
    expires: int | None


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Newest first. `next_cursor`: None when there is no more."""

    records: list[BatchRecord]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Opened:
    """`earlier`: the id and the fingerprint of the batch that this Idempotency-Key made before."""

    earlier: tuple[str, str] | None = None


class Batches:
    """What the gateway does with batches; the maintenance of workers calls `step` too."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._retention_ms = settings.retention_s * 1000
        self._quota = settings.batch_quota
        self._window = 2 * settings.running_cap

    async def open(self, batch: NewBatch, *, idempotency_key: str = "") -> Opened:
        """Begin. Raises IdempotencyInFlight while an earlier request with this key is still being expanded."""
        fields: dict[str, Argument] = {
            "name": batch.name,
            "metadata": batch.metadata,
            "gate": batch.canary,
            "canary": batch.canary,
            "stop_rate": str(batch.stop_rate),
            "url": batch.webhook_url,
            "events": ",".join(event.removeprefix("batch.") for event in batch.webhook_events),
            "parent": batch.parent,
            "bulk": int(batch.bulk),
            "window": self._window,
            "retention_ms": self._retention_ms,
        }
        if batch.max_micro_usd is not None:
            fields["max_micro_usd"] = batch.max_micro_usd
        flat: list[Argument] = [part for pair in fields.items() for part in pair]
        answer = await self._scripts.run(
            "batch_open",
            f"batch:{batch.id}",
            batch.id,
            batch.tenant,
            idempotency_key,
            IDEMPOTENCY_MS,
            ABANDONED_AFTER_MS,
            *flat,
        )
        if answer[0] == "in_flight":
            raise IdempotencyInFlight("an earlier request with this Idempotency-Key is still being read", retry_after_s=1)
        return Opened((answer[1], answer[2]) if answer[0] == "replay" else None)

    async def stage(
        self,
        batch_id: str,
        items: Sequence[NewItem],
        *,
        first_index: int,
        bulk: bool,
        request_id: str,
        key_id: str,
    ) -> None:
        """Add a chunk of at most 500 items. Sent again it changes nothing.

        Raises:
            QueueFull: the tenant would have more than `batch_quota` unfinished items.
            BudgetExceeded: the batch's own limit or one of the tenant's does not allow these items.
            NotFound: the batch is gone; nothing was added for ten minutes.
        """
        flat: list[Argument] = []
        for item in items:
            error = item.failed.error if item.failed else None
            flat += [
                item.id,
                item.lane,
                item.reserved_micro_usd,
                hook_of(item.spec),
                item.spec.to_record(item.id),
                item.twin_of,
                error.code if error else "",
                item.failed.model_dump_json(exclude_defaults=True) if item.failed else "",
                item.deadline_s * 1000,
            ]
        borrowed = borrowed_from((item.spec for item in items), own=[item.id for item in items])
        await keep_pictures(self._scripts, borrowed, retention_ms=self._retention_ms)
        answer = await self._scripts.run(
            "stage",
            f"batch:{batch_id}",
            batch_id,
            int(bulk),
            request_id,
            key_id,
            self._quota,
            self._retention_ms,
            self._retention_ms + TOMBSTONE_MS,
            ABANDONED_AFTER_MS,
            first_index,
            *flat,
        )
        if answer[0] == "budget":
            raise budget_exceeded(*answer[1:])
        if answer[0] == "full":
            raise QueueFull("too many unfinished batch items; wait until some have ended", retry_after_s=60)
        if answer[0] == "absent":
            raise NotFound("the batch is gone: nothing was added to it for ten minutes")

    async def commit(self, batch_id: str, *, fingerprint: str) -> int:
        """Promise the batch; answers how many items it has. Sent again it changes nothing. Raises NotFound."""
        listed_ms = self._retention_ms + _LONGEST_LIFE_MS
        total = int(await self._scripts.run("commit", f"batch:{batch_id}", batch_id, fingerprint, listed_ms))
        if total < 0:
            raise NotFound("the batch is gone: nothing was added to it for ten minutes")
        return total

    async def abandon(self, tenant: str, batch_id: str) -> None:
        """Give up a batch that was not committed: it leaves nothing."""
        await self._scripts.run("batch_steer", f"batch:{batch_id}", batch_id, tenant, "abandon", "")
        await self.step_through(within_s=_PATIENCE_S)

    async def cancel(self, tenant: str, batch_id: str) -> BatchRecord:
        """End what is waiting and ask what is running to stop. Of one that has ended: as it is. Raises NotFound.

        Of a very long one some items are still waiting then, and end within the next seconds.
        """
        await self._steer(tenant, batch_id, "cancel", None)
        await self.step_through(within_s=_PATIENCE_S)
        return await self.get(tenant, batch_id)

    async def release(self, tenant: str, batch_id: str, *, max_micro_usd: int | None = None) -> BatchRecord:
        """Let a held batch go on, with another limit if one is given. Raises NotFound."""
        await self._steer(tenant, batch_id, "release", max_micro_usd)
        return await self.get(tenant, batch_id)

    async def step(self) -> int:
        """Do some of what cancels, abandoned batches and twins leave to do; answers how many items were dealt with."""
        return int(await self._scripts.run("batch_step", "batches", self._retention_ms, _STEP))

    async def step_through(self, *, within_s: float = math.inf) -> None:
        """All of it, or what can be done in that time. Workers do the rest."""
        until = time.monotonic() + within_s
        while await self.step() and time.monotonic() < until:
            continue

    async def get(self, tenant: str, batch_id: str) -> BatchRecord:
        """One batch. Raises NotFound (also for another tenant's, and while it is being expanded), StoreUnavailable."""
        fields: dict[str, str] = await self._scripts.command("HGETALL", f"batch:{batch_id}")
        if not fields or fields["tenant"] != tenant or fields["state"] in ("expanding", "abandoned"):
            raise NotFound("there is no batch with this id")
        return _record(batch_id, fields)

    async def page(self, tenant: str, *, limit: int, cursor: str | None) -> BatchPage:
        """Some of a tenant's batches, newest first. `cursor`: the id of the last one that was seen.

        Raises ValidationFailed for a cursor that is none, or no longer; StoreUnavailable.
        """
        start = 0
        if cursor is not None:
            rank = await self._scripts.command("ZREVRANK", f"tbatches:{tenant}", cursor)
            if rank is None:
                raise not_a_cursor()
            start = int(rank) + 1
        ids: list[str] = await self._scripts.command("ZREVRANGE", f"tbatches:{tenant}", start, start + limit)
        rows = await asyncio.gather(*(self._scripts.command("HGETALL", f"batch:{batch_id}") for batch_id in ids[:limit]))
        records = [_record(batch_id, fields) for batch_id, fields in zip(ids, rows, strict=False) if fields]
        return BatchPage(records, ids[limit - 1] if len(ids) > limit else None)

    async def version(self, tenant: str, batch_id: str) -> int:
        """Cheaper than `get`; raises like it."""
        owner, version = await self._scripts.command("HMGET", f"batch:{batch_id}", "tenant", "version")
        if owner != tenant:
            raise NotFound("there is no batch with this id")
        return int(version or 0)

    async def item_ids(self, batch_id: str, *, start: int, count: int) -> list[str]:
        """Ids of items, by index. The caller has checked that the batch is the tenant's."""
        ids: list[str] = await self._scripts.command("ZRANGE", f"batch:{batch_id}:items", start, start + count - 1)
        return ids

    async def _steer(self, tenant: str, batch_id: str, action: str, max_micro_usd: int | None) -> None:
        limit: Argument = "" if max_micro_usd is None else max_micro_usd
        answer = await self._scripts.run("batch_steer", f"batch:{batch_id}", batch_id, tenant, action, limit)
        if answer in ("absent", "expanding", "abandoned"):
            raise NotFound("there is no batch with this id")


def _record(batch_id: str, fields: dict[str, str]) -> BatchRecord:
    def number(name: str) -> int:
        return int(fields.get(name) or 0)

    state = fields["state"]
    if state not in ("running", "held", "canceled", "completed", "completed_with_errors"):
        raise StoreUnavailable(f"the batch is in a state that this version does not know: {state}")
    return BatchRecord(
        id=batch_id,
        tenant=fields["tenant"],
        state=state,  # type: ignore[arg-type]  # checked above
        held_reason=fields.get("held_reason", ""),
        counts={
            "total": number("total"),
            "queued": number("left") - number("running"),
            "running": number("running"),
            "succeeded": number("succeeded"),
            "failed": number("failed"),
            "canceled": number("canceled"),
        },
        version=number("version"),
        name=fields.get("name", ""),
        metadata=fields.get("metadata", "{}"),
        parent=fields.get("parent", ""),
        bulk=fields.get("bulk") != "0",
        webhook_url=fields.get("url", ""),
        webhook_events=tuple(f"batch.{event}" for event in fields.get("events", "").split(",") if event),
        canary=number("canary"),
        stop_rate=float(fields.get("stop_rate") or 0),
        broken=number("broken"),
        estimated_micro_usd=number("estimated"),
        reserved_micro_usd=number("reserved"),
        spent_micro_usd=number("spent"),
        max_micro_usd=int(fields["max_micro_usd"]) if fields.get("max_micro_usd") else None,
        created=number("created"),
        finished=number("finished") or None,
        expires=number("expires") or None,
    )
