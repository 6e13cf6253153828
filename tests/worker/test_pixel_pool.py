"""The pixel pool with real processes: answers, errors, time limits, deaths, recycling, the end of the parent."""

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import worker.pixel_pool
from shared.errors import Overloaded
from shared.settings import Settings
from worker.pixel_pool import PixelPool, PixelWorkLost, PixelWorkTimedOut

_LONG_S = 600.0
_DEADLINE_S = 30.0


def _settings(processes: int) -> Settings:
    return Settings(secret="s" * 32, pool_processes=processes)


@pytest.fixture
async def pool() -> AsyncIterator[PixelPool]:
    pool = PixelPool(_settings(1))
    yield pool
    await pool.close()


def _gone(pid: int) -> bool:
    """Whether no such process exists; one that ended but was not waited for (a zombie) counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def _until(fact: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _DEADLINE_S
    while not fact():
        assert time.monotonic() < end, f"not within {_DEADLINE_S} s: {what}"
        await asyncio.sleep(0.02)


async def test_work_runs_in_another_process_which_is_used_again(pool: PixelPool) -> None:
    first = await pool.run(os.getpid, timeout_s=_DEADLINE_S)
    second = await pool.run(os.getpid, timeout_s=_DEADLINE_S)
    assert first == second != os.getpid()
    assert await pool.run(math.factorial, 5, timeout_s=_DEADLINE_S) == 120


async def test_an_error_of_the_function_is_raised_here_and_the_process_lives_on(pool: PixelPool) -> None:
    pid = await pool.run(os.getpid, timeout_s=_DEADLINE_S)
    with pytest.raises(ZeroDivisionError) as raised:
        await pool.run(divmod, 1, 0, timeout_s=_DEADLINE_S)
    assert "Traceback" in raised.value.__notes__[0]
    assert await pool.run(os.getpid, timeout_s=_DEADLINE_S) == pid


async def test_a_killed_process_loses_its_work_and_the_pool_goes_on(pool: PixelPool) -> None:
    pid = await pool.run(os.getpid, timeout_s=_DEADLINE_S)
    work = asyncio.ensure_future(pool.run(time.sleep, _LONG_S, timeout_s=_LONG_S))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(PixelWorkLost):
        await work
    assert await pool.run(os.getpid, timeout_s=_DEADLINE_S) != pid


async def test_work_past_its_time_is_killed_with_its_process(pool: PixelPool) -> None:
    pid = await pool.run(os.getpid, timeout_s=_DEADLINE_S)
    with pytest.raises(PixelWorkTimedOut):
        await pool.run(time.sleep, _LONG_S, timeout_s=0.05)
    assert _gone(pid)
    assert await pool.run(os.getpid, timeout_s=_DEADLINE_S) != pid


async def test_a_canceled_caller_frees_the_process(pool: PixelPool) -> None:
    pid = await pool.run(os.getpid, timeout_s=_DEADLINE_S)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await pool.run(time.sleep, _LONG_S, timeout_s=_LONG_S)
    await _until(lambda: _gone(pid), "the process of the canceled work is gone")
    assert await pool.run(math.factorial, 4, timeout_s=_DEADLINE_S) == 24


async def test_one_hanging_process_does_not_disturb_its_neighbour() -> None:
    pool = PixelPool(_settings(2))
    hanging = asyncio.ensure_future(pool.run(time.sleep, _LONG_S, timeout_s=_LONG_S))
    for n in range(5):
        assert await pool.run(math.factorial, n, timeout_s=_DEADLINE_S) == math.factorial(n)
    assert not hanging.done()
    await pool.close()
    with pytest.raises(PixelWorkLost):
        await hanging


async def test_a_process_is_replaced_after_its_share_of_tasks(pool: PixelPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.pixel_pool, "TASKS_PER_PROCESS", 2)
    pids = [await pool.run(os.getpid, timeout_s=_DEADLINE_S) for _ in range(5)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
    assert _gone(pids[0])


async def test_work_beyond_the_bound_is_refused_at_once(pool: PixelPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.pixel_pool, "WAITING_MAX_PER_PROCESS", 1)
    taken = [asyncio.ensure_future(pool.run(time.sleep, _LONG_S, timeout_s=_LONG_S)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await pool.run(os.getpid, timeout_s=_DEADLINE_S)
    for work in taken:
        work.cancel()
    await asyncio.gather(*taken, return_exceptions=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is bounded on Linux")
async def test_work_that_wants_too_much_memory_fails_alone(pool: PixelPool) -> None:
    with pytest.raises(MemoryError):
        await pool.run(bytes, worker.pixel_pool.MEMORY_MAX_BYTES, timeout_s=_DEADLINE_S)
    assert await pool.run(math.factorial, 3, timeout_s=_DEADLINE_S) == 6


async def test_interrupts_do_not_end_a_process(pool: PixelPool) -> None:
    pid = await pool.run(os.getpid, timeout_s=_DEADLINE_S)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert await pool.run(os.getpid, timeout_s=_DEADLINE_S) == pid


async def test_closing_ends_every_process() -> None:
    pool = PixelPool(_settings(1))
    pid = await pool.run(os.getpid, timeout_s=_DEADLINE_S)
    await pool.close()
    assert _gone(pid)


_PARENT = """
import asyncio, os, time
from shared.settings import Settings
from worker.pixel_pool import PixelPool

async def main():
    pool = PixelPool(Settings(secret="s" * 32, pool_processes=2))
    busy = asyncio.ensure_future(pool.run(time.sleep, 600.0, timeout_s=600.0))
    idle = await pool.run(os.getpid, timeout_s=30.0)
    while not all(child._process for child in pool._busy):
        await asyncio.sleep(0.01)
    print(idle, *[child._process.pid for child in pool._busy], flush=True)
    {then}

if __name__ == "__main__":
    asyncio.run(main())
"""


def _start_parent(folder: Path, then: str) -> tuple["subprocess.Popen[str]", list[int]]:
    script = folder / "parent.py"
    script.write_text(_PARENT.replace("{then}", then))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, [int(word) for word in process.stdout.readline().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_idle_and_busy_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent, pids = _start_parent(tmp_path, then="await busy")
    with parent:
        assert len(pids) == 2
        assert not any(_gone(pid) for pid in pids)
        parent.kill()
    await _until(lambda: all(_gone(pid) for pid in pids), "the processes are gone with their parent")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_a_parent_that_exits_without_closing_does_not_hang(tmp_path: Path) -> None:
    parent, pids = _start_parent(tmp_path, then="busy.cancel()")
    with parent:
        assert await asyncio.to_thread(parent.wait, _DEADLINE_S) == 0
    assert len(pids) == 2
    await _until(lambda: all(_gone(pid) for pid in pids), "the processes are gone with their parent")
