"""A tenant's feed: what became of its edits and batches, in order, as the scripts tell it (`tell` in prelude.lua)."""

import asyncio
from dataclasses import dataclass
from typing import Any

from shared.errors import Gone
from shared.store.connection import Scripts

BEGINNING = "0-0"


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """`cursor`: what to go on after. `kind`: such as `edit.succeeded`. `about`: the id of the edit or batch.

    `nth`: "2" and so on for what happened to it again, such as another hold of a batch.
    """

    cursor: str
    kind: str
    about: str
    nth: str = ""

    @property
    def created_ms(self) -> int:
        """By Redis' clock."""
        return int(self.cursor.partition("-")[0])

    @property
    def event_id(self) -> str:
        """The webhook-id of this event's deliveries, made as `deliver` in prelude.lua makes it."""
        return f"evt_{self.about.partition('_')[2]}_{self.kind.rpartition('.')[2]}{self.nth}"


class Feed:
    """About the last 100 000 events of a tenant."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def after(self, tenant: str, cursor: str, *, limit: int) -> list[FeedEvent]:
        """What came after `cursor`, oldest first. Raises Gone when some of it is no longer kept, StoreUnavailable."""
        key = f"feed:{tenant}"
        # In this order: what is cut off between the two is noticed.
        rows, first = await asyncio.gather(
            self._scripts.command("XRANGE", key, f"({cursor}", "+", "COUNT", limit),
            self._scripts.command("XRANGE", key, "-", "+", "COUNT", 1),
        )
        if cursor != BEGINNING and first and _order(cursor) < _order(first[0][0]):
            raise Gone(
                "events after this cursor are no longer kept: look at your edits with GET …/jobs and GET …/batches, "
                "then go on with after=latest, or without `after` from the oldest event"
            )
        return [FeedEvent(entry, fields["type"], fields["id"], fields["nth"]) for entry, fields in rows]

    async def latest(self, tenant: str) -> str:
        """The cursor after which only what is new comes. Raises StoreUnavailable."""
        last: list[tuple[str, Any]] = await self._scripts.command("XREVRANGE", f"feed:{tenant}", "+", "-", "COUNT", 1)
        return last[0][0] if last else BEGINNING


def _order(cursor: str) -> tuple[int, int]:
    ms, _, number = cursor.partition("-")
    return int(ms), int(number)
