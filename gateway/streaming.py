"""Answers that are sent piece by piece."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping

from aiohttp import web

from gateway.route import Call

#: A reader that takes nothing for this long is cut off.
_WRITE_S = 30.0


async def send_piece(response: web.StreamResponse, data: bytes) -> None:
    """Send some more. Raises ConnectionError for a reader that is gone or stuck."""
    try:
        async with asyncio.timeout(_WRITE_S):
            await response.write(data)
    except TimeoutError:
        raise ConnectionAbortedError("the reader takes nothing") from None


async def stream(call: Call, pieces: AsyncGenerator[bytes, None], *, headers: Mapping[str, str]) -> web.StreamResponse:
    """All of `pieces`. What fails before the first one is answered as an error; later the connection is cut."""
    async with contextlib.aclosing(pieces):
        first = await anext(pieces, b"")
        response = web.StreamResponse(headers=headers)
        await response.prepare(call.request)
        await send_piece(response, first)
        async for piece in pieces:
            await send_piece(response, piece)
        await response.write_eof()
    return response
