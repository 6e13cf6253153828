"""Processes for pixel work: as many as settings say, started when needed, recycled, bounded in memory and time.

Each process is fed over its own pipe, so that one that hangs or dies takes down its own work and nobody else's.
"""

import asyncio
import atexit
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar, TypeVarTuple

from shared.errors import Overloaded
from shared.parent import watch_parent
from shared.settings import Settings

TASKS_PER_PROCESS = 1_000  #: a process is replaced after as many, so that fragmented memory is given back; its start costs 0.4 s
MEMORY_MAX_BYTES = 6 * 1024**3  #: address space of one process, libraries and thread stacks included
WAITING_MAX_PER_PROCESS = 64
_END_WAIT_S = 5.0

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class PixelWorkLost(Exception):
    """The process died under the work, most likely for want of memory. The pool goes on with a new process."""


class PixelWorkTimedOut(PixelWorkLost):
    """The work took longer than it may; its process was killed."""


class PixelPool:
    """Runs functions of importable modules in processes of their own. Nothing starts before the first `run`."""

    def __init__(self, settings: Settings) -> None:
        self._processes = settings.pool_processes
        self._free = asyncio.Semaphore(self._processes)
        # A thread waits for each busy process: a pipe may carry 100 MB, which the event loop must not read itself.
        self._threads = ThreadPoolExecutor(self._processes, thread_name_prefix="pixel-pool")
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._inside = 0
        # Without this an exit that skips `close` would wait for children that ignore SIGTERM.
        atexit.register(self._kill_all)

    async def run(self, function: Callable[[*Arguments], T], *args: *Arguments, timeout_s: float) -> T:
        """`function(*args)` in a process; arguments, result and errors are pickled. What it raises is raised here.

        `timeout_s` counts from the moment a process is free. A canceled caller's process is killed.

        Raises:
            PixelWorkTimedOut: not done within `timeout_s`.
            PixelWorkLost: the process died.
            Overloaded: too much work waits already.
        """
        if self._inside >= self._processes * (1 + WAITING_MAX_PER_PROCESS):
            raise Overloaded("too many pictures wait for a process")
        self._inside += 1
        try:
            async with self._free:
                return await self._run_in(self._idle.pop() if self._idle else _Child(), function, args, timeout_s)
        finally:
            self._inside -= 1

    async def _run_in(self, child: "_Child", function: Callable[..., T], args: tuple[Any, ...], timeout_s: float) -> T:
        self._busy.add(child)
        try:
            work = asyncio.get_running_loop().run_in_executor(self._threads, child.call, function, args, timeout_s)
            answered, value = await work
        except asyncio.CancelledError:
            child.kill()
            raise
        finally:
            self._busy.discard(child)
            if child.usable:
                self._idle.append(child)
        if not answered:
            raise value
        result: T = value
        return result

    async def close(self) -> None:
        """End every process; work that is still running is lost."""
        ending = (*self._idle, *self._busy)
        self._kill_all()
        await asyncio.to_thread(self._threads.shutdown)
        for child in ending:
            await asyncio.to_thread(child.end)
        atexit.unregister(self._kill_all)

    def _kill_all(self) -> None:
        for child in (*self._idle, *self._busy):
            child.kill()
        self._idle.clear()


class _Child:
    """One process and the pipe to it. `call` and `end` block and belong in a thread; `kill` may come at any time."""

    def __init__(self) -> None:
        self._tasks = 0
        self._killed = False
        self._process: SpawnProcess | None = None
        self._pipe: Connection[Any, Any] | None = None

    @property
    def usable(self) -> bool:
        """Whether it may be called again."""
        return not self._killed

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], timeout_s: float) -> tuple[bool, Any]:
        """(True, result) or (False, the error that the function raised). Raises PixelWorkLost; then it is not usable."""
        try:
            pipe = self._started()
            pipe.send((function, args))
            if not pipe.poll(timeout_s):
                raise PixelWorkTimedOut(f"the pixel work took longer than {timeout_s:g} s")
            answer: tuple[bool, Any] = pipe.recv()
        except (EOFError, OSError) as error:
            self.end()
            raise PixelWorkLost("the process that worked on the pixels died") from error
        except BaseException:
            self.end()
            raise
        self._tasks += 1
        if self._tasks >= TASKS_PER_PROCESS:
            self.end()
        return answer

    def kill(self) -> None:
        """End the process without waiting for its end. Safe to repeat."""
        # `_started` sets the process first and reads the flag then: in any interleaving one of the two kills it.
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def end(self) -> None:
        """End the process and wait until it is gone. Safe to repeat."""
        self.kill()
        if self._process is not None:
            self._process.join(_END_WAIT_S)

    def _started(self) -> "Connection[Any, Any]":
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, os.getpid(), MEMORY_MAX_BYTES), name="pixels", daemon=True)
            process.start()
            # Our copy must go, or the end of the process would not show as the end of the pipe.
            theirs.close()
            self._process = process
        if self._killed:
            raise EOFError
        return self._pipe


def _serve(pipe: "Connection[Any, Any]", parent_pid: int, memory_max_bytes: int) -> None:
    """The life of one process: answer work until the pipe or the parent ends."""
    # Ctrl-C and a supervisor's SIGTERM reach the whole group; the parent decides when its pixel work ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A busy process would not notice that its pipe has ended.
    watch_parent(parent_pid)
    _limit_memory(memory_max_bytes)
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        try:
            answer: tuple[bool, Any] = True, function(*args)
        except Exception as error:
            error.add_note("".join(traceback.format_exception(error)))
            answer = False, error
        try:
            pipe.send(answer)
        except OSError:
            return


def _limit_memory(memory_max_bytes: int) -> None:
    """Bound the address space where the system can (`resource` exists on Unix only)."""
    try:
        import resource
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = memory_max_bytes if hard == resource.RLIM_INFINITY else min(memory_max_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
