"""Edits in Redis as the gateway sees them: accepted, read, listed, canceled, deleted."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.edit import EditSpec
from shared.errors import (
    AlreadyFinished,
    Gone,
    IdempotencyMismatch,
    NotFinished,
    NotFound,
    QueueFull,
)
from shared.job import Course, JobRecord, JobState, StoredOutput
from shared.settings import Settings
from shared.store.budget import budget_exceeded
from shared.store.connection import Scripts, pairs
from shared.store.listing import read_cursor, scored, write_cursor
from shared.store.retention import borrowed_from, kept_ms

IDEMPOTENCY_MS = 86_400_000
TOMBSTONE_MS = 30 * 86_400_000
_SCANNED_A_PAGE = 2_000
_CHUNK = 100
_PROVIDER_SEEN_S = 60


@dataclass(frozen=True, slots=True)
class NewJob:
    """An edit to be accepted. `deadline_s`: seconds from now; `lane`: the provider that will probably do it.

    `reserved_micro_usd`: what it will probably cost, in 1e-6 USD; it counts against the tenant's limits from now on.
    `trace`: the W3C `traceparent` that the edit's spans belong under.
    """

    id: str
    tenant: str
    lane: str
    spec: EditSpec
    deadline_s: int
    request_id: str
    parent: str = ""
    key_id: str = ""
    reserved_micro_usd: int = 0
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The caller's Idempotency-Key (hashed) and the fingerprint of what was asked under it."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """`replayed`: the record is of an earlier request with the same Idempotency-Key."""

    record: JobRecord
    replayed: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first. `next_cursor`: None when there is no more."""

    records: list[JobRecord]
    next_cursor: str | None


