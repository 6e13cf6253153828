"""Pictures that nobody can ask for any more are removed from storage: those of forgotten edits, and of submits never accepted.

Ids sort by time, so in each folder the oldest come first and a pass looks at little that has to stay. Age is told from the id; a
record that lives, or one that uses the pictures of another, keeps them whatever their age. A bucket with lifecycle rules needs
none of this (`deploy/s3-lifecycle.json`); for more than some ten thousand edits a day they are the better way.
"""

import asyncio
import logging
import random
import time
from dataclasses import dataclass

from shared.errors import EditStudioError
from shared.ids import id_created_ms
from shared.settings import Settings
from shared.storage import Storage
from shared.store.retention import Retention

KEYS_A_PASS = 200
_EVERY_S = 60.0
_LOOKS_A_PASS = 20
_FOLDERS_A_LOOK = 100
_DAY_S = 86_400
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """Up to where the bucket was looked through: the area, the tenant in it, the owner in that."""

    area: int = 0
    tenant: str = ""
    owner: str = ""


class StorageClearing:
    """A pass a minute over all workers together, each at most 20 looks and 200 removals."""

    def __init__(self, retention: Retention, storage: Storage, settings: Settings) -> None:
        self._retention = retention
        self._storage = storage
        days = dict.fromkeys(("in", "sent", "rejected"), settings.input_retention_days)
        days["out"] = settings.output_retention_days
        # A record's own life comes first: what is younger is not even looked at.
        self._areas = [(area, max(settings.retention_s, count * _DAY_S) * 1000) for area, count in days.items() if count]

    async def run_for_ever(self) -> None:
        """Pass after pass; what storage or Redis refuse is tried again in the next one."""
        while self._areas:
            await asyncio.sleep(random.uniform(0.5, 1.0) * _EVERY_S)
            try:
                removed = await self.run_once(now_s=time.time(), every_s=_EVERY_S)
                if removed:
                    _log.info("old pictures removed", extra={"objects": removed})
            except EditStudioError as error:
                _log.warning("old pictures were not removed", extra={"error": str(error)})
            except Exception:
                _log.exception("removing old pictures broke")

    async def run_once(self, *, now_s: float, every_s: float) -> int:
        """One pass, if it is this process's turn; how many objects were removed. Raises StorageUnavailable, StoreUnavailable."""
        found = await self._retention.turn(every_s=every_s)
        if found is None:
            return 0
        place, removed, looks = _read(found), 0, 0
        while place.area < len(self._areas) and looks < _LOOKS_A_PASS and removed < KEYS_A_PASS:
            place, count = await self._look(place, now_ms=int(now_s * 1000), room=KEYS_A_PASS - removed)
            removed, looks = removed + count, looks + 1
        if place.area >= len(self._areas):
            place = _Place()
        await self._retention.leave_off(f"{place.area}/{place.tenant}/{place.owner}")
        return removed

    async def _look(self, place: _Place, *, now_ms: int, room: int) -> tuple[_Place, int]:
        """Look at some owners of one tenant; where to go on, and how many objects were removed, `room` at most."""
        area, age_ms = self._areas[place.area]
        tenant = place.tenant
        if not place.owner:
            tenants = await self._storage.folders_under(f"{area}/", after=tenant, limit=1)
            if not tenants:
                return _Place(place.area + 1), 0
            tenant = tenants[0]
        prefix, removed = f"{area}/{tenant}/", 0
        owners = await self._storage.folders_under(prefix, after=place.owner, limit=_FOLDERS_A_LOOK)
        for owner in owners:
            created_ms = _created_ms(owner)
            if created_ms is None:
                continue
            if created_ms > now_ms - age_ms:
                return _Place(place.area, tenant), removed
            if await self._retention.needed(owner):
                continue
            # What there is no room for is found again when all the rest was looked through.
            keys = (await self._storage.keys_under(f"{prefix}{owner}/"))[: room - removed]
            await self._storage.delete(keys)
            removed += len(keys)
            if removed >= room:
                return _Place(place.area, tenant, owner), removed
        return _Place(place.area, tenant, owners[-1] if len(owners) == _FOLDERS_A_LOOK else ""), removed


def _created_ms(owner: str) -> int | None:
    """None for a folder that is none of ours: it stays."""
    try:
        return id_created_ms(owner)
    except ValueError:
        return None


def _read(place: str) -> _Place:
    area, _, rest = place.partition("/")
    tenant, _, owner = rest.partition("/")
    return _Place(int(area or 0), tenant, owner)
