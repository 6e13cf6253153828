"""How late a process' event loop is: whatever waits in it, waits for at least so long."""

import asyncio
import contextlib
import time

_EVERY_S = 0.25
_LOOKS = 60  #: 15 s of them


class LoopLag:
    """Looks four times a second, while it is open as a context."""

    def __init__(self) -> None:
        self._worst_s = self._before_s = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def worst_s(self) -> float:
        """The worst of the last 15 to 30 s: a scrape in between misses none."""
        return max(self._worst_s, self._before_s)

    async def __aenter__(self) -> "LoopLag":
        self._task = asyncio.create_task(self._look_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _look_for_ever(self) -> None:
        while True:
            self._before_s, self._worst_s = self._worst_s, 0.0
            for _ in range(_LOOKS):
                due = time.monotonic() + _EVERY_S
                await asyncio.sleep(_EVERY_S)
                self._worst_s = max(self._worst_s, time.monotonic() - due)
