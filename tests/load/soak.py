"""Many edits one after the other: the memory of every process, per 1 000 edits, has to stay where it is."""

import argparse
import asyncio
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from tests.audit import audit
from tests.end_to_end.bulk import CountWatch, submit_batch, upload
from tests.end_to_end.caller import Caller, calling, until
from tests.end_to_end.known_edits import PROMPTS, picture_bytes
from tests.end_to_end.stack import Child, Stack
from tests.load.report import Report

_BATCH_ITEMS, _SINGLES = 475, 25
_STEP = _BATCH_ITEMS + _SINGLES
_RETENTION_S = 60  #: the shortest: what ended goes while the run lasts, so that Redis can stay as it is, too
_MIB = 1024 * 1024
_GROWTH = 1.1
_SLACK_MIB = 6.0
#: What Redis keeps longer than an edit: the feed's last 100 000 events and a week's deliveries.
_KEPT_BYTES = 600


def arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--edits", type=int, default=20_000)


async def run(asked: argparse.Namespace, folder: Path) -> int:
    """The whole run."""
    report = Report(f"soak: {asked.edits:,} edits in steps of {_STEP}, {_SINGLES} of them single with a webhook, one worker")
    with Stack(folder, EDIT_STUDIO_LEASE_S="15", EDIT_STUDIO_RETENTION_S=str(_RETENTION_S)) as stack:
        worker = stack.start_worker()
        await asyncio.to_thread(worker.ready)
        async with calling(stack) as caller:
            pictures = [await upload(caller, picture_bytes(number)) for number in range(10)]
            seen: list[dict[str, float]] = []
            started = time.monotonic()
            for done in range(_STEP, asked.edits + 1, _STEP):
                await _step(caller, pictures)
                seen.append(await _memory(caller, worker))
                if done % 1_000 == 0:
                    shown = ", ".join(f"{name} {mib:.1f}" for name, mib in seen[-1].items())
                    report.tell(f"after {done:,} edits, {time.monotonic() - started:.0f} s, MiB", shown)
            _judge(report, seen, asked.edits)
            await _forgotten(report, caller)
            await audit(caller.store)
            report.promise("audit of Redis", "nothing wrong", "nothing wrong", is_kept=True)
    return report.finish()


async def _step(caller: Caller, pictures: list[str]) -> None:
    items = [{"image_id": pictures[n % len(pictures)], "prompt": PROMPTS[n % len(PROMPTS)]} for n in range(_BATCH_ITEMS)]
    watch = CountWatch(caller, await submit_batch(caller, items), len(items))
    singles = await asyncio.gather(*(caller.local() for _ in range(_SINGLES)))
    batch = await watch.until_ended(deadline_s=300)
    assert (batch["counts"]["succeeded"], watch.wrong) == (len(items), []), (batch, watch.wrong)
    for job_id in singles:
        assert (await caller.ended(job_id))["status"] == "succeeded"

    async def told() -> bool:
        return set(singles) <= caller.receiver.ids.keys()

    await until(told, lambda: "some ends were not told")


async def _memory(caller: Caller, worker: Child) -> dict[str, float]:
    """Of each process, MiB. `pool`: all of the worker's pixel processes, which are replaced from time to time."""
    info: dict[str, Any] = await caller.store.info("memory")
    return {
        "gateway": _rss_mib(caller.stack.gateway.pid),
        "worker": _rss_mib(worker.pid),
        "pool": sum(_rss_mib(pid) for pid in worker.children()),
        "redis": int(info["used_memory"]) / _MIB,
    }


async def _forgotten(report: Report, caller: Caller) -> None:
    """Past its retention nothing of an edit or a batch is left, and what is left does not grow with their number."""

    async def so() -> bool:
        return not [key for pattern in ("job:*", "batch:*") for key in await caller.store.keys(pattern)]

    await until(so, lambda: "edits or batches are kept beyond their retention", deadline_s=2 * _RETENTION_S)
    left = Counter(key.partition(":")[0] for key in await caller.store.keys("*"))
    report.tell("keys left when all is forgotten", ", ".join(f"{name} {count:,}" for name, count in left.most_common(6)))


def _judge(report: Report, seen: list[dict[str, float]], edits: int) -> None:
    """The last quarter beside the second one: the first is for warming up, and until the first edits are forgotten."""
    quarter = max(1, len(seen) // 4)
    for name in seen[0]:
        before = median(one[name] for one in seen[quarter : 2 * quarter])
        after = median(one[name] for one in seen[-quarter:])
        most = before * _GROWTH + _SLACK_MIB
        if name == "redis":
            most += _KEPT_BYTES * edits * 0.5 / _MIB
        report.promise(
            f"{name}: second and last quarter, MiB", f"{before:.1f}, {after:.1f}", f"at most {most:.1f}", is_kept=after <= most
        )


def _rss_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / _MIB if "VmRSS:" in status else 0.0
