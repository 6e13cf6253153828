"""No answer at all: connections that break, and calls that hang."""

import asyncio
from contextlib import suppress

from aiohttp import web

from deploy.simulator.account import Account

_HANG_MAX_S = 600.0


def break_off(request: web.Request) -> None:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()


async def hang(account: Account, request: web.Request) -> web.Response:
    """Wait until the server stops, then break off. What is returned is never sent."""
    with suppress(TimeoutError):
        await asyncio.wait_for(account.stopping.wait(), _HANG_MAX_S)
    break_off(request)
    return web.Response()
