"""The connection to Redis, and the scripts: each is one atomic state change, safe to send again when its answer was lost."""

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from arq.connections import ArqRedis
from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from shared.errors import Overloaded, StoreUnavailable
from shared.queue import deserialize, serialize
from shared.redis_address import read_sentinel_address
from shared.settings import Settings
from shared.store.sentinel import master_pool

_PIPELINES_AT_ONCE = 4
_COMMANDS_A_PIPELINE = 256
_REPEAT_AFTER_S = 0.2
#: What every script begins with.
_PRELUDE = ("prelude.lua", "prelude_batches.lua")
#: Parts of a server's errors after which it takes the same command later: during a failover, with a full disk, behind a slow
#: script. Inside a script's error the code is in the middle, and redis-py cuts some off. Source: Redis, `createSharedObjects`.
_DEMOTED = ("READONLY", "read only replica")
_NOT_NOW = (*_DEMOTED, "MISCONF", "Redis is busy running a script", "NOREPLICAS", "MASTERDOWN")
_log = logging.getLogger(__name__)

Argument = str | int | float | bytes


def open_redis(settings: Settings) -> ArqRedis:
    """A client with its own pool; nothing is sent yet. Answers are text. Behind Sentinels its connections lead to the master.

    redis-py's own retries stay off: measured with 5.x, a first call on a fresh connection to a frozen server did not come
    back within 40 s when one retry was allowed. Repeating is `Scripts`' business.
    """
    url = settings.redis_url.get_secret_value()
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": settings.redis_timeout_s,
        "socket_connect_timeout": 1.0,
        "retry": Retry(NoBackoff(), 0),
    }
    address = read_sentinel_address(url)
    pool = master_pool(address, **options) if address else ConnectionPool.from_url(url, **options)
    return ArqRedis(pool_or_conn=pool, job_serializer=serialize, job_deserializer=deserialize)


class Scripts:
    """Runs the scripts of `shared/store/scripts` and plain commands.

    Calls that are made in the same turn of the loop travel in one pipeline: with `appendfsync always` they share a sync.
    """

    def __init__(self, redis: "ArqRedis", *, timeout_s: float) -> None:
        self.redis = redis
        self._timeout_s = timeout_s
        folder = files("shared.store").joinpath("scripts")
        prelude = "".join(folder.joinpath(name).read_text() for name in _PRELUDE)
        self._sources = {
            file.name.removesuffix(".lua"): prelude + file.read_text() for file in folder.iterdir() if file.name not in _PRELUDE
        }
        # Redis names a script by its SHA-1; nothing is kept secret by it.
        self._shas = {
            name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in self._sources.items()
        }
        self._waiting: deque[tuple[tuple[Argument, ...], asyncio.Future[Any]]] = deque()
        self._pipelines: set[asyncio.Task[None] | None] = set()

    async def run(self, script: str, key: str, *args: Argument, more_keys: Sequence[str] = (), patience_s: float = 0.0) -> Any:
        """Run a script, repeating it for `patience_s` seconds while Redis does not answer.

        A connection that breaks is tried once more in any case; one that is silent has used up the time for that.

        Raises:
            StoreUnavailable: no answer; the script may or may not have run.
            Overloaded: Redis is full and the script needs room.
        """
        call = ("EVALSHA", self._shas[script], 1 + len(more_keys), key, *more_keys, *args)
        began, repeated = time.monotonic(), False
        while True:
            try:
                try:
                    return await self.command(*call)
                except NoScriptError:
                    await self.command("SCRIPT LOAD", self._sources[script])
            except StoreUnavailable:
                waited_s = time.monotonic() - began
                if waited_s > patience_s and (repeated or waited_s > self._timeout_s / 2):
                    raise
                repeated = True
                await asyncio.sleep(_REPEAT_AFTER_S)

    async def command(self, *command: Argument) -> Any:
        """Run one command. Raises StoreUnavailable, Overloaded, or the ResponseError of a wrong command."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, future))
        if len(self._pipelines) < _PIPELINES_AT_ONCE:
            self._pipelines.add(asyncio.create_task(self._send()))
        return await future

    async def close(self) -> None:
        """Drop what is on its way. To be called before the client is closed, which would break it."""
        pipelines = [task for task in self._pipelines if task is not None]
        for pipeline in pipelines:
            pipeline.cancel()
        await asyncio.gather(*pipelines, return_exceptions=True)

    async def _send(self) -> None:
        """Send what is waiting, until nothing is."""
        try:
            while self._waiting:
                count = min(len(self._waiting), _COMMANDS_A_PIPELINE)
                await self._send_batch([self._waiting.popleft() for _ in range(count)])
        finally:
            # Not in a callback of the task: whoever was answered runs before it, and would find no room for its next command.
            self._pipelines.discard(asyncio.current_task())

    async def _send_batch(self, batch: "list[tuple[tuple[Argument, ...], asyncio.Future[Any]]]") -> None:
        answers: list[Any]
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = await self._exchange([command for command, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:
            if not isinstance(error, (RedisError, OSError)):
                _log.exception("the client of redis broke")
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            _settle(future, answer)

    async def _exchange(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        """An answer or a ResponseError for each. redis-py's pipeline packs in Python, which costs more than the rest of it."""
        pool = self.redis.connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(list(map(_packed, commands)))
            answers = [await self._answer(connection, command) for command in commands]
            if any(isinstance(answer, ResponseError) and _says(answer, _DEMOTED) for answer in answers):
                # A master no more: the next command asks where the new one is.
                await connection.disconnect(nowait=True)
            return answers
        except BaseException:
            # Answers that were not read would be taken for those of the next commands.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)

    async def _answer(self, connection: Any, command: tuple[Argument, ...]) -> Any:
        try:
            return await self.redis.parse_response(connection, str(command[0]))
        except ResponseError as error:
            return error


def _packed(command: tuple[Argument, ...]) -> bytes:
    name, *arguments = command
    packed: bytes = pack_command((*str(name).split(), *arguments))  # type: ignore[arg-type]  # the stub says one, it takes any number
    return packed


def _settle(future: "asyncio.Future[Any]", answer: Any) -> None:
    if future.done():
        return
    if not isinstance(answer, BaseException):
        future.set_result(answer)
    elif isinstance(answer, OutOfMemoryError) or (isinstance(answer, ResponseError) and "OOM" in str(answer)):
        future.set_exception(Overloaded("the job store is full; try again later", retry_after_s=30))
    elif isinstance(answer, ResponseError) and not _says(answer, _NOT_NOW):
        future.set_exception(answer)
    else:
        error = StoreUnavailable("the job store did not answer; the request may have been accepted", retry_after_s=1)
        error.__cause__ = answer
        future.set_exception(error)


def _says(error: ResponseError, parts: Sequence[str]) -> bool:
    return any(part in str(error) for part in parts)


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """A hash as scripts return it: field, value, field, value …"""
    return dict(zip(flat[::2], flat[1::2], strict=True))
