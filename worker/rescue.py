"""The maintenance loop, in every worker: no leader, no lock; the scripts serialise."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

from shared.errors import EditStudioError
from shared.store.batches import Batches
from shared.store.leases import Leases

#: Batches say when something is left to do; without a word they are looked at in every fourth pass.
_BATCHES_EVERY = 4
#: Steps of batches in one pass: of what is left, the next pass does more, after webhooks had their turn.
_STEPS = 20
_LEAST_S, _MOST_S = 1.2, 2.4
_log = logging.getLogger(__name__)


class Maintenance:
    """Rescues edits of dead workers, ends waits and deadlines, does what canceled and abandoned batches and twins leave to do,
    sends due webhooks: every 1.2 to 2.4 s, or sooner.
    """

    def __init__(self, leases: Leases, batches: Batches, send_due: Callable[[], Awaitable[None]], *, lease_s: float) -> None:
        self._leases = leases
        self._batches = batches
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
        passes = 0
        while not self._stopped:
            is_poked = self.poke.is_set()
            self.poke.clear()
            try:
                found = await self._leases.reap()
                if any(found.values()):
                    _log.info("rescued", extra=found)
                if is_poked or passes % _BATCHES_EVERY == 0:
                    await self._step_batches()
                passes += 1
                await self._send_due()
            except (EditStudioError, OSError) as error:
                _log.warning("maintenance failed", extra={"error": str(error)})
            except Exception:
                _log.exception("maintenance broke")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(_LEAST_S, _MOST_S) * self._shortened):
                    await self.poke.wait()

    async def _step_batches(self) -> None:
        for _ in range(_STEPS):
            if not await self._batches.step():
                return
        self.poke.set()
