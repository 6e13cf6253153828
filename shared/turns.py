"""Long work on the event loop, a millisecond at a time."""

import asyncio

_STRETCH_S = 0.001


class Turns:
    """Lets other requests have their turn: to be asked after every little piece of work."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._since = self._clock()

    async def give(self) -> None:
        """Go on at once, or after the others if this has lasted long enough."""
        if self._clock() - self._since > _STRETCH_S:
            await asyncio.sleep(0)
            self._since = self._clock()
