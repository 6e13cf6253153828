"""News from Redis: which edits changed, and that there is work. Lossy by nature: whoever waits reads again from time to time."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from shared.turns import Turns

CHANGED = "changed"  #: payload: an edit's id
WAKE = "wake"  #: payload: a lane, `outbox`, `batches` or `cancel`
_AGAIN_AFTER_S = 0.5
_SILENT_S = 5.0
_log = logging.getLogger(__name__)


class Subscription:
    """One connection that listens to one channel and calls back for each message; it comes back after an outage.

    A server that went away without a word, as in a failover of its machine, is told from a quiet one by a ping.
    """

    def __init__(self, redis: "Redis", channel: str, on_message: Callable[[str], None]) -> None:
        self._redis = redis
        self._channel = channel
        self._on_message = on_message
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening."""
        # Seen with redis-py 5.3 on uvloop: a task that is canceled while it connects may go on as if nothing had been.
        while self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=_AGAIN_AFTER_S)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(self._channel)
                    asked, turns = False, Turns()
                    while True:
                        message = await pubsub.get_message(timeout=_SILENT_S)
                        if message is None and asked:
                            raise RedisConnectionError("no answer to a ping")
                        asked = message is None
                        if message is None:
                            await pubsub.ping()
                        elif message["type"] == "message":
                            self._on_message(str(message["data"]))
                            # The cancel of a batch makes hundreds of messages at a time; those that have come are not waited for.
                            await turns.give()
            except (RedisError, OSError) as error:
                _log.warning("news from redis stopped: %s", type(error).__name__)
                await asyncio.sleep(_AGAIN_AFTER_S)


class Changes:
    """Lets many requests of one process wait for their edits over one connection."""

    def __init__(self, redis: "Redis") -> None:
        self._subscription = Subscription(redis, CHANGED, self._wake)
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)

    def start(self) -> None:
        """Begin to listen."""
        self._subscription.start()

    async def close(self) -> None:
        """Stop listening."""
        await self._subscription.close()

    @contextlib.contextmanager
    def watch(self, job_id: str) -> Iterator["Watch"]:
        """News of one edit from here on: enter, read the edit, then wait; a change in between is not missed."""
        watch = Watch()
        self._watches[job_id].add(watch)
        try:
            yield watch
        finally:
            self._watches[job_id].discard(watch)
            if not self._watches[job_id]:
                del self._watches[job_id]

    def _wake(self, job_id: str) -> None:
        for watch in self._watches.get(job_id, ()):
            watch.event.set()


class Watch:
    """One who waits for one edit."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    async def changed(self, *, timeout_s: float) -> bool:
        """True when there was news since the last call, False after `timeout_s`. News may be lost: read at least every 2 s."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.event.wait()
        except TimeoutError:
            return False
        self.event.clear()
        return True
