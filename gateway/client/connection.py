"""One HTTP session with one service: calls, and again those that are safe to repeat; streams, and again from where they broke."""

import asyncio
import json
import random
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp

from gateway.client.api_error import AccessUnusable, ApiError, Unreachable
from gateway.client.refusal import refusal_of

_PREFIX = "/api/image-studio/edit"
CALL_S = 60.0
# The service sends a comment every 15 s; a stream that is silent for longer is dead.
_STREAM_SILENCE_S = 45.0
_RECONNECT_S = 0.5
_LINE_MAX_BYTES = 1024 * 1024
#: A batch of a hundred thousand lines, or a picture over a slow line.
TRANSFER = aiohttp.ClientTimeout(total=1_800.0, sock_connect=CALL_S)
_PAUSE_S, _PAUSE_MAX_S = 0.5, 8.0
_AWAY = (0, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)

Answer = TypeVar("Answer")


class Connection:
    """Opened by `async with`."""

    def __init__(self, base_url: str, api_key: str, *, busy_s: float = 300.0, away_s: float = 15.0) -> None:
        """`base_url`: without the API's own path. Calls that are safe to repeat are repeated, when the service wishes it:

        for `busy_s` in all while it is busy, for `away_s` while it does not answer; 0 repeats nothing.

        Raises AccessUnusable.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise AccessUnusable(f"base_url: {base_url!r} is no address; it looks like http://127.0.0.1:8080")
        if not api_key or not api_key.isascii() or not api_key.isprintable():
            raise AccessUnusable("api_key: this is no API key; `edit-studio keys create` makes one")
        self._base_url = base_url.rstrip("/").removesuffix(_PREFIX) + _PREFIX
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._busy_s, self._away_s = busy_s, away_s
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=CALL_S)
        self._opened = aiohttp.ClientSession(headers=self._headers, timeout=timeout, read_bufsize=_LINE_MAX_BYTES)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def _get(self, path: str, **query: Any) -> Any:
        """The document there. `query`: None leaves a parameter out."""
        return await self._patiently(lambda: self._document("GET", path, params=_texts(query)))

    async def _post(self, path: str, *, idempotency_key: str | None = None, **options: Any) -> Any:
        """The document that answers; however often it is sent, under one key."""
        headers = {"Idempotency-Key": idempotency_key or fresh_key()}
        return await self._patiently(lambda: self._document("POST", path, headers=headers, **options))

    async def _follow(self, path: str) -> AsyncGenerator[Any, None]:
        """The document at once and at each change, until the service ends the stream (server-sent events).

        A broken stream is taken up where it broke. Raises ApiError, also when the service stays away for longer than it is
        waited for while it is busy.
        """
        seen, clock = "", asyncio.get_running_loop().time
        heard_at = clock()
        silence = aiohttp.ClientTimeout(total=None, sock_connect=CALL_S, sock_read=_STREAM_SILENCE_S)
        while True:
            try:
                headers = {"Last-Event-ID": seen} if seen else {}
                async with self._request("GET", path, timeout=silence, headers=headers) as answer:
                    if answer.status == HTTPStatus.NO_CONTENT:
                        return
                    async for event_id, data in _events(answer):
                        seen, heard_at = event_id, clock()
                        yield json.loads(data)
            except ApiError as error:
                is_passing = error.is_busy or error.status == 0 or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
                if not is_passing or clock() - heard_at > self._busy_s:
                    raise
            await asyncio.sleep(_RECONNECT_S)

    async def _last(
        self, stream: AsyncGenerator[Answer, None], name: str, timeout_s: float, on_change: Callable[[Answer], None] | None
    ) -> Answer:
        """What a stream ends with. Raises TimeoutError, and what the stream raises."""
        found: list[Answer] = []
        try:
            async with asyncio.timeout(timeout_s), aclosing(stream):
                async for one in stream:
                    found[:] = [one]
                    if on_change:
                        on_change(one)
        except TimeoutError:
            raise TimeoutError(f"{name} has not ended within {timeout_s:g} s; it goes on, and can be waited for again") from None
        return found[0]

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            raise RuntimeError("the client is not open: use it in `async with`")
        return self._opened

    async def _document(self, method: str, path: str, **options: Any) -> Any:
        async with self._request(method, path, **options) as answer:
            return await answer.json()

    @asynccontextmanager
    async def _request(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer; refusals and lost connections become ApiError, also while the body is read."""
        try:
            async with self._session.request(method, self._base_url + path, **options) as answer:
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    raise await _refusal(answer)
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            host = urlsplit(self._base_url).netloc.rpartition("@")[2]
            raise Unreachable(
                0, Unreachable.code, f"the service at {host} does not answer: {type(error).__name__}; is it running?"
            ) from error

    async def _patiently(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of a call that is safe to repeat. Raises ApiError, the last one if it was repeated in vain."""
        waited_s, pause_s = 0.0, _PAUSE_S
        while True:
            try:
                return await call()
            except ApiError as error:
                most_s = self._busy_s if error.is_busy else self._away_s if error.status in _AWAY else 0.0
                wait_s = (error.retry_after_s or pause_s) * random.uniform(1.0, 1.25)
                if waited_s + wait_s > most_s:
                    raise
            await asyncio.sleep(wait_s)
            waited_s, pause_s = waited_s + wait_s, min(2 * pause_s, _PAUSE_MAX_S)


def fresh_key() -> str:
    """An idempotency key that nobody else has."""
    return secrets.token_hex(16)


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str]]:
    """Id and data of each event. Source: WHATWG HTML, server-sent events."""
    event_id, data = "", list[str]()
    async for raw in answer.content:
        line = raw.decode().rstrip("\r\n")
        if line.startswith("data:"):
            data.append(line.removeprefix("data:"))
        elif line.startswith("id:"):
            event_id = line.removeprefix("id:").strip()
        elif not line and data:
            yield event_id, "\n".join(data)
            data.clear()


async def _refusal(answer: aiohttp.ClientResponse) -> ApiError:
    seconds = answer.headers.get("Retry-After", "")
    retry_after_s = float(seconds) if seconds.isdecimal() else None
    try:
        problem = await answer.json(content_type=None)
    except ValueError:
        problem = None
    return refusal_of(answer.status, problem, retry_after_s=retry_after_s)


def _texts(query: dict[str, Any]) -> dict[str, str]:
    """As parameters of a query have to be."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in query.items() if value is not None
    }
