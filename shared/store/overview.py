"""What /metrics tells of the whole service: counts since the beginning, which the scripts keep, and how things stand now."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.settings import Settings
from shared.store.connection import Scripts

#: Upper bounds of the buckets in which the scripts count times, in seconds (`BOUNDS_MS` of their prelude).
BOUNDS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)


@dataclass(frozen=True, slots=True)
class LaneStats:
    """One lane: edits that are ready to run, how long the oldest that no worker has had yet waits, edits that run."""

    ready: int
    oldest_s: float
    running: int


@dataclass(frozen=True, slots=True)
class Stats:
    """`counts`: by the names that the scripts give them; the rest is as of now.

    `webhooks_overdue_s`: how long the most overdue delivery waits for a sender. `workers`: those whose heartbeat came within a
    lease; `worker_lag_s` is the worst one's. `limit_used`: of the spending limit that is nearest to its end, 0 to 1.
    """

    counts: Mapping[str, int]
    unfinished: int
    lanes: Mapping[str, LaneStats]
    webhooks_pending: int
    webhooks_overdue_s: float
    workers: int
    worker_slots: int
    worker_lag_s: float
    limit_used: float

    @property
    def running(self) -> int:
        """Edits that a worker has."""
        return sum(lane.running for lane in self.lanes.values())


class Overview:
    """Looks at all tenants at once."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._silent_ms = int(settings.lease_s * 1000)

    async def stats(self) -> Stats:
        """What /metrics tells. Raises StoreUnavailable."""
        counts, now = await asyncio.gather(
            self._scripts.command("HGETALL", "telemetry"), self._scripts.run("stats", "lanes", self._silent_ms)
        )
        return _stats(counts, now)

    async def ping(self) -> None:
        """Raises StoreUnavailable unless Redis answers."""
        await self._scripts.command("PING")


def _stats(counts: Mapping[str, str], now: Any) -> Stats:
    unfinished, lanes, (pending, overdue_ms), (workers, slots, lag_ms), used_millionths = now
    return Stats(
        counts={name: int(count) for name, count in counts.items()},
        unfinished=int(unfinished),
        lanes={name: LaneStats(int(ready), int(oldest_ms) / 1000, int(running)) for name, ready, oldest_ms, running in lanes},
        webhooks_pending=int(pending),
        webhooks_overdue_s=int(overdue_ms) / 1000,
        workers=int(workers),
        worker_slots=int(slots),
        worker_lag_s=int(lag_ms) / 1000,
        limit_used=int(used_millionths) / 1_000_000,
    )
