"""The keeper ends what a supervisor that was killed can no longer end.

A small process reads from a pipe which process groups come and go (`+pid`, `-pid`). The supervisor alone holds the other
end: when it ends, by whatever cause, the pipe closes and the keeper ends all groups that are left.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from typing import BinaryIO

_GRACE_S = 3.0
_POLL_S = 0.05
_START_AGAIN_S = 0.5


class Keeper:
    """The supervisor's end. The keeper itself is started again when it dies."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the keeper's process; it is watched until `close`."""
        await self._spawn()
        self._watch = asyncio.create_task(self._start_again())

    def add(self, group: int) -> None:
        """End this process group when the supervisor is gone."""
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """The group has ended; its id may come to mean another one."""
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    async def close(self) -> None:
        """End the keeper, and with it every group that is still registered. Takes at most a little over 3 s."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), _GRACE_S + 1)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def _spawn(self) -> None:
        known = set(self._groups)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "deploy.standalone.keeper", *map(str, known)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        for group in self._groups - known:
            self._tell(f"+{group}\n")
        for group in known - self._groups:
            self._tell(f"-{group}\n")

    async def _start_again(self) -> None:
        while self._process is not None:
            await self._process.wait()
            await asyncio.sleep(_START_AGAIN_S)
            await self._spawn()

    def _tell(self, line: str) -> None:
        # To a keeper that just died this is lost, and told again to the next one.
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(line.encode())


def main(groups: set[int], pipe: BinaryIO) -> None:
    """Read until the supervisor is gone, then end what is left. `groups`: those that are alive at the beginning."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)
    for line in pipe:
        group = int(line[1:])
        if line.startswith(b"+"):
            groups.add(group)
        else:
            groups.discard(group)
    _end_groups(groups)


def _end_groups(groups: set[int]) -> None:
    """SIGTERM to all of these process groups, then SIGKILL to those that are left after 3 s."""
    deadline = time.monotonic() + _GRACE_S
    _signal_all(groups, signal.SIGTERM)
    while (left := _signal_all(groups, 0)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    _signal_all(left, signal.SIGKILL)


def _signal_all(groups: set[int], number: int) -> set[int]:
    """Those of the groups that still had a process to take the signal."""
    reached = set()
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
            reached.add(group)
    return reached


if __name__ == "__main__":
    main(set(map(int, sys.argv[1:])), sys.stdin.buffer)
