"""What a tenant used and spent, as the scripts count it. Days are UTC, and an edit counts on the day on which it was accepted."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from shared.store.connection import Scripts

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Used:
    """What one key did with one model on one day. `model`: "" for edits that ended before any call. Money in 1e-6 USD."""

    day: date
    model: str
    key_id: str
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    micro_usd: int = 0


@dataclass(frozen=True, slots=True)
class Spending:
    """One period's money in 1e-6 USD. `reserved`: for edits that have not ended; `limit`: None if there is none."""

    limit: int | None
    spent: int
    reserved: int

    @property
    def left(self) -> int | None:
        """What may still be reserved; None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.spent - self.reserved)


class Usage:
    """Reads the counts."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def of(self, tenant: str, days: Sequence[date]) -> list[Used]:
        """What was done on these days, oldest first; a day without edits is not in the answer. Raises StoreUnavailable."""
        keys = (f"usage:{tenant}:{(day - _EPOCH).days}" for day in days)
        rows: list[dict[str, str]] = await asyncio.gather(*(self._scripts.command("HGETALL", key) for key in keys))
        return [used for day, row in zip(days, rows, strict=True) for used in _of_day(day, row)]

    async def spending(self, tenant: str) -> tuple[Spending, Spending]:
        """(today's, this month's), by Redis' clock. Raises StoreUnavailable."""
        rows = await self._scripts.run("spending", f"tenant:{tenant}", tenant)
        daily, monthly = (
            Spending(int(limit) if limit else None, int(spent), int(reserved)) for _, limit, spent, reserved in rows
        )
        return daily, monthly


def _of_day(day: date, row: dict[str, str]) -> list[Used]:
    """A day's hash: `{what}|{model}|{key id}` to a number."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for field, text in row.items():
        what, model, key_id = field.split("|")
        found.setdefault((model, key_id), {})[what] = int(text)
    return [Used(day, model, key_id, **counts) for (model, key_id), counts in sorted(found.items())]
