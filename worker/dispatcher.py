"""How edits are claimed from Redis and given back: arq's worker with its parts that cost or lose too much replaced.

What stays arq's: the process, its signals, the function registry, the slots and the health key. What is ours: picking.
`take` claims edits for free slots in one script, in fair turns and within limits, and they are running at once; stock arq
reads a queue every half second, spends five round trips on an edit and reads every running id again at each poll.
arq is maintained for fixes only (its issue 510), so what we touch of it is pinned and under contract tests.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from arq.worker import Function, Worker
from redis.exceptions import RedisError

from shared.errors import EditStudioError
from shared.job import JobRecord
from shared.queue import RUN_EDIT, deserialize, serialize
from shared.store.leases import Leases, Release

POLL_S = 3.0  #: safety net; a publish wakes an idle worker at once
_TAKEN_AT_ONCE = 64
_TROUBLE_WAIT_S = 0.5
_log = logging.getLogger(__name__)


class EditWorker(Worker):
    """Takes edits whenever there are free slots and news of work."""

    def __init__(
        self,
        *,
        name: str,
        leases: Leases,
        slots: int,
        providers: Sequence[str],
        drain_s: float,
        function: Function,
        drain: Callable[[], Awaitable[None]],
        **arq: Any,
    ) -> None:
        """`drain` is awaited once when the process was asked to stop; the rest of what it holds has `drain_s` to end."""
        super().__init__(
            functions=[function],
            max_jobs=slots,
            poll_delay=0,
            keep_result=0,
            job_completion_wait=max(1, int(drain_s)),
            job_serializer=serialize,
            job_deserializer=deserialize,
            health_check_interval=10,
            health_check_key=f"arq:health-check:{name}",
            **arq,
        )
        self.name = name
        self.wake = asyncio.Event()
        self._leases = leases
        self._providers = tuple(providers)
        self._taken = 0
        self._taking = asyncio.Lock()
        self._drain = drain
        self._draining: asyncio.Future[None] | None = None

    async def _poll_iteration(self) -> None:
        """Wait for news or the safety net, then fill the free slots. Trouble with Redis is no reason to end."""
        if self.is_stopped and not self.tasks:
            # arq cancels the loop once, and a cancel that falls into the client's connecting has been seen to get lost.
            raise asyncio.CancelledError
        try:
            async with asyncio.timeout(POLL_S):
                await self.wake.wait()
        except TimeoutError:
            pass
        self.wake.clear()
        try:
            while self.allow_pick_jobs and await self._fill():
                continue
            await self.heart_beat()
        except (EditStudioError, RedisError, OSError) as error:
            _log.warning("taking edits failed", extra={"error": str(error)})
            await asyncio.sleep(_TROUBLE_WAIT_S)
            self.wake.set()

    async def _fill(self) -> bool:
        """Take edits for the free slots. True if more may be waiting and there is room for them."""
        free = self.max_jobs - len(self.tasks)
        if free < 1:
            return False
        want = min(free, _TAKEN_AT_ONCE)
        # The nonce stays the same until there is an answer: a lost one is answered again, not lost with its edits.
        nonce = f"{os.getpid()}-{self._taken}"
        async with self._taking:
            records = await self._leases.take(self.name, nonce=nonce, want=want, providers=self._providers)
            self._taken += 1
            for record in records:
                if self.is_stopped:
                    await self._leases.release(record, Release())
                else:
                    self._start(record)
        return len(records) == want

    def _start(self, record: JobRecord) -> None:
        function = self.functions[RUN_EDIT]
        assert isinstance(function, Function)
        key = f"{record.id}:{record.gen}"
        task = self.loop.create_task(function.coroutine({**self.ctx, "job_id": key}, record))
        self.tasks[key] = self.job_tasks[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: str, task: "asyncio.Task[Any]") -> None:
        del self.tasks[key], self.job_tasks[key]
        self.wake.set()
        if task.cancelled() or task.exception() is None:
            self.jobs_complete += 1
        else:
            self.jobs_failed += 1
            _log.error("the edit's task broke", extra={"job": key}, exc_info=task.exception())

    def handle_sig_wait_for_completion(self, signum: signal.Signals) -> None:
        """SIGTERM: pick no more, let `drain` give back what can be resumed elsewhere, wait for the rest up to `drain_s`."""
        if not self.allow_pick_jobs:
            return
        super().handle_sig_wait_for_completion(signum)
        self._draining = asyncio.ensure_future(self._drain())

    async def _sleep_until_tasks_complete(self) -> None:
        """Wait for the edits in hand, and for those that were asked for before the stop: they are ours before we know them."""
        async with self._taking:
            pass
        await super()._sleep_until_tasks_complete()

    @property
    def is_stopped(self) -> bool:
        """Whether the process was asked to stop."""
        return not self.allow_pick_jobs

    async def close(self) -> None:
        """End the tasks. One's failure must not drop the others, and the connection is not ours to close: arq does both."""
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        try:
            await self.pool.delete(self.health_check_key)
        except RedisError as error:
            _log.warning("redis did not answer at the end", extra={"error": type(error).__name__})
