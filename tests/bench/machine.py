"""Facts about the machine and its processes: versions, load, processor time, commands that Redis ran."""

import os
import platform
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.servers import RedisServer

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, Any]:
    """What the figures were measured on."""
    names = ("aiohttp", "arq", "redis", "hiredis", "pydantic", "uvloop", "boto3")
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def cpu_s(pid: int) -> float:
    """Processor time of a process and of its children, also of ended ones; of this one alone. 0 where /proc does not tell."""
    if pid == os.getpid():
        return time.process_time()
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # A child belongs to the thread that started it.
        children = [one for file in Path(f"/proc/{pid}/task").glob("*/children") for one in file.read_text().split()]
    except OSError:
        return 0.0
    own = sum(map(int, fields[11:15])) / _TICKS_A_SECOND
    return own + sum(cpu_s(int(child)) for child in children)


def commands(server: RedisServer) -> Counter[str]:
    """Calls by command since the server began, those that scripts made included."""
    with server.client() as client:
        rows: dict[str, dict[str, Any]] = client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): int(row["calls"]) for name, row in rows.items()})


def redis_version(server: RedisServer) -> str:
    """Of the server that the bench uses."""
    with server.client() as client:
        return str(client.info("server")["redis_version"])


class Meter:
    """What happened between `measure`'s begin and end: wall time, and processor time by role."""

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.cpu_s: dict[str, float] = {}

    def each(self, count: int) -> dict[str, float]:
        """Per operation: rate, wall time, and microseconds of processor time by role."""
        used = {f"cpu_us {role}": seconds / count * 1e6 for role, seconds in self.cpu_s.items()}
        return {"per_s": count / self.wall_s, "ms": self.wall_s / count * 1e3, **used}


@contextmanager
def measured(pids: Mapping[str, int | Iterable[int]]) -> Iterator[Meter]:
    """Measure the block. `pids`: processes by role."""
    meter, groups = Meter(), {role: [ids] if isinstance(ids, int) else list(ids) for role, ids in pids.items()}
    before = {role: sum(map(cpu_s, ids)) for role, ids in groups.items()}
    started = time.perf_counter()
    yield meter
    meter.wall_s = time.perf_counter() - started
    meter.cpu_s = {role: sum(map(cpu_s, ids)) - before[role] for role, ids in groups.items()}


def flush(server: RedisServer) -> None:
    """Forget everything on the server."""
    with server.client() as client, client.pipeline() as pipeline:
        pipeline.flushall().execute()
