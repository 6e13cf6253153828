"""A batch that is being expanded belongs to the gateway that reads it, as long as that gateway says so."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from shared.errors import EditStudioError, NotFound
from shared.store.batches import Batches

_BEAT_S = 10.0
_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def leased(batches: Batches, batch_id: str) -> AsyncIterator[None]:
    """Within it the batch is not taken for a dead gateway's, however slowly its body comes in."""
    beating = asyncio.create_task(_beat(batches, batch_id))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait((beating,))


async def _beat(batches: Batches, batch_id: str) -> None:
    while True:
        await asyncio.sleep(_BEAT_S)
        try:
            await batches.renew(batch_id)
        except NotFound:
            # Whoever stages the next chunk, or promises the batch, is told.
            return
        except EditStudioError as error:
            _log.warning("the lease of a batch was not renewed", extra={"batch_id": batch_id, "error": str(error)})
