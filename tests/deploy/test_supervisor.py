"""The supervisor on toy processes: order, readiness, restarts, stops, and what is left when it is killed itself."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from rich.console import Console

from deploy.standalone.display import Display
from deploy.standalone.leash import __file__ as leash_path
from deploy.standalone.leftover import end_leftover
from deploy.standalone.supervisor import Service, StartFailed, Supervisor

_TOY = Path(__file__).with_name("toy_service.py")
_DEADLINE_S = 20.0


class Toys:
    """A supervisor under test, what it said, and what its toys wrote down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = io.StringIO()
        self.supervisor = Supervisor(Display(Console(file=self.said)))

    def service(self, name: str, *wishes: str, stage: int = 0, ready_s: float = 10.0, stop_s: float = 5.0) -> Service:
        return Service(
            name=name,
            command=(sys.executable, str(_TOY), str(self.folder), name, *wishes),
            environment=dict(os.environ),
            log=self.folder / f"{name}.log",
            ready="toy ready",
            stage=stage,
            ready_within_s=ready_s,
            stop_within_s=stop_s,
            pid_file=self.folder / f"{name}.pid",
        )

    def journal(self, what: str) -> list[tuple[str, int]]:
        """(name, pid) of every entry of one kind, in order."""
        path = self.folder / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(name, int(pid)) for kind, name, pid in (line.split() for line in lines) if kind == what]


@pytest.fixture
async def toys(tmp_path: Path) -> AsyncIterator[Toys]:
    toys = Toys(tmp_path)
    await toys.supervisor.open()
    yield toys
    await toys.supervisor.stop()


async def _until(fact: Callable[[], object]) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while not fact():
            await asyncio.sleep(0.02)


def _alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_services_start_in_order_and_stop_in_the_opposite_order_of_their_stages(toys: Toys) -> None:
    await toys.supervisor.start(toys.service("store", stage=0))
    await toys.supervisor.start(toys.service("edge", stage=1))
    await toys.supervisor.stop()
    assert [name for name, _ in toys.journal("started")] == ["store", "edge"]
    assert [name for name, _ in toys.journal("stopped")] == ["edge", "store"]
    assert not any(_alive(pid) for _, pid in toys.journal("started"))
    assert list(toys.folder.glob("*.pid")) == []


async def test_services_of_one_stage_stop_together(toys: Toys) -> None:
    for name in ("one", "two"):
        await toys.supervisor.start(toys.service(name, "stubborn", stop_s=1.0))
    await toys.supervisor.stop()
    assert sorted(name for name, _ in toys.journal("stopped")) == ["one", "two"]
    # Both were asked before the patience with the first was over.
    assert toys.said.getvalue().count("did not stop within 1 s and is killed") == 2
    assert toys.said.getvalue().index("two did not stop") < toys.said.getvalue().index("one stopped")


async def test_a_killed_process_is_started_again_and_it_is_said(toys: Toys) -> None:
    await toys.supervisor.start(toys.service("toy"))
    ((_, first),) = toys.journal("started")
    os.kill(first, signal.SIGKILL)
    await _until(lambda: "toy is back" in toys.said.getvalue())
    assert len(toys.journal("started")) == 2
    assert "toy was ended by signal SIGKILL; starting it again in 0.2 s" in toys.said.getvalue()


async def test_the_wait_before_a_restart_grows_with_each_death(toys: Toys) -> None:
    await toys.supervisor.start(toys.service("toy"))
    for deaths in (1, 2, 3):
        os.kill(toys.journal("started")[-1][1], signal.SIGKILL)
        await _until(lambda deaths=deaths: toys.said.getvalue().count("toy is back") == deaths)
    waits = [line.rsplit(" in ", 1)[1] for line in toys.said.getvalue().splitlines() if "starting it again" in line]
    assert waits == ["0.2 s", "0.4 s", "0.8 s"]


async def test_what_a_killed_process_had_started_is_ended_with_it(toys: Toys) -> None:
    await toys.supervisor.start(toys.service("toy", "with-child"))
    (child,) = [line.split()[0] for line in (toys.folder / "journal").read_text().splitlines() if line.startswith("child-")]
    child_pid = int(child.removeprefix("child-"))
    assert _alive(child_pid)
    os.kill(toys.journal("started")[0][1], signal.SIGKILL)
    await _until(lambda: not _alive(child_pid))


async def test_a_process_that_cannot_start_is_told_with_the_end_of_its_log(toys: Toys) -> None:
    with pytest.raises(StartFailed, match=r"toy ended with exit code 3; .*\n  a reason on stderr"):
        await toys.supervisor.start(toys.service("toy", "broken"))


