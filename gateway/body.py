"""A request's body as a stream: under its cap, under time limits, and with what is held in memory counted."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiohttp import ClientError, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from shared.errors import BodyTooLarge, IncompleteBody, Overloaded, UnsupportedMediaType

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A client that sends nothing for this long has stopped half-way.
IDLE_S = 15.0
#: A body that takes longer than this as a whole is held up on purpose.
WHOLE_S = 300.0


class MemoryBudget:
    """How many bytes of bodies and results this process holds at once; beyond it callers are told to come back."""

    def __init__(self, limit_bytes: int) -> None:
        self._free = limit_bytes

    @contextmanager
    def hold(self, size: int) -> "Iterator[None]":
        """Count `size` bytes while the block runs. Raises Overloaded when there is no room."""
        if size > self._free:
            raise Overloaded("too many large bodies at once", retry_after_s=1)
        self._free -= size
        try:
            yield
        finally:
            self._free += size


class BodyReader:
    """Reads one request's body, piece by piece.

    Raises:
        UnsupportedMediaType: the body is compressed in another way than one of `encodings`; it is not unpacked here.
        BodyTooLarge: it says, or turns out, to have more than `max_bytes`.
    """

    def __init__(
        self, request: web.Request, *, max_bytes: int, whole_s: float = WHOLE_S, encodings: Collection[str] = ("identity",)
    ) -> None:
        self.encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower()
        if self.encoding not in encodings:
            message = f"this Content-Encoding is not taken here, only {', '.join(encodings)}"
            raise UnsupportedMediaType.at("", message)
        self._request = request
        self._max_bytes = max_bytes
        self._got_bytes = 0
        self._waits_for_leave = request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"
        self._end = asyncio.get_running_loop().time() + whole_s
        if (request.content_length or 0) > max_bytes:
            raise self._too_large()

    @property
    def expected_bytes(self) -> int:
        """The size that the headers announce, or the cap when they say nothing."""
        length = self._request.content_length
        return self._max_bytes if length is None else length

    async def read(self) -> bytes:
        """The next piece, empty at the end. Raises BodyTooLarge, IncompleteBody."""
        if self._waits_for_leave:
            # Only now: a request refused by its headers never sends its body.
            self._waits_for_leave = False
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._request.writer.output_size = 0
        try:
            async with asyncio.timeout_at(min(self._end, asyncio.get_running_loop().time() + IDLE_S)):
                piece = await self._request.content.readany()
        except TimeoutError:
            raise IncompleteBody.at("", "the body stopped half-way") from None
        except (ClientError, ConnectionError, RequestPayloadError, HttpProcessingError) as error:
            raise IncompleteBody.at("", "the body ended before it was complete") from error
        self._got_bytes += len(piece)
        if self._got_bytes > self._max_bytes:
            raise self._too_large()
        return piece

    async def pieces(self) -> AsyncIterator[bytes]:
        """The rest of the body. Raises like `read`."""
        while piece := await self.read():
            yield piece

    async def whole(self) -> bytes:
        """The rest of the body at once. Raises like `read`."""
        first = await self.read()
        if not first or self._request.content.at_eof():
            return first
        return b"".join([first, *[piece async for piece in self.pieces()]])

    def _too_large(self) -> Exception:
        return BodyTooLarge.at("", f"the body exceeds {self._max_bytes} bytes")


async def no_early_leave(_: web.Request) -> None:
    """The expect handler of all routes: `100 Continue` is sent by `BodyReader`, once the headers have been judged."""
