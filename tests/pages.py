"""Pages whose blocks are tried as they stand: marked `<!-- run: sh -->`, `run: python`, `file: PATH`, `into: PATH` or `up`."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"<!-- (run|file|into|up)(?:: (\S+))? -->\n```\w+\n(.*?)```", re.DOTALL)
_READY_S = 60.0
_SNIPPET_S = 60.0
_END_S = 30.0


@dataclass(frozen=True)
class Block:
    """`kind`: run, file, into or up. `detail`: the language, or the file's path."""

    kind: str
    detail: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The marked blocks in their order."""
    return [Block(*found) for found in _BLOCK.findall(page.read_text())]


def write(block: Block, folder: Path) -> None:
    """Put a `file` where it belongs below `folder`."""
    file = folder / block.detail
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text)


def run(block: Block, folder: Path, variables: Mapping[str, str]) -> str:
    """Run a block in `folder`, where it finds our tests with their pictures; what it printed. It must succeed."""
    if not (folder / "tests").exists():
        (folder / "tests").symlink_to(ROOT / "tests")
    command = [sys.executable, "-c"] if block.detail == "python" else _SHELL
    environment = _environment(variables)
    done = subprocess.run([*command, block.text], cwd=folder, env=environment, capture_output=True, text=True, timeout=_SNIPPET_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def standing_up(command: str, folder: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """Run a line that starts `edit-studio up`, until the end; its address."""
    log = folder / "up.log"
    with log.open("wb") as out:
        up = subprocess.Popen([*_SHELL, f"exec env {command}"], cwd=folder, env=_environment(variables), stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + _READY_S
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())) or "is running" not in log.read_text():
            assert up.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield found[0]
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(_END_S)


_SHELL = ["bash", "-euo", "pipefail", "-c"]


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **variables}
