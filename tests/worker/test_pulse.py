"""`python -m worker.pulse`: what an orchestrator is told about a worker."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import StoreUnavailable
from worker import pulse
from worker.hands import Hands
from worker.pulse import mark_alive
from worker.scratch import open_scratch

_BEAT_S = 3.0


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def _asked(temporary: Path) -> "subprocess.CompletedProcess[str]":
    """As an orchestrator asks."""
    command = (sys.executable, "-X", "importtime", "-m", "worker.pulse")
    return subprocess.run(command, env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, text=True, timeout=20)


def test_a_worker_lives_from_its_first_heartbeat_to_its_end(temporary: Path) -> None:
    with open_scratch() as scratch:
        assert _asked(temporary).returncode == 1
        mark_alive(scratch, _BEAT_S)
        asked = _asked(temporary)
        assert asked.returncode == 0
        # It is asked every few seconds: what the worker itself needs may not be loaded for that.
        loaded = {line.split("|")[-1].strip() for line in asked.stderr.splitlines()}
        assert not loaded & {"redis", "pydantic", "asyncio", "aiohttp"}
    asked = _asked(temporary)
    assert (asked.returncode, asked.stderr.splitlines()[-1]) == (1, "worker: no worker has begun")


def test_one_that_has_missed_its_heartbeats_is_dead(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_scratch() as scratch:
        mark_alive(scratch, _BEAT_S)
        (mark,) = scratch.glob("alive-until")
        os.utime(mark, (mark.stat().st_mtime - 100, mark.stat().st_mtime - 100))
        assert pulse.main() == 1
        assert capsys.readouterr().err == "worker: the heartbeat is overdue by 40 s\n"


async def test_it_is_alive_while_redis_is_away() -> None:
    class Away:
        async def renew(self, *_: object, **__: object) -> None:
            raise StoreUnavailable("the job store did not answer")

    beaten = asyncio.Event()
    hands = Hands(Away(), name="w1", slots=1, providers=(), beat_s=60)  # type: ignore[arg-type]
    hands.after_beat = beaten.set
    beating = asyncio.create_task(hands.beat_for_ever())
    async with asyncio.timeout(10):
        await beaten.wait()
    beating.cancel()
