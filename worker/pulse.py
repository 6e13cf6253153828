"""`python -m worker.pulse`: exit code 0 if a worker on this machine lives, 1 with one line on stderr if none does.

A worker says after each heartbeat until when it is to be believed alive. It does so while Redis is away, too: whoever restarted
it then would lose the results in its hands. Next to nothing is imported here, because orchestrators ask every few seconds.
"""

import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from worker.scratch import PREFIX

_MARK = "alive-until"
_BEATS = 20  #: so many heartbeats may be missing


def mark_alive(scratch: Path, beat_s: float) -> None:
    """Say that this worker lives, in its own folder. `beat_s`: seconds to the next heartbeat."""
    mark, until = scratch / _MARK, time.time() + _BEATS * beat_s
    mark.touch(mode=0o600)
    os.utime(mark, (until, until))


def main() -> int:
    """Look through the folders of all workers here; in a container there is one."""
    overdue_s = []
    for mark in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{_MARK}"):
        # A worker that ends at this very moment takes its folder with it.
        with suppress(FileNotFoundError):
            overdue_s.append(time.time() - mark.stat().st_mtime)
    if any(seconds < 0 for seconds in overdue_s):
        return 0
    silent = f"the heartbeat is overdue by {min(overdue_s):.0f} s" if overdue_s else "no worker has begun"
    sys.stderr.write(f"worker: {silent}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
