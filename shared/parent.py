"""A process that must not outlive the one that started it, whatever ends that one."""

import os
import threading
import time

_POLL_S = 0.5


def watch_parent(pid: int) -> None:
    """End this process, with exit code 1 and without clean-up, at most a second after process `pid` is gone.

    For `Settings.parent_pid`, and for pool processes, whose parent is the process that made the pool. Watches from a
    daemon thread, so it also works while the event loop is blocked. `pid` 0: there is nobody to watch.
    """
    if pid:
        threading.Thread(target=_watch, args=(pid,), name="watch-parent", daemon=True).start()


def _watch(pid: int) -> None:
    # The kernel gives children of a dead process another parent at once; an id alone might be in use again.
    is_child = os.getppid() == pid
    while os.getppid() == pid if is_child else _exists(pid):
        time.sleep(_POLL_S)
    os._exit(1)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
