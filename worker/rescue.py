"""The maintenance loop, in every worker: no leader, no lock; the scripts serialise."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

from shared.errors import EditStudioError
from shared.store.leases import Leases

_LEAST_S, _MOST_S = 1.2, 2.4
_log = logging.getLogger(__name__)


class Maintenance:
    """Rescues edits of dead workers, ends waits and deadlines, sends due webhooks: every 1.2 to 2.4 s, or sooner."""

    def __init__(self, leases: Leases, send_due: Callable[[], Awaitable[None]], *, lease_s: float) -> None:
        self._leases = leases
        self._send_due = send_due
        self._shortened = min(1.0, lease_s / 8)
        self._stopped = False
        self.poke = asyncio.Event()  #: something is due now

    def stop(self) -> None:
        """End after the pass that is under way: a webhook taken by a pass that is cut off would be hidden for a minute."""
        self._stopped = True
        self.poke.set()

    async def run_for_ever(self) -> None:
        """Loop until `stop`; trouble with Redis is logged and outlived."""
        while not self._stopped:
            try:
                found = await self._leases.reap()
                if any(found.values()):
                    _log.info("rescued", extra=found)
                await self._send_due()
            except (EditStudioError, OSError) as error:
                _log.warning("maintenance failed", extra={"error": str(error)})
            except Exception:
                _log.exception("maintenance broke")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(_LEAST_S, _MOST_S) * self._shortened):
                    await self.poke.wait()
            self.poke.clear()
