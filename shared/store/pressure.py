"""How full Redis is, and how long edits wait for a worker."""

import asyncio
from dataclasses import dataclass

from shared.settings import Settings
from shared.store.connection import Scripts

LATE_SLOS = 10  #: an edit is late that has waited for so many times `queue_slo_s`


@dataclass(frozen=True, slots=True)
class Pressure:
    """As of one moment. `memory_share`: of Redis' `maxmemory`, 0 where it has none; waits are of the oldest edits, in seconds.

    `late`: tenants whose interactive edits wait too long; `is_crowded`: so many of them that another one would wait, too.
    """

    memory_share: float = 0.0
    interactive_wait_s: float = 0.0
    bulk_wait_s: float = 0.0
    late: frozenset[str] = frozenset()
    is_crowded: bool = False


async def read_pressure(scripts: Scripts, settings: Settings) -> Pressure:
    """Two cheap commands, whatever the length of the queues. Raises StoreUnavailable."""
    late_ms = int(settings.queue_slo_s * LATE_SLOS * 1000)
    info, (interactive_ms, bulk_ms, late, crowded) = await asyncio.gather(
        scripts.command("INFO", "memory"), scripts.run("pressure", "lanes", late_ms, settings.running_cap)
    )
    limit_bytes = int(info.get("maxmemory", 0))
    return Pressure(
        memory_share=int(info["used_memory"]) / limit_bytes if limit_bytes else 0.0,
        interactive_wait_s=int(interactive_ms) / 1000,
        bulk_wait_s=int(bulk_ms) / 1000,
        late=frozenset(late),
        is_crowded=bool(crowded),
    )
