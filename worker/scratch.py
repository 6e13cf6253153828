"""The folder in which a worker keeps the pictures of edits in hand. A killed worker leaves its own; the next one removes it."""

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "edit-studio-worker-"
_LOCK = "lock"
_UNLOCKED_LIFE_S = 60.0


@contextmanager
def open_scratch() -> Iterator[Path]:
    """This process' own folder, removed at the end. Its lock tells the others that it is in use, for as long as we live."""
    parent = Path(tempfile.gettempdir())
    for folder in parent.glob(f"{PREFIX}*"):
        _remove_if_left(folder)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    with (folder / "opening").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Under its name the lock is never seen open.
        (folder / "opening").rename(folder / _LOCK)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    """Remove it if its process is gone. Another user's folder, and one that goes away meanwhile, is none of ours."""
    try:
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except FileNotFoundError:
        # Its process may be about to lock it.
        if _age_s(folder) > _UNLOCKED_LIFE_S:
            shutil.rmtree(folder, ignore_errors=True)
    except (BlockingIOError, PermissionError):
        pass


def _age_s(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
