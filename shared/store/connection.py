"""The connection to Redis, and the scripts: each is one atomic state change, safe to send again when its answer was lost."""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from shared.errors import Overloaded, StoreUnavailable
from shared.queue import deserialize, serialize
from shared.settings import Settings

_PIPELINES_AT_ONCE = 4
_COMMANDS_A_PIPELINE = 256
_REPEAT_AFTER_S = 0.2

Argument = str | int | float | bytes


def open_redis(settings: Settings) -> ArqRedis:
    """A client with its own pool; nothing is sent yet. Answers are text.

    redis-py's own retries stay off: measured with 5.x, a first call on a fresh connection to a frozen server did not come
    back within 40 s when one retry was allowed. Repeating is `Scripts`' business.
    """
    pool = ConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        decode_responses=True,
        socket_timeout=settings.redis_timeout_s,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 0),
    )
    return ArqRedis(pool_or_conn=pool, job_serializer=serialize, job_deserializer=deserialize)


class Scripts:
    """Runs the scripts of `shared/store/scripts` and plain commands.

    Calls that are made in the same turn of the loop travel in one pipeline: with `appendfsync always` they share a sync.
    """

    def __init__(self, redis: "ArqRedis", *, timeout_s: float) -> None:
        self.redis = redis
        self._timeout_s = timeout_s
        folder = files("shared.store").joinpath("scripts")
        prelude = folder.joinpath("prelude.lua").read_text()
        self._sources = {
            file.name.removesuffix(".lua"): prelude + file.read_text() for file in folder.iterdir() if file.name != "prelude.lua"
        }
        # Redis names a script by its SHA-1; nothing is kept secret by it.
        self._shas = {
            name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in self._sources.items()
        }
        self._waiting: deque[tuple[tuple[Argument, ...], asyncio.Future[Any]]] = deque()
        self._pipelines: set[asyncio.Task[None]] = set()

    async def run(self, script: str, key: str, *args: Argument, more_keys: Sequence[str] = (), patience_s: float = 0.0) -> Any:
        """Run a script, repeating it for `patience_s` seconds while Redis does not answer (once more in any case).

        Raises:
            StoreUnavailable: no answer; the script may or may not have run.
            Overloaded: Redis is full and the script needs room.
        """
        call = ("EVALSHA", self._shas[script], 1 + len(more_keys), key, *more_keys, *args)
        end = time.monotonic() + patience_s
        repeated = False
        while True:
            try:
                return await self.command(*call)
            except NoScriptError:
                await self.command("SCRIPT LOAD", self._sources[script])
            except StoreUnavailable:
                if repeated and time.monotonic() > end:
                    raise
                repeated = True
                await asyncio.sleep(_REPEAT_AFTER_S)

    async def command(self, *command: Argument) -> Any:
        """Run one command. Raises StoreUnavailable, Overloaded, or the ResponseError of a wrong command."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, future))
        if len(self._pipelines) < _PIPELINES_AT_ONCE:
            task = asyncio.create_task(self._send())
            self._pipelines.add(task)
            task.add_done_callback(self._pipelines.discard)
        return await future

    async def _send(self) -> None:
        """Send what is waiting, until nothing is."""
        while self._waiting:
            count = min(len(self._waiting), _COMMANDS_A_PIPELINE)
            batch = [self._waiting.popleft() for _ in range(count)]
            try:
                async with asyncio.timeout(self._timeout_s):
                    pipeline = self.redis.pipeline(transaction=False)
                    for command, _ in batch:
                        pipeline.execute_command(*command)
                    answers: list[Any] = await pipeline.execute(raise_on_error=False)
            except (RedisError, OSError, TimeoutError) as error:
                answers = [error] * count
            except BaseException:
                for _, future in batch:
                    future.cancel()
                raise
            for (_, future), answer in zip(batch, answers, strict=True):
                _settle(future, answer)


def _settle(future: "asyncio.Future[Any]", answer: Any) -> None:
    if future.done():
        return
    if not isinstance(answer, BaseException):
        future.set_result(answer)
    elif isinstance(answer, OutOfMemoryError) or (isinstance(answer, ResponseError) and "OOM" in str(answer)):
        future.set_exception(Overloaded("the job store is full; try again later", retry_after_s=30))
    elif isinstance(answer, ResponseError):
        future.set_exception(answer)
    else:
        error = StoreUnavailable("the job store did not answer; the request may have been accepted", retry_after_s=1)
        error.__cause__ = answer
        future.set_exception(error)


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """A hash as scripts return it: field, value, field, value …"""
    return dict(zip(flat[::2], flat[1::2], strict=True))
