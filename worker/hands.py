"""The edits that this process holds: their heartbeat, and the ways in which they are taken out of its hands."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from shared.errors import EditStudioError
from shared.job import Course, JobRecord, JobState
from shared.loop_lag import LoopLag
from shared.store.leases import Leases, Release

PATIENCE_S = 600.0  #: how long an ending is held while Redis is away
_LAG_WARNING_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Held:
    """One edit in hand. `course`: what is to be written down of it; `stage`: where it is, for the caller.

    `resumable`: another worker can go on from what Redis knows, nothing would be paid again. `choices`: the field of this name,
    as long as it has not been written. `took_s`: seconds from submit to result, None while that is unknown. `told`: number of
    the last attempt whose end has been counted.
    """

    record: JobRecord
    task: "asyncio.Task[None]"
    course: Course
    stage: str = "fetching"
    resumable: bool = False
    why: Literal["", "cancel", "lost", "drain"] = ""
    choices: str = ""
    took_s: float | None = None
    told: int = field(init=False)

    def __post_init__(self) -> None:
        self.told = max((attempt.n for attempt in self.course.attempts if attempt.outcome is not None), default=0)


class Hands:
    """Runs edits under a lease. One heartbeat serves all of them."""

    def __init__(self, leases: Leases, *, name: str, slots: int, providers: Sequence[str], beat_s: float) -> None:
        self.lag = LoopLag()  #: of this process; whoever opens it has it told with each heartbeat
        self._leases = leases
        self._name = name
        self._slots = slots
        self._providers = tuple(providers)
        self._beat_s = beat_s
        self._held: dict[str, Held] = {}
        self._draining = False
        self.poke = asyncio.Event()  #: beat now: a cancel was asked for
        self.after_beat: Callable[[], None] = lambda: None  #: called after each, also after one that failed

    def __len__(self) -> int:
        return len(self._held)

    async def hold(self, record: JobRecord, work: Callable[["Held"], Awaitable[None]]) -> None:
        """Run `work` on a claimed edit until it ends, or is canceled, lost or drained; never raises but for its own canceling."""
        task = asyncio.current_task()
        assert task is not None
        if older := self._held.get(record.id):
            # Given back a moment ago, or taken over while this process slept; now it is here again, and the old turn is void.
            older.why = older.why or "lost"
            older.task.cancel()
            await asyncio.wait((older.task,))
        inner: asyncio.Task[None] = asyncio.ensure_future(self._guard(record, work))
        held = Held(record, inner, record.course, resumable=record.call == "handle")
        self._held[record.id] = held
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError:
            if not inner.done():
                # The process ends and the grace is over: the edit goes back to the queue.
                held.why = held.why or "drain"
                inner.cancel()
            await asyncio.gather(inner, return_exceptions=True)
            await self._give_up(held)
            if task.cancelling():
                raise
        finally:
            if self._held.get(record.id) is held:
                del self._held[record.id]

    async def _guard(self, record: JobRecord, work: Callable[["Held"], Awaitable[None]]) -> None:
        await asyncio.sleep(0)
        await work(self._held[record.id])

    async def _give_up(self, held: Held) -> None:
        if held.why == "cancel":
            await self._leases.finish(held.record, JobState.CANCELED, held.course, patience_s=PATIENCE_S)
        elif held.why == "drain":
            await self._leases.release(held.record, Release(), held.course, patience_s=PATIENCE_S)

    async def drain(self) -> None:
        """Give back what only waits for a provider, now and at each beat from here on; leave the list of workers."""
        self._draining = True
        await self.beat()

    async def beat_for_ever(self) -> None:
        """Renew the leases every `beat_s`, and at once after `poke`."""
        while True:
            try:
                await self.beat()
            except EditStudioError as error:
                _log.warning("the heartbeat failed", extra={"error": str(error)})
            except Exception:
                # Without this loop the process would go on taking edits that it cannot keep.
                _log.exception("the heartbeat broke")
            self.after_beat()
            due = time.monotonic() + self._beat_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._beat_s):
                    await self.poke.wait()
            self.poke.clear()
            if (lag_s := time.monotonic() - due) > _LAG_WARNING_S:
                _log.warning("the event loop was blocked", extra={"lag_s": round(lag_s, 3)})

    async def beat(self) -> None:
        """Renew the leases once. Raises StoreUnavailable."""
        for one in self._held.values():
            if self._draining and one.resumable and one.stage == "editing" and not one.why:
                one.why = "drain"
                one.task.cancel()
        held = list(self._held.values())
        answers = await self._leases.renew(
            self._name,
            slots=self._slots,
            providers=self._providers,
            held=[(h.record.id, h.record.gen) for h in held],
            draining=self._draining,
            lag_s=self.lag.worst_s,
        )
        for one, answer in zip(held, answers, strict=True):
            # An edit that ended while the beat was under way is `lost` to it, and nothing is left to cancel.
            if answer != "ok" and not one.why and not one.task.done():
                one.why = answer
                one.task.cancel()
                _log.info("an edit left our hands", extra={"job_id": one.record.id, "why": answer})
