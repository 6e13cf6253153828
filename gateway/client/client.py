"""The API as plain calls. They are those of the asynchronous client, carried out on an event loop in a thread of its own."""

import asyncio
import functools
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from gateway.client.async_client import AsyncClient

_END_S = 10.0
_Asked = ParamSpec("_Asked")
_Answer = TypeVar("_Answer")


def _call(
    method: Callable[Concatenate[AsyncClient, _Asked], Coroutine[Any, Any, _Answer]],
) -> "Callable[Concatenate[Client, _Asked], _Answer]":
    @functools.wraps(method)
    def call(self: "Client", /, *args: _Asked.args, **kwargs: _Asked.kwargs) -> _Answer:
        return self._run(method(self._client, *args, **kwargs))

    return call


def _iterate(
    method: Callable[Concatenate[AsyncClient, _Asked], AsyncGenerator[_Answer, None]],
) -> "Callable[Concatenate[Client, _Asked], Iterator[_Answer]]":
    @functools.wraps(method)
    def iterate(self: "Client", /, *args: _Asked.args, **kwargs: _Asked.kwargs) -> Iterator[_Answer]:
        stream = method(self._client, *args, **kwargs)
        try:
            while (found := self._run(_next(stream))) is not None:
                yield found[0]
        finally:
            self._run(stream.aclose())

    return iterate


class Client:
    """`Client("http://127.0.0.1:8080", api_key)`: every call of AsyncClient, under its name and with its arguments.

    Any thread may call it. Close it, or use it in `with`; one that is forgotten ends with the program.
    """

    def __init__(self, base_url: str, api_key: str, *, busy_s: float = 300.0, away_s: float = 15.0) -> None:
        """Arguments and errors as for AsyncClient."""
        self._client = AsyncClient(base_url, api_key, busy_s=busy_s, away_s=away_s)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edit-studio-client", daemon=True)
        self._thread.start()
        self._run(self._client.__aenter__())
        self._end = weakref.finalize(self, _end, self._client, self._loop, self._thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections. Safe to repeat."""
        self._end()

    def _run(self, call: Coroutine[Any, Any, _Answer]) -> _Answer:
        if not self._thread.is_alive() or threading.current_thread() is self._thread:
            call.close()
            where = "from an `on_change`: iterate over `stream` instead" if self._thread.is_alive() else "after it was closed"
            raise RuntimeError(f"the client cannot be called {where}")
        waiting = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return waiting.result()
        except CancelledError:
            raise RuntimeError("the client was closed by another thread") from None
        except BaseException:
            # Ctrl-C: what is on its way is not to go on behind the caller's back.
            waiting.cancel()
            raise

    edit = _call(AsyncClient.edit)
    submit = _call(AsyncClient.submit)
    quote = _call(AsyncClient.quote)
    job = _call(AsyncClient.job)
    jobs = _call(AsyncClient.jobs)
    stream = _iterate(AsyncClient.stream)
    wait = _call(AsyncClient.wait)
    result = _call(AsyncClient.result)
    save_result = _call(AsyncClient.save_result)
    cancel = _call(AsyncClient.cancel)
    feedback = _call(AsyncClient.feedback)
    upload = _call(AsyncClient.upload)
    submit_batch = _call(AsyncClient.submit_batch)
    batch = _call(AsyncClient.batch)
    batch_items = _call(AsyncClient.batch_items)
    results = _iterate(AsyncClient.results)
    stream_batch = _iterate(AsyncClient.stream_batch)
    wait_batch = _call(AsyncClient.wait_batch)
    cancel_batch = _call(AsyncClient.cancel_batch)
    release_batch = _call(AsyncClient.release_batch)
    models = _call(AsyncClient.models)
    model = _call(AsyncClient.model)
    recommend = _call(AsyncClient.recommend)
    limits = _call(AsyncClient.limits)
    usage = _call(AsyncClient.usage)
    events = _call(AsyncClient.events)
    webhook_secrets = _call(AsyncClient.webhook_secrets)


async def _next(stream: AsyncGenerator[_Answer, None]) -> tuple[_Answer] | None:
    async for one in stream:
        return (one,)
    return None


def _end(client: AsyncClient, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    async def end() -> None:
        mine = asyncio.current_task()
        for task in (others := [task for task in asyncio.all_tasks() if task is not mine]):
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await client.__aexit__(None, None, None)
        await loop.shutdown_asyncgens()

    asyncio.run_coroutine_threadsafe(end(), loop).result(_END_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(_END_S)
    loop.close()
