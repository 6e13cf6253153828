"""The whole of what is in Redis, for those who run the service."""

from dataclasses import dataclass

from shared.store.connection import Scripts


@dataclass(frozen=True, slots=True)
class Stats:
    """Finished edits by state since the beginning, unfinished ones, and ready ones by lane."""

    finished: dict[str, int]
    unfinished: int
    running: int
    ready: dict[str, int]


class Overview:
    """Looks at all tenants at once."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def stats(self) -> Stats:
        """Counts for /metrics. Raises StoreUnavailable."""
        totals: dict[str, str] = await self._scripts.command("HGETALL", "totals")
        unfinished = int(await self._scripts.command("ZCARD", "timers"))
        ready: dict[str, int] = {}
        running = 0
        for lane in sorted(await self._scripts.command("SMEMBERS", "lanes")):
            tenants = await self._scripts.command("ZRANGE", f"turn:{lane}", "0", "999")
            counts = [int(await self._scripts.command("ZCARD", f"ready:{lane}:{tenant}")) for tenant in tenants]
            ready[lane] = sum(counts)
            running += int(await self._scripts.command("SCARD", f"active:lane:{lane}"))
        return Stats({state: int(count) for state, count in totals.items()}, unfinished, running, ready)

    async def ping(self) -> None:
        """Raises StoreUnavailable unless Redis answers."""
        await self._scripts.command("PING")
