"""Keeps processes running: starts them in order, starts one again that dies, stops them in the opposite order."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.standalone.data_dir import write_private
from deploy.standalone.display import Display
from deploy.standalone.keeper import Keeper

_PROBE_EVERY_S = 0.03
_BACKOFF_FIRST_S = 0.2
_BACKOFF_MAX_S = 10.0
_STEADY_S = 30.0
_LOG_TAIL_LINES = 15
_FIRST_OUTPUT_BYTES = 1024 * 1024
_UMASK = 0o077


class StartFailed(Exception):
    """A process did not come up; the message says which, why, and where its log is."""


@dataclass(frozen=True, slots=True)
class Service:
    """How one process is started, known to be ready and stopped."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    #: Ready when this answers True (asked again until then), or when this line is printed.
    ready: Callable[[], Awaitable[bool]] | str
    #: Higher stages stop first, services of one stage together.
    stage: int
    ready_within_s: float = 30.0
    stop_within_s: float = 3.0
    #: For programs that do not watch their parent: where the process id is left for the next run's `end_leftover`.
    pid_file: Path | None = None


@dataclass(slots=True)
class _Child:
    service: Service
    process: asyncio.subprocess.Process | None = None
    log_start: int = 0  #: where in the log the running process began
    revival: asyncio.Task[None] | None = None


class Supervisor:
    """The processes of one stack. After `start` of each and until `stop`, they are kept running."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._keeper = Keeper()
        self._children: list[_Child] = []

    async def open(self) -> None:
        """Start the keeper, which ends our processes if we are killed."""
        await self._keeper.start()

    async def start(self, service: Service) -> None:
        """Start a process, wait until it is ready, and keep it running from then on. Raises StartFailed."""
        child = _Child(service)
        self._children.append(child)
        with self._display.starting(service.name):
            await self._bring_up(child)
        child.revival = asyncio.create_task(self._revive(child))

    async def run(self, name: str, command: Sequence[str], environment: Mapping[str, str], *, timeout_s: float = 30.0) -> None:
        """Run a command to its end. Raises StartFailed unless it ends with exit code 0 in time."""
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            umask=_UMASK,
        )
        self._keeper.add(process.pid)
        try:
            output, _ = await asyncio.wait_for(process.communicate(), timeout_s)
        except TimeoutError:
            raise StartFailed(f"{name} took longer than {timeout_s:.0f} s") from None
        finally:
            _kill_group(process.pid)
            await process.wait()
            self._keeper.remove(process.pid)
        if process.returncode:
            lines = output.decode(errors="replace").strip().splitlines()[-_LOG_TAIL_LINES:]
            raise StartFailed("\n  ".join([f"{name} {_how_it_ended(process.returncode)}:", *lines]))

    async def stop(self) -> None:
        """Stop all processes, the last stage first, each stage within the longest `stop_within_s` of its services."""
        revivals = [child.revival for child in self._children if child.revival]
        for revival in revivals:
            revival.cancel()
        if revivals:
            await asyncio.wait(revivals)
        for stage in sorted({child.service.stage for child in self._children}, reverse=True):
            children = [child for child in self._children if child.service.stage == stage]
            await asyncio.gather(*(self._end(child) for child in children))
        self._children.clear()
        await self._keeper.close()

    async def _bring_up(self, child: _Child) -> None:
        service = child.service
        try:
            process = await self._spawn(child)
            async with asyncio.timeout(service.ready_within_s):
                await self._wait_until_ready(child, process)
        except TimeoutError:
            await self._kill(child)
            raise StartFailed(_describe(service, f"was not ready within {service.ready_within_s:.0f} s")) from None
        except OSError as error:
            raise StartFailed(f"{service.name} cannot be started: {error}") from error
        except StartFailed:
            await self._kill(child)
            raise

    async def _spawn(self, child: _Child) -> asyncio.subprocess.Process:
        service = child.service
        # Output goes straight to the file: as long as anything that a process started holds a pipe of its, asyncio does
        # not tell that the process has ended (Python 3.11).
        with service.log.open("ab") as log:
            child.log_start = log.tell()
            process = await asyncio.create_subprocess_exec(
                *service.command,
                env=dict(service.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C reaches the whole session of a terminal; the order of stopping is ours.
                start_new_session=True,
                umask=_UMASK,
            )
        child.process = process
        self._keeper.add(process.pid)
        if service.pid_file:
            write_private(service.pid_file, str(process.pid))
        return process

    async def _wait_until_ready(self, child: _Child, process: asyncio.subprocess.Process) -> None:
        service = child.service
        ended = asyncio.create_task(process.wait())
        ready = asyncio.create_task(_become_ready(child))
        try:
            await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                ready.result()
            else:
                raise StartFailed(_describe(service, _how_it_ended(ended.result())))
        finally:
            ended.cancel()
            ready.cancel()

    async def _revive(self, child: _Child) -> None:
        name, deaths = child.service.name, 0
        while child.process is not None:
            born = time.monotonic()
            status = await child.process.wait()
            await self._forget(child, child.process)
            if time.monotonic() - born > _STEADY_S:
                deaths = 0
            delay_s = min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2**deaths)
            deaths += 1
            self._display.warn(f"{name} {_how_it_ended(status)}; starting it again in {delay_s:.1f} s")
            await asyncio.sleep(delay_s)
            try:
                await self._bring_up(child)
            except StartFailed as error:
                self._display.warn(str(error))
            else:
                self._display.say(f"{name} is back")

    async def _end(self, child: _Child) -> None:
        process, service = child.process, child.service
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), service.stop_within_s)
            except TimeoutError:
                self._display.warn(f"{service.name} did not stop within {service.stop_within_s:.0f} s and is killed")
        await self._kill(child)
        self._display.say(f"{service.name} stopped")

    async def _kill(self, child: _Child) -> None:
        if child.process is not None:
            _kill_group(child.process.pid)
            await child.process.wait()
            await self._forget(child, child.process)

    async def _forget(self, child: _Child, process: asyncio.subprocess.Process) -> None:
        """Clear up after a process that has ended: what it started, its pid file."""
        _kill_group(process.pid)
        self._keeper.remove(process.pid)
        if child.service.pid_file:
            child.service.pid_file.unlink(missing_ok=True)


async def _become_ready(child: _Child) -> None:
    ready = child.service.ready
    while not (_printed(child, ready) if isinstance(ready, str) else await ready()):  # noqa: ASYNC110 - nobody tells us
        await asyncio.sleep(_PROBE_EVERY_S)


def _printed(child: _Child, line: str) -> bool:
    """Whether the running process has printed this line, among the first MiB of what it printed."""
    with child.service.log.open("rb") as log:
        log.seek(child.log_start)
        return f"{line}\n".encode() in log.read(_FIRST_OUTPUT_BYTES).splitlines(keepends=True)


def _kill_group(group: int) -> None:
    """kill -9 a process and what it started. No error if they have ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _how_it_ended(status: int) -> str:
    return f"was ended by signal {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"


def _describe(service: Service, what: str) -> str:
    lines = service.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    return "\n  ".join([f"{service.name} {what}; the end of {service.log}:", *lines])
