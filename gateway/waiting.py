"""Requests that are held until an edit ends: by `?wait=N` or `Prefer: wait=N` (RFC 7240)."""

import asyncio
import re

from aiohttp import web

from gateway.connections import Connections
from shared.job import JobRecord

WAIT_MAX_S = 120
#: News of a change may be lost; the record is read again after this long.
LOOK_AGAIN_S = 2.0
_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=[,;]|$)", re.IGNORECASE)


def wait_of(request: web.Request, asked_s: int | None) -> int:
    """Seconds to wait: `asked_s` of the query, else the Prefer header's, at most 120. 0: not at all."""
    if asked_s is not None:
        return asked_s
    found = _PREFER_WAIT.search(request.headers.get("Prefer", ""))
    return min(int(found[1]), WAIT_MAX_S) if found else 0


async def wait_for_end(record: JobRecord, wait_s: float, connections: Connections) -> JobRecord:
    """The record once its edit has ended, or as it stands after `wait_s`. Raises like `Jobs.get`."""
    if wait_s <= 0 or record.state.terminal:
        return record
    clock = asyncio.get_running_loop().time
    end = clock() + wait_s
    with connections.changes.watch(record.id) as watch:
        while True:
            record = await connections.jobs.get(record.tenant, record.id)
            left_s = end - clock()
            if record.state.terminal or left_s <= 0 or connections.closing.is_set():
                return record
            await watch.changed(timeout_s=min(left_s, LOOK_AGAIN_S))
