"""Edits in Redis as the workers see them: taken, held, finished, given back. Each change is fenced by the edit's `gen`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.job import Course, JobRecord, JobState
from shared.settings import Settings
from shared.store.budget import budget_exceeded
from shared.store.connection import Argument, Scripts, pairs

KILLS_MAX = 3
_LONGEST_DELAY_MS = 60_000
_DUE_A_CALL = 200
_BURST_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Release:
    """How an edit is given back. `failed`: counts as a failure, and against what its lane may retry.

    `pause_s`: nobody takes from the lane for so long, because its provider asked for that.
    """

    delay_s: float = 0.0
    lane: str = ""
    waiting_on: Literal["worker", "provider", "provider_queue", "rate_limit", "retry_backoff", "storage"] = "worker"
    failed: bool = False
    pause_s: float = 0.0


class BatchHeld(Exception):
    """The edit would cost more than is left of its batch's `max_cost`: it waits, as the batch does, for its owner."""


class Leases:
    """What workers do. With `patience_s` a call repeats itself while Redis is away: an edit's result is in the worker's hands."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._retention_ms = settings.retention_s * 1000
        self._lease_ms = int(settings.lease_s * 1000)
        self._cap = settings.running_cap

    async def take(self, worker: str, *, nonce: str, want: int, providers: Sequence[str] = ()) -> list[JobRecord]:
        """At most `want` edits for this worker, each now running and leased. The same nonce answers the same edits again.

        `providers`: those it is configured for. Lanes of others are left to others, as long as there are any.
        """
        mine = f",{','.join(providers)},"
        arguments = (worker, nonce, want, self._lease_ms, self._cap, self._retention_ms, mine)
        rows: list[tuple[str, list[str]]] = await self._scripts.run("take", f"took:{worker}", *arguments)
        return [record for job_id, flat in rows if (record := _readable(job_id, flat)) is not None]

    async def renew(
        self,
        worker: str,
        *,
        slots: int,
        providers: Sequence[str],
        held: Sequence[tuple[str, int]],
        draining: bool = False,
        lag_s: float = 0.0,
    ) -> list[Literal["ok", "cancel", "lost"]]:
        """The heartbeat, for all edits in hand at once. `lag_s`: how late the worker's loop is."""
        flat: list[Argument] = [value for pair in held for value in pair]
        answers: list[Literal["ok", "cancel", "lost"]] = await self._scripts.run(
            "renew",
            f"worker:{worker}",
            worker,
            slots,
            ",".join(providers),
            self._lease_ms,
            int(draining),
            int(lag_s * 1000),
            *flat,
        )
        return answers

    async def checkpoint(self, record: JobRecord, *, patience_s: float = 0.0, **fields: Argument) -> bool:
        """Write progress; False: the edit is no longer this worker's. A value of `@now` becomes Redis' time in ms."""
        flat: list[Argument] = [value for pair in fields.items() for value in pair]
        key = f"job:{record.id}"
        return bool(await self._scripts.run("checkpoint", key, record.id, record.gen, *flat, patience_s=patience_s))

    async def finish(
        self,
        record: JobRecord,
        state: JobState,
        course: Course,
        *,
        cost_micro_usd: int = 0,
        patience_s: float = 0.0,
    ) -> bool:
        """End the edit; False: it is no longer this worker's. Repeating it is safe."""
        answer = await self._scripts.run(
            "finish",
            f"job:{record.id}",
            record.id,
            record.gen,
            state.value,
            course.model_dump_json(exclude_defaults=True),
            cost_micro_usd,
            course.error.code if course.error and state is JobState.FAILED else "",
            self._retention_ms,
            patience_s=patience_s,
        )
        return bool(answer)

    async def release(self, record: JobRecord, how: Release, course: Course | None = None, *, patience_s: float = 0.0) -> bool:
        """Give the edit back to the queue, or end it if it is to be canceled; False: it is no longer this worker's."""
        answer = await self._scripts.run(
            "release",
            f"job:{record.id}",
            record.id,
            record.gen,
            int(how.delay_s * 1000),
            how.lane,
            how.waiting_on,
            int(how.failed),
            int(how.pause_s * 1000),
            _LONGEST_DELAY_MS,
            course.model_dump_json(exclude_defaults=True) if course else "",
            self._retention_ms,
            patience_s=patience_s,
        )
        return bool(answer)

    async def reserve(self, record: JobRecord, micro_usd: int, *, patience_s: float = 0.0) -> bool:
        """Allow the edit to cost this much (1e-6 USD); False: it is no longer this worker's.

        Raises:
            BudgetExceeded: a limit of the tenant does not allow it.
            BatchHeld: its batch's own limit does not, and the batch is now held.
        """
        answer = await self._scripts.run("reserve", f"job:{record.id}", record.id, record.gen, micro_usd, patience_s=patience_s)
        if not isinstance(answer, list):
            return bool(answer)
        if answer[0] == "batch":
            raise BatchHeld(record.batch)
        raise budget_exceeded(*answer)

    async def reap(self) -> dict[str, int]:
        """Rescue what is due: dead workers' edits, waits that are over, deadlines. Any worker may call it at any time."""
        answer = await self._scripts.run("reap", "timers", self._lease_ms, KILLS_MAX, self._retention_ms, _DUE_A_CALL)
        return dict(zip(("rescued", "readied", "failed"), answer, strict=True))

    async def set_lane_limit(self, lane: str, limit: int) -> None:
        """At most `limit` edits of this lane run at once, over all workers."""
        await self._scripts.command("HSET", f"lane:{lane}", "limit", limit)

    async def set_lane_rate(self, lane: str, per_minute: int, *, burst: int | None) -> None:
        """At most `per_minute` edits of this lane are taken a minute, over all workers; 0: as many as there are.

        `burst`: how many of them at once; None: those of 5 s, because idle workers look every few seconds only.
        """
        at_once = burst or max(1, int(per_minute * _BURST_S / 60))
        await self._scripts.command("HSET", f"lane:{lane}", "rate", per_minute / 60, "burst", at_once)


def _readable(job_id: str, flat: Sequence[str]) -> JobRecord | None:
    """The record, or None if this version cannot read it, as when a newer gateway wrote it: then its lease runs out."""
    try:
        return JobRecord.from_hash(job_id, pairs(flat))
    except (KeyError, ValueError):
        _log.exception("an edit's record cannot be read", extra={"job_id": job_id})
        return None
