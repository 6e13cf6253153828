"""A server of an earlier run that still lives, because that run and its keeper were killed together."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

_TERM_S = 5.0
_KILL_S = 5.0
_POLL_S = 0.02
_PS_S = 5.0


def end_leftover(pid_file: Path, *, mark: str) -> bool:
    """End the process whose id an earlier run left in `pid_file`. Whether there was one.

    `mark`: a piece of its command line; a process that lacks it has merely come by the same id.
    Blocks for at most 10 s. Call it only while holding the folder's lock.
    """
    try:
        pid = int(pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return False
    found = mark in _command_line(pid)
    for number, patience_s in ((signal.SIGTERM, _TERM_S), (signal.SIGKILL, _KILL_S)):
        deadline = time.monotonic() + patience_s
        while mark in _command_line(pid) and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            time.sleep(_POLL_S)
    pid_file.unlink()
    return found


def _command_line(pid: int) -> str:
    """Empty when there is no such process. Source: proc(5); POSIX ps where there is no /proc."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    command = ("ps", "-o", "command=", "-p", str(pid))
    return subprocess.run(command, capture_output=True, text=True, timeout=_PS_S, check=False).stdout
