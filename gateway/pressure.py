"""Backpressure: new work is refused while Redis fills up or edits wait far too long; what was accepted goes on."""

import asyncio
import contextlib
import logging

from shared.errors import EditStudioError, Overloaded
from shared.settings import Settings
from shared.store.connection import Scripts
from shared.store.pressure import Pressure, read_pressure

_EVERY_S = 1.0
_MEMORY_SHARE_MAX = 0.8
_MEMORY_AGAIN_S = 30.0
_log = logging.getLogger(__name__)


class PressureWatch:
    """Looks once a second. Where Redis does not answer, what was seen last holds: whoever submits meets that outage himself."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self.seen = Pressure()

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._look_for_ever())

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def is_refusing(self) -> bool:
        """Whether some tenant, or every one, may not submit now."""
        return self.seen.memory_share > _MEMORY_SHARE_MAX or self.seen.is_crowded or bool(self.seen.late)

    def check(self, tenant: str) -> None:
        """Raises Overloaded if this tenant may not submit now.

        A tenant is refused for the sake of edits of its own that wait, so that it cannot shut out others with them.
        """
        if self.seen.memory_share > _MEMORY_SHARE_MAX:
            raise Overloaded("the job store is nearly full; try again later", retry_after_s=_MEMORY_AGAIN_S)
        if self.seen.is_crowded or tenant in self.seen.late:
            message = f"edits have waited for {self.seen.interactive_wait_s:.0f} s; submit more when fewer wait"
            raise Overloaded(message, retry_after_s=self._settings.queue_slo_s)

    async def look(self) -> None:
        """Look once. Raises StoreUnavailable."""
        self.seen = await read_pressure(self._scripts, self._settings)

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await self.look()
            except EditStudioError as error:
                _log.warning("the pressure could not be read", extra={"error": str(error)})
            except Exception:
                # Without this loop the gateway would go on refusing, or accepting, for ever.
                _log.exception("reading the pressure broke")
            await asyncio.sleep(_EVERY_S)
