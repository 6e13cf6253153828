"""Batches in Redis: expanded in chunks that nobody sees, promised in one step, steered, counted."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from shared.edit import EditSpec
from shared.errors import FieldError, IdempotencyInFlight, NotFound, QueueFull, ValidationFailed
from shared.job import Course
from shared.settings import Settings
from shared.store.batch_record import BatchRecord
from shared.store.budget import budget_exceeded
from shared.store.connection import Argument, Scripts
from shared.store.jobs import IDEMPOTENCY_MS, TOMBSTONE_MS, hook_of
from shared.store.listing import not_a_cursor
from shared.store.retention import borrowed_from, keep_pictures
from shared.turns import Turns

CHUNK_MAX = 500
#: How long a batch that is being expanded outlives the last word of its gateway. Then it is dropped, and its key is free.
LEASE_MS = 45_000
#: No item's deadline is further away than a day.
_LONGEST_LIFE_MS = 2 * 86_400_000
_STEP = 200
#: How long a request is held for what its batch leaves to do.
_PATIENCE_S = 2.0


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
        """Begin; to be renewed until it is committed. Raises IdempotencyInFlight while an earlier request with this key is read.

        An earlier one whose lease ran out is given up for this one.
        """
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
            LEASE_MS,
            *flat,
        )
        if answer[0] == "in_flight":
            raise IdempotencyInFlight("an earlier request with this Idempotency-Key is still being read", retry_after_s=1)
        if answer[0] == "taken_over":
            # What the earlier one has reserved is not to stand in the way of this one.
            await self.step_through(within_s=_PATIENCE_S)
        return Opened((answer[1], answer[2]) if answer[0] == "replay" else None)

    async def renew(self, batch_id: str) -> None:
        """Say that the batch is still being expanded. Raises NotFound: it is gone; StoreUnavailable, Overloaded."""
        if not await self._scripts.run("batch_renew", f"batch:{batch_id}", batch_id, LEASE_MS):
            raise _gone()

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
            NotFound: the batch is gone; its lease ran out, or the request was repeated after that.
        """
        flat: list[Argument] = []
        turns = Turns()
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
            await turns.give()
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
            LEASE_MS,
            first_index,
            *flat,
        )
        if answer[0] == "budget":
            raise budget_exceeded(*answer[1:])
        if answer[0] == "full":
            raise QueueFull("too many unfinished batch items; wait until some have ended", retry_after_s=60)
        if answer[0] == "absent":
            raise _gone()

    async def commit(self, batch_id: str, *, fingerprint: str) -> int:
        """Promise the batch; answers how many items it has. Sent again it changes nothing. Raises NotFound."""
        listed_ms = self._retention_ms + _LONGEST_LIFE_MS
        total = int(await self._scripts.run("commit", f"batch:{batch_id}", batch_id, fingerprint, listed_ms))
        if total < 0:
            raise _gone()
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
        """Let a held batch go on, with another limit if one is given. Raises NotFound.

        Raises ValidationFailed for a limit below what is spent and reserved: edits that run would break it.
        """
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
        return BatchRecord.from_hash(batch_id, fields)

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
        records = [BatchRecord.from_hash(batch_id, fields) for batch_id, fields in zip(ids, rows, strict=False) if fields]
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
        if answer.isdecimal():
            message = (
                f"{int(answer) / 1e6:.6f} USD are spent or reserved by its items; cancel the batch, or leave it at least that"
            )
            raise ValidationFailed(message, errors=[FieldError("/max_cost", "invalid_value", message)])


def _gone() -> NotFound:
    return NotFound("the batch is gone: nothing was heard of its request for a while, or it was repeated; send it again")
