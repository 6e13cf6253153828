"""Two machines work on one Redis and one bucket, and share nothing else; then one of them is gone."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.caller import calling
from tests.end_to_end.stack import Child, Stack

_HOSTS = ("machine-a", "machine-b")
_SLOTS = 2
_EDITS = len(_HOSTS) * _SLOTS


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    limits = json.dumps({"wavespeed": 100})
    with Stack(tmp_path / "stack", EDIT_STUDIO_WORKER_SLOTS=str(_SLOTS), EDIT_STUDIO_LANE_LIMITS=limits) as stack:
        yield stack


def _start(stack: Stack, host: str) -> tuple[Child, Path]:
    """A machine's worker, and the folder for all that the machine keeps on its disk."""
    disk = stack.folder / host
    disk.mkdir()
    worker = stack.start_worker(host=host, TMPDIR=str(disk))
    worker.ready()
    return worker, disk


async def test_what_a_lost_machine_had_in_hand_is_finished_by_another(stack: Stack) -> None:
    """Every edit ends once and is paid once, from what lies in Redis and in the bucket alone."""
    machines = await asyncio.gather(*(asyncio.to_thread(_start, stack, host) for host in _HOSTS))
    (lost, its_disk), (other, other_disk) = machines
    async with calling(stack) as caller:
        job_ids = [await caller.simulated("slow=3s") for _ in range(_EDITS)]
        for job_id in job_ids:
            await caller.until(job_id, call="handle")
        held = {job_id: (await caller.record(job_id))["worker"].rsplit("-", 2)[0] for job_id in job_ids}
        assert set(held.values()) == set(_HOSTS), held
        lost.kill()
        shutil.rmtree(its_disk)

        jobs = await caller.succeeded(*job_ids)
        assert [await caller.times_billed(job) for job in jobs] == [1] * _EDITS
        for job_id in job_ids:
            record = await caller.record(job_id)
            assert record["worker"].startswith(_HOSTS[1])
            assert record.get("kills", "0") == ("1" if held[job_id] == _HOSTS[0] else "0")
        # A machine whose worker is told to stop is left as it was.
        other.process.terminate()
        await asyncio.to_thread(other.process.wait, 20)
        assert [path for path in other_disk.rglob("*") if path.is_file()] == []