async def test_a_process_that_is_never_ready_is_ended(toys: Toys) -> None:
    with pytest.raises(StartFailed, match="was not ready within 1 s"):
        await toys.supervisor.start(toys.service("toy", "mute", ready_s=1.0))
    assert not _alive(toys.journal("started")[0][1])


async def test_a_program_that_does_not_exist_is_told(toys: Toys) -> None:
    service = Service("ghost", ("/no/such/program",), {}, toys.folder / "log", "ready", stage=0)
    with pytest.raises(StartFailed, match="ghost cannot be started"):
        await toys.supervisor.start(service)


async def test_a_probe_is_asked_until_it_says_yes(toys: Toys) -> None:
    answers = iter([False, False, True])

    async def probe() -> bool:
        return next(answers)

    service = Service("toy", (sys.executable, "-c", "import time; time.sleep(600)"), {}, toys.folder / "log", probe, stage=0)
    await toys.supervisor.start(service)
    assert list(answers) == []


async def test_a_command_that_fails_is_told_with_its_output(toys: Toys) -> None:
    await toys.supervisor.run("a good one", (sys.executable, "-c", ""), {})
    with pytest.raises(StartFailed, match=r"a bad one ended with exit code 2:\n  because"):
        await toys.supervisor.run("a bad one", (sys.executable, "-c", "print('because'); exit(2)"), {})
    with pytest.raises(StartFailed, match="a slow one took longer than 1 s"):
        await toys.supervisor.run("a slow one", (sys.executable, "-c", "import time; time.sleep(600)"), {}, timeout_s=1.0)


_KILLED_SUPERVISOR = """
import asyncio, os, sys
from pathlib import Path
from tests.deploy.test_supervisor import Toys

async def main():
    toys = Toys(Path(sys.argv[1]))
    await toys.supervisor.open()
    for name in ("blind", "stubborn"):
        await toys.supervisor.start(toys.service(name, name, "with-child"))
    print("keeper", toys.supervisor._keeper._process.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("keeper_died_before", [False, True])
async def test_nothing_survives_a_kill_of_the_supervisor(tmp_path: Path, keeper_died_before: bool) -> None:
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _KILLED_SUPERVISOR, str(tmp_path)), cwd=root, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_DEADLINE_S):
            keeper_pid = int((await process.stdout.readline()).split()[1])
        lines = [line.split() for line in (tmp_path / "journal").read_text().splitlines()]
        pids = {int(pid) for _, _, pid in lines} | {int(kind.removeprefix("child-")) for kind, _, _ in lines if "-" in kind}
        assert len(pids) == 4
        if keeper_died_before:
            # The supervisor starts another one, and tells it whom to watch.
            os.kill(keeper_pid, signal.SIGKILL)
            await _until(lambda: _children(process.pid, "deploy.standalone.keeper") - {keeper_pid})
            pids |= _children(process.pid, "deploy.standalone.keeper")
        else:
            pids.add(keeper_pid)
    finally:
        process.kill()
        await process.wait()
    await _until(lambda: not any(_alive(pid) for pid in pids))


def _children(pid: int, mark: str) -> set[int]:
    found = (int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return {child for child in found if _alive(child) and mark in Path(f"/proc/{child}/cmdline").read_text()}


async def test_a_process_of_ours_ends_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    command = [sys.executable, str(_TOY), str(tmp_path), "toy", f"parent={parent.pid}"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        await _until((tmp_path / "journal").exists)
        assert child.poll() is None
        parent.kill()
        parent.wait()
        await _until(lambda: child.poll() is not None)
        assert child.returncode == 1
    finally:
        child.kill()
        child.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
async def test_a_foreign_program_on_the_leash_ends_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, {leash_path!r}, str(os.getpid()), '/bin/sleep', '600'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    await _until(lambda: "sleep" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0])
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await _until(lambda: not _alive(pid))


async def test_a_leftover_is_ended_and_a_stranger_with_its_id_is_not(tmp_path: Path) -> None:
    pid_file = tmp_path / "server.pid"
    command = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"]
    for mark, expected in ((str(tmp_path), True), ("/somewhere/else", False)):
        process = subprocess.Popen([*command, str(tmp_path)], start_new_session=True)
        pid_file.write_text(str(process.pid))
        try:
            await _until(lambda pid=process.pid: str(tmp_path) in Path(f"/proc/{pid}/cmdline").read_text())
            assert end_leftover(pid_file, mark=mark) is expected
            assert (not _alive(process.pid)) is expected
        finally:
            process.kill()
            process.wait()
        assert not pid_file.exists()
    assert end_leftover(pid_file, mark="x") is False