class Jobs:
    """What the gateway does with job records; `shared.store.leases` has the workers' part."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._retention_ms = settings.retention_s * 1000
        self._quota = settings.queue_quota
        self._providers: tuple[float, tuple[str, ...]] = (-1e9, ())

    async def accept(self, job: NewJob, *, idempotency: Idempotency | None = None) -> Accepted:
        """Promise an edit. Sent again with the same id it changes nothing.

        Raises:
            IdempotencyMismatch: the key was used for another request.
            QueueFull: the tenant has `queue_quota` unfinished edits.
            BudgetExceeded: a spending limit does not allow it.
            Overloaded, StoreUnavailable.
        """
        key, fingerprint = (idempotency.key, idempotency.fingerprint) if idempotency else ("", "")
        spec = job.spec
        answer, job_id, rest = await self._scripts.run(
            "accept",
            f"job:{job.id}",
            job.id,
            job.tenant,
            job.lane,
            1 if spec.priority == "bulk" else 0,
            job.deadline_s * 1000,
            spec.to_record(job.id),
            hook_of(spec),
            job.request_id,
            job.parent,
            self._quota,
            key,
            fingerprint,
            IDEMPOTENCY_MS,
            self._retention_ms + TOMBSTONE_MS,
            job.key_id,
            job.reserved_micro_usd,
            job.trace,
            kept_ms(self._retention_ms),
            *borrowed_from((spec,), own=(job.id,)),
        )
        if answer == "mismatch":
            raise IdempotencyMismatch("this Idempotency-Key was used for another request; use a new key for a new request")
        if answer == "full":
            raise QueueFull("too many unfinished edits; wait until some have ended", retry_after_s=10)
        if answer == "budget":
            raise budget_exceeded(*rest)
        # An earlier edit may have been deleted meanwhile: then `get` says so.
        known = None if answer == "replay" else spec
        record = JobRecord.from_hash(job_id, pairs(rest), spec=known) if rest else await self.get(job.tenant, job_id)
        return Accepted(record, answer == "replay")

    async def replay(self, tenant: str, idempotency: Idempotency) -> JobRecord | None:
        """The edit of an earlier request with this key, or None. Raises IdempotencyMismatch, StoreUnavailable."""
        seen = await self._scripts.command("HMGET", f"idem:{tenant}:{idempotency.key}", "fp", "id")
        if seen[0] is None:
            return None
        if seen[0] != idempotency.fingerprint:
            raise IdempotencyMismatch("this Idempotency-Key was used for another request; use a new key for a new request")
        return await self.get(tenant, seen[1])

    async def get(self, tenant: str, job_id: str) -> JobRecord:
        """One edit. Raises NotFound (also for another tenant's), Gone (deleted or past its retention), StoreUnavailable."""
        fields: dict[str, str] = await self._scripts.command("HGETALL", f"job:{job_id}")
        if not fields or fields.get("tenant") != tenant:
            await self._raise_absent(tenant, job_id)
        return JobRecord.from_hash(job_id, fields)

    async def output(self, tenant: str, job_id: str) -> StoredOutput | None:
        """The result of an edit, None if it has none (yet). Cheaper than `get`; raises like it."""
        owner, course = await self._scripts.command("HMGET", f"job:{job_id}", "tenant", "course")
        if owner != tenant:
            await self._raise_absent(tenant, job_id)
        return Course.model_validate_json(course).output if course else None

    async def version(self, tenant: str, job_id: str) -> int:
        """The version of an edit's record, which grows with every visible change. Cheaper than `get`; raises like it."""
        owner, version = await self._scripts.command("HMGET", f"job:{job_id}", "tenant", "version")
        if owner != tenant:
            await self._raise_absent(tenant, job_id)
        return int(version)

    async def queue_position(self, record: JobRecord) -> int | None:
        """How many of the tenant's own edits come before this one in its lane; None unless it waits for a worker."""
        if record.state is not JobState.QUEUED:
            return None
        rank = await self._scripts.command("ZRANK", f"ready:{record.lane}:{record.tenant}", record.id)
        return None if rank is None else int(rank)

    async def page(
        self,
        tenant: str,
        *,
        status: JobState | None = None,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
        batch_id: str | None = None,
        created_after_ms: int | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page:
        """Some of a tenant's edits, newest first. Looks at no more than 2 000 records: a short page may still have a next.

        Raises ValidationFailed for a cursor that is not ours, StoreUnavailable.
        """
        wanted = {"model": model, "status": status, "metadata": dict(metadata or {}), "after": created_after_ms or 0}
        offset, after_id = read_cursor(cursor)
        oldest = f"({created_after_ms}" if created_after_ms is not None else "-inf"
        found: list[JobRecord] = []
        promised: dict[str, bool] = {"": True}
        scanned = 0
        while scanned < _SCANNED_A_PAGE:
            if batch_id is None:
                listed = await self._chunk(tenant, offset, oldest, after_id)
            else:
                listed = await self._items(tenant, batch_id, before=offset)
            if not listed:
                return Page(found, None)
            for (job_id, place), record in zip(listed, await self.load(tenant, [i for i, _ in listed]), strict=True):
                scanned += 1
                offset, after_id = place, job_id
                if record is None or not _matches(record, wanted):
                    continue
                if record.batch not in promised:
                    promised[record.batch] = await self._is_promised(tenant, record.batch)
                if promised[record.batch]:
                    found.append(record)
                    if len(found) == limit:
                        return Page(found, write_cursor(offset, after_id))
        return Page(found, write_cursor(offset or 0, after_id))

    async def load(self, tenant: str, ids: Sequence[str]) -> list[JobRecord | None]:
        """The records of these edits; None for one that is gone or another tenant's."""
        rows: list[dict[str, str]] = await asyncio.gather(*(self._scripts.command("HGETALL", f"job:{i}") for i in ids))
        return [JobRecord.from_hash(i, row) if row.get("tenant") == tenant else None for i, row in zip(ids, rows, strict=True)]

    async def cancel(self, tenant: str, job_id: str) -> JobRecord:
        """Stop a queued edit at once, ask the worker of a running one.

        Raises AlreadyFinished, NotFound, Gone, StoreUnavailable.
        """
        answer = await self._scripts.run("cancel", f"job:{job_id}", job_id, tenant, self._retention_ms)
        if answer in ("succeeded", "failed"):
            raise AlreadyFinished(f"the edit has already {answer}")
        record = await self.get(tenant, job_id)
        if answer == "absent":
            # An item of a batch that is not promised yet.
            raise NotFound("there is no edit with this id")
        return record

    async def purge(self, tenant: str, job_id: str) -> JobRecord:
        """Delete a finished edit's record; answers what it was. Raises NotFinished, NotFound, Gone, StoreUnavailable."""
        record = await self.get(tenant, job_id)
        if not record.state.terminal:
            raise NotFinished("the edit has not ended yet; cancel it first")
        await self._scripts.run("purge", f"job:{job_id}", job_id, tenant, TOMBSTONE_MS)
        return record

    async def providers_seen(self) -> tuple[str, ...]:
        """Providers that a live worker is configured for, as of at most a second ago."""
        if time.monotonic() - self._providers[0] > 1.0:
            since_ms = int((time.time() - _PROVIDER_SEEN_S) * 1000)
            names = await self._scripts.command("ZRANGEBYSCORE", "providers", since_ms, "+inf")
            self._providers = (time.monotonic(), tuple(names))
        return self._providers[1]

    async def _raise_absent(self, tenant: str, job_id: str) -> None:
        owner = await self._scripts.command("GET", f"gone:{job_id}")
        if owner == tenant:
            raise Gone("this edit was deleted")
        created = await self._scripts.command("ZSCORE", f"tjobs:{tenant}", job_id)
        if created is not None:
            ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((float(created) + self._retention_ms) / 1000))
            raise Gone(f"this edit was kept until about {ended}")
        raise NotFound("there is no edit with this id")

    async def _chunk(self, tenant: str, newest_ms: int | None, oldest: str, after_id: str) -> list[tuple[str, int]]:
        """Up to 100 (id, created) at or before `newest_ms`, past `after_id`, which sorts ids of the same millisecond."""
        newest = "+inf" if newest_ms is None else str(newest_ms)
        offset = 0
        while True:
            rows = await self._scripts.command(
                "ZREVRANGEBYSCORE", f"tjobs:{tenant}", newest, oldest, "WITHSCORES", "LIMIT", offset, _CHUNK
            )
            listed = [(job_id, int(score)) for job_id, score in scored(rows)]
            fresh = [row for row in listed if newest_ms is None or row[1] < newest_ms or row[0] < after_id]
            if fresh or len(listed) < _CHUNK:
                return fresh
            offset += _CHUNK

    async def _items(self, tenant: str, batch_id: str, *, before: int | None) -> list[tuple[str, int]]:
        """Up to 100 (id, index) of a batch, the last first; none of one that is not the tenant's."""
        if not await self._is_promised(tenant, batch_id):
            return []
        newest = "+inf" if before is None else f"({before}"
        rows = await self._scripts.command(
            "ZREVRANGEBYSCORE", f"batch:{batch_id}:items", newest, "-inf", "WITHSCORES", "LIMIT", 0, _CHUNK
        )
        return [(job_id, int(index)) for job_id, index in scored(rows)]

    async def _is_promised(self, tenant: str, batch_id: str) -> bool:
        """Whether a batch is the tenant's and was committed. One that is past its retention was."""
        owner, state = await self._scripts.command("HMGET", f"batch:{batch_id}", "tenant", "state")
        return owner in (tenant, None) and state not in ("expanding", "abandoned")


def hook_of(spec: EditSpec) -> str:
    """Which ends the caller wants to hear of at the edit's own URL, as the scripts read it."""
    return ",".join(event.value.removeprefix("edit.") for event in spec.webhook_events) if spec.webhook_url else ""


def _matches(record: JobRecord, wanted: Mapping[str, Any]) -> bool:
    if wanted["status"] is not None and record.state is not wanted["status"]:
        return False
    if wanted["model"] is not None and wanted["model"] not in (record.course.model, record.spec.model):
        return False
    if record.created <= wanted["after"]:
        return False
    return all(record.spec.metadata.get(key) == value for key, value in wanted["metadata"].items())
