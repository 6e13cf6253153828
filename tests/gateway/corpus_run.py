"""Sends a corpus through a gateway's routes, and looks at what it left behind."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.connections import memory_budget
from tests.gateway.batch_calls import results_of
from tests.gateway.conftest import Answer, Api

_AT_ONCE = 8
_ANSWER_S = 60.0
Send = Callable[[], Awaitable[Answer]]
#: Thousands of requests are not too many here, and a test process that stands still on a busy machine is no outage of Redis.
_SETTINGS = {
    "submits_per_minute": 10_000_000,
    "reads_per_minute": 10_000_000,
    "queue_quota": 1_000_000,
    "operator_tenant": "t1",
    "redis_timeout_s": 30.0,
}
unhurried = pytest.mark.parametrize("gateway_settings", [_SETTINGS], indirect=True, ids=[""])


@dataclass(frozen=True)
class Case:
    """One request. `is_taken`: whether it has to be accepted, None if either is right."""

    name: str
    send: Send
    is_taken: bool | None = None


@dataclass
class Run:
    """What was answered: `faults` of answers that are none, `accepted` documents by id."""

    api: Api
    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    accepted: dict[str, Any] = field(default_factory=dict)

    async def send(self, cases: Sequence[Case]) -> None:
        """Some at a time. An answer is 2xx, or 4xx with a whole problem."""
        waiting = iter(cases)

        async def go_on() -> None:
            for case in waiting:
                try:
                    async with asyncio.timeout(_ANSWER_S):
                        self._judge(case, await case.send())
                except (OSError, TimeoutError) as error:
                    self.faults.append(f"{case.name}: {error!r}")

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(go_on())

    def _judge(self, case: Case, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        is_taken = 200 <= answer.status < 300
        if case.is_taken is not None and is_taken is not case.is_taken:
            self.faults.append(f"{case.name}: {answer.status}, is that right? {answer.body[:300]!r}")
        if is_taken:
            self.accepted[str(answer.json.get("id", ""))] = answer.json
            return
        problem = answer.json
        self.codes[problem.get("code", "")] += 1
        is_problem = answer.headers["Content-Type"] == "application/problem+json" and problem["status"] == answer.status
        if not 400 <= answer.status < 500 or not is_problem or not problem["detail"]:
            self.faults.append(f"{case.name}: {answer.status} {answer.body[:300]!r}")


@asynccontextmanager
async def corpus_run(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Run]:
    """At the end: no bad answer; nothing stored that was not accepted, what was accepted is whole; memory and disk given back."""
    spools = tmp_path / "spools"
    spools.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spools))
    run = Run(api)
    yield run
    assert not run.faults, "\n".join(run.faults[:50])
    assert list(spools.iterdir()) == []
    assert api.connections.memory._free == memory_budget(api.connections.settings)._free
    await _nothing_else_is_stored(run)


@asynccontextmanager
async def memory_below(mib: int) -> AsyncIterator[None]:
    """This process, its callers and its gateway, never holds more than so many MiB beyond what it holds at the beginning."""
    # Linux: 5 makes the peak begin anew. Source: proc(5), /proc/pid/clear_refs.
    Path("/proc/self/clear_refs").write_text("5")
    before_mib = _peak_mib()
    yield
    assert _peak_mib() - before_mib < mib


def _peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


async def _nothing_else_is_stored(run: Run) -> None:
    api, redis = run.api, run.api.connections.jobs._scripts.redis
    batches = {identifier for identifier in run.accepted if identifier.startswith("batch_")}
    known = set(run.accepted)
    for batch in batches:
        items = await results_of(api, batch)
        counts = run.accepted[batch]["counts"]
        assert len(items) == counts["total"] == counts["queued"] + counts["failed"]
        # Whatever was not accepted of it is told, and where it stood.
        told = [item["error"]["line"] for item in items if item["status"] == "failed"]
        assert len(told) == len(set(told)) == counts["failed"]
        known |= {item["id"] for item in items}
    stored = {name: {key.split(":")[1] for key in await redis.keys(f"{name}:*")} for name in ("job", "batch")}
    assert stored["batch"] == batches
    assert stored["job"] <= known
    assert {one for one in run.accepted if one.startswith("edit_")} <= stored["job"]
    assert {key.split("/")[2] for key in await api.connections.storage.keys_under("")} <= known
