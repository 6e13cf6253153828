"""100 000 edits in one request: what the gateway needs for it, and how soon they are canceled. Nobody works on them before."""

import argparse
import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

from tests.audit import audit
from tests.bench.figures import percentile
from tests.bench.memory import COMPACT
from tests.end_to_end.bulk import CountWatch, feed_of, post_batch, upload
from tests.end_to_end.caller import Caller, calling
from tests.end_to_end.known_edits import PROMPTS, picture_bytes
from tests.end_to_end.stack import Child, Stack
from tests.load.report import Report
from tests.servers import RedisServer

_WARM_UP = 1_000
_MIB = 1024 * 1024
_PAUSE_S = 0.05


def arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--items", type=int, default=100_000)


async def run(asked: argparse.Namespace, folder: Path) -> int:
    """The whole run."""
    report = Report(f"hundred_thousand: {asked.items:,} items, accepted and canceled")
    server = RedisServer(folder / "redis", aof=True, options=COMPACT)
    with Stack(folder, redis=server, EDIT_STUDIO_REDIS_TIMEOUT_S="3") as stack:
        # The gateway with a watch on its loop.
        gateway = stack.start_another_gateway("tests.bench.batch", "ready ")
        url = await asyncio.to_thread(gateway.ready)
        async with calling(stack) as first:
            caller = Caller(stack, first.http, first.store, first.receiver, url=url)
            image_id = await upload(caller, picture_bytes(0))
            warm_up = await post_batch(caller, _items(image_id, _WARM_UP))
            assert warm_up.status == 202, warm_up
            await caller.call("POST", f"/batches/{warm_up.json['id']}/cancel")
            await _accept_and_cancel(report, caller, gateway, _items(image_id, asked.items))
            await audit(caller.store)
            report.promise("audit of Redis", "nothing wrong", "nothing wrong", is_kept=True)
    return report.finish()


async def _accept_and_cancel(report: Report, caller: Caller, gateway: Child, items: list[dict[str, Any]]) -> None:
    await _blocked_ms(caller)
    before_mib, redis_before = _memory_mib(gateway, "VmRSS"), await _redis_bytes(caller)
    # Linux: 5 makes the peak begin anew. Source: proc(5), /proc/pid/clear_refs.
    Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")
    async with beside(report, caller, "small requests beside it"):
        started = time.monotonic()
        answer = await post_batch(caller, items)
        report.tell("lines accepted over HTTP, s", time.monotonic() - started)
    assert answer.status == 202, answer
    growth_mib = _memory_mib(gateway, "VmHWM") - before_mib
    report.promise("gateway's memory, growth at its peak, MiB", growth_mib, "at most 50", is_kept=growth_mib <= 50)
    await _loop(report, caller, "loop blocked at a stretch, at most, ms")
    each = (await _redis_bytes(caller) - redis_before) / len(items)
    report.tell("Redis' memory for a waiting item, all told, bytes", each)
    watch = CountWatch(caller, answer.json["id"], len(items), compare_every=20)
    await watch.look()
    queued = watch.batch["counts"]["queued"]
    report.promise("queued", queued, f"{len(items):,}", is_kept=queued == len(items))
    async with beside(report, caller, "small requests beside the cancel"):
        started = time.monotonic()
        answer = await caller.call("POST", f"/batches/{watch.batch_id}/cancel")
        assert answer.status == 200, answer
        report.tell("the cancel answered after, s", time.monotonic() - started)
        # What a request does not get to, workers do.
        await asyncio.to_thread(caller.stack.start_worker().ready)
        batch = await watch.until_ended(deadline_s=300)
    report.tell("all canceled, a worker's start included, after, s", time.monotonic() - started)
    await _loop(report, caller, "loop blocked by the cancel at a stretch, ms")
    counts = batch["counts"]
    ended = counts["canceled"] + counts["succeeded"]
    report.promise("canceled, or done before", ended, f"{len(items):,}", is_kept=ended == len(items))
    report.nothing_wrong("counts that do not add up", watch.wrong, of=watch.looks + watch.compared)
    events = [event for event in await feed_of(caller) if event["batch_id"] == watch.batch_id]
    kinds = [event["type"] for event in events]
    report.promise(
        "batch.completed in the feed", kinds.count("batch.completed"), "1", is_kept=kinds.count("batch.completed") == 1
    )


@contextlib.asynccontextmanager
async def beside(report: Report, caller: Caller, what: str) -> Any:
    """Small requests, one after the other, while the block lasts."""
    seconds: list[float] = []

    async def ask_for_ever() -> None:
        while True:
            started = time.monotonic()
            async with caller.http.get(f"{caller.url}/healthz") as answer:
                await answer.read()
            seconds.append(time.monotonic() - started)
            await asyncio.sleep(_PAUSE_S)

    asking = asyncio.create_task(ask_for_ever())
    try:
        yield
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    p50, p99 = (percentile(seconds, share) * 1e3 for share in (0.5, 0.99))
    report.tell(f"{what}, p50 / p99, ms", f"{p50:.0f} / {p99:.0f}")


async def _loop(report: Report, caller: Caller, what: str) -> None:
    blocked_ms = await _blocked_ms(caller)
    report.promise(what, blocked_ms, "at most 10", is_kept=blocked_ms <= 10)


async def _blocked_ms(caller: Caller) -> float:
    async with caller.http.get(f"{caller.url}/blocked") as answer:
        return float(await answer.text())


async def _redis_bytes(caller: Caller) -> int:
    return int((await caller.store.info("memory"))["used_memory"])


def _memory_mib(process: Child, name: str) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) * 1024 / _MIB


def _items(image_id: str, count: int) -> list[dict[str, Any]]:
    return [{"custom_id": f"n{n}", "image_id": image_id, "prompt": PROMPTS[n % len(PROMPTS)]} for n in range(count)]
