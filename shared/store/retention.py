"""Which pictures in storage are still needed, and whose turn it is to remove those that are not."""

import asyncio
from collections.abc import Collection, Iterable

from shared.edit import EditSpec
from shared.ids import ID_PATTERN
from shared.store.connection import Scripts

# No deadline is further away than a day, and no provider's call lasts another one.
_LONGEST_EDIT_MS = 2 * 86_400_000
_RECORDS = ("job", "batch", "upload", "kept")


def borrowed_from(specs: Iterable[EditSpec], *, own: Collection[str]) -> set[str]:
    """Whose pictures these edits use beside their own: ids of earlier edits, of batches, of uploads."""
    keys = {ref.key for spec in specs for ref in spec.inputs if ref.key is not None}
    owners = {key.split("/")[2] for key in keys} - set(own)
    # What has another name is never removed.
    return {owner for owner in owners if ID_PATTERN.fullmatch(owner)}


def kept_ms(retention_ms: int) -> int:
    """How long borrowed pictures are kept: until an edit that is accepted now is forgotten."""
    return retention_ms + _LONGEST_EDIT_MS


async def keep_pictures(scripts: Scripts, owners: Iterable[str], *, retention_ms: int) -> None:
    """Have the pictures of these owners kept for edits of a batch. To be called before they are staged.

    Raises StoreUnavailable, Overloaded.
    """
    life_ms = kept_ms(retention_ms)
    await asyncio.gather(*(scripts.command("SET", f"kept:{owner}", 1, "PX", life_ms) for owner in owners))


class Retention:
    """What the workers' clearing of storage asks of Redis."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def turn(self, *, every_s: float) -> str | None:
        """Where the last pass left off, once in `every_s` over all workers; None for all others. Raises StoreUnavailable."""
        if not await self._scripts.command("SET", "clearing:turn", 1, "NX", "PX", int(every_s * 1000)):
            return None
        place: str | None = await self._scripts.command("GET", "clearing:place")
        return place or ""

    async def leave_off(self, place: str) -> None:
        """Where the next pass begins."""
        await self._scripts.command("SET", "clearing:place", place)

    async def needed(self, owner: str) -> bool:
        """Whether a record of this edit, batch or upload lives, or one that uses its pictures. Raises StoreUnavailable."""
        return bool(await self._scripts.command("EXISTS", *(f"{record}:{owner}" for record in _RECORDS)))
