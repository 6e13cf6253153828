"""The folder of a worker's pictures: whose it is, and what becomes of a killed worker's."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from worker.scratch import open_scratch

HOLDER = (
    "import os, sys; from worker.scratch import open_scratch\nwith open_scratch() as f: print(f, flush=True); sys.stdin.read()"
)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_folder_is_there_while_it_is_held_and_gone_afterwards(temporary: Path) -> None:
    with open_scratch() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "picture").write_bytes(b"x")
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(temporary: Path) -> None:
    holders = [subprocess.Popen([sys.executable, "-c", HOLDER], stdin=-1, stdout=-1, text=True) for _ in range(2)]
    killed, living = (Path(holder.stdout.readline().strip()) for holder in holders if holder.stdout)
    holders[0].kill()
    holders[0].communicate()
    assert killed.exists()
    try:
        with open_scratch() as own:
            assert sorted(temporary.iterdir()) == sorted((living, own))
    finally:
        holders[1].communicate()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("age_s", "left"), [(0, True), (120, False)])
def test_a_folder_without_a_lock_is_removed_once_nobody_can_be_opening_it(temporary: Path, age_s: int, left: bool) -> None:
    folder = temporary / "edit-studio-worker-odd"
    folder.mkdir()
    changed_at = folder.stat().st_mtime - age_s
    os.utime(folder, (changed_at, changed_at))
    with open_scratch():
        assert folder.exists() == left
