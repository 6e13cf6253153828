"""Pictures that each model returned within the last hour, as hashes: what it returned for another input is no result."""

import logging

from shared.errors import Overloaded, StoreUnavailable
from shared.store.connection import Scripts

_LIFE_MS = 3_600_000
_KEPT = 100  # of each model: one that answers with placeholders does so again soon
_SAME_BITS, _OTHER_BITS = 6, 26  # of 256: alike is up to the one, different is above the other
_log = logging.getLogger(__name__)


class Seen:
    """What models have returned. Hashes are those of `worker.likeness`, 64 hex digits."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def elsewhere(self, model_id: str, job_id: str, *, output: str, source: str) -> bool:
        """Whether the model returned such a picture for another edit whose input looks different. Remembers this one.

        False while Redis does not answer: a paid result is in hand, and the doubt is small.
        """
        try:
            arguments = (job_id, output, source, _SAME_BITS, _OTHER_BITS, _KEPT, _LIFE_MS)
            return bool(await self._scripts.run("seen", f"seen:{model_id}", *arguments))
        except (StoreUnavailable, Overloaded) as error:
            _log.warning("an output was not compared with earlier ones", extra={"job_id": job_id, "error": str(error)})
            return False
