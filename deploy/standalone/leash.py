"""`leash.py PARENT_PID PROGRAM ARGUMENT…` becomes PROGRAM, a process that gets SIGTERM when its parent ends.

For servers that are not ours and would not notice. Linux only; elsewhere the keeper alone ends them.
Source: prctl(2), PR_SET_PDEATHSIG: it holds over execve, and the "parent" is the thread that forked.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Raises OSError if the program cannot be started."""
    parent_pid, program = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent_pid:
            sys.exit("the parent ended before the program was started")
    os.execv(program, sys.argv[2:])  # noqa: S606 - there is no shell in between


if __name__ == "__main__":
    main()
