"""10 000 edits in one request, some of them by a polled, paid provider, while another tenant submits one edit every second."""

import argparse
import asyncio
import contextlib
import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.audit import audit
from tests.bench.figures import percentile
from tests.end_to_end.bulk import (
    CountWatch,
    feed_of,
    one_event_each,
    post_batch,
    records_of,
    results_of,
    stored_results,
    upload,
)
from tests.end_to_end.caller import Caller, calling, until
from tests.end_to_end.known_edits import PROMPTS, Judge, picture_bytes
from tests.end_to_end.stack import Stack
from tests.load.report import Report
from tests.load.tenants import tenant
from tests.pictures import encoded, photo

_PICTURES = 40
_WORKERS = 2
_PAID_SIZE = (256, 256)
_SAMPLE = 100


def arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--paid", type=float, default=0.1, help="share of the items that the simulated provider does")
    parser.add_argument("--longest-s", type=float, default=1_200.0)


async def run(asked: argparse.Namespace, folder: Path) -> int:
    """The whole run."""
    report = Report(
        f"ten_thousand: {asked.items:,} items, {asked.paid:.0%} of them by the simulated provider, {_WORKERS} workers"
    )
    with Stack(folder, EDIT_STUDIO_LEASE_S="15", EDIT_STUDIO_REDIS_TIMEOUT_S="3") as stack:
        for worker in [stack.start_worker() for _ in range(_WORKERS)]:
            await asyncio.to_thread(worker.ready)
        async with calling(stack) as caller:
            beside = await tenant(caller, "beside")
            singles = Singles(beside, await upload(beside, picture_bytes(0)))
            items = await _items(caller, asked.items, asked.paid)
            submitting = asyncio.create_task(singles.submit_for_ever())
            started = time.monotonic()
            answer = await post_batch(caller, items, webhook_url=caller.receiver.url)
            accepted_s = time.monotonic() - started
            assert answer.status == 202, answer
            report.promise("lines accepted over HTTP, s", accepted_s, "at most 5", is_kept=accepted_s <= 5)
            watch = CountWatch(caller, answer.json["id"], len(items), compare_every=8)
            batch = await watch.until_ended(deadline_s=asked.longest_s)
            took_s = time.monotonic() - started
            submitting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await submitting
            report.tell("all ended after, s", took_s)
            report.tell("edits a second", len(items) / took_s)
            counts = batch["counts"]
            report.promise("succeeded", counts["succeeded"], f"{len(items):,}", is_kept=counts["succeeded"] == len(items))
            report.nothing_wrong("counts that do not add up, asked over HTTP", watch.wrong, of=watch.looks)
            report.tell("counts beside the records of all items, in one step", f"{watch.compared} times, the same")
            await _judge(report, caller, batch["id"], items)
            await _told_once(report, caller, batch["id"])
            await singles.judge(report)
            await audit(caller.store)
            report.promise("audit of Redis", "nothing wrong", "nothing wrong", is_kept=True)
    return report.finish()


async def _items(caller: Caller, count: int, paid: float) -> list[dict[str, Any]]:
    pictures = [await upload(caller, picture_bytes(number)) for number in range(_PICTURES)]
    large = await upload(caller, encoded(photo(size=_PAID_SIZE), "PNG"))
    every = round(1 / paid) if paid else count + 1
    items = []
    for n in range(count):
        if n % every == every - 1:
            items.append(
                {"custom_id": f"n{n}", "image_id": large, "prompt": f"paint it like {uuid.uuid4().hex}", "model": "qwen-edit"}
            )
        else:
            prompt = PROMPTS[n // _PICTURES % len(PROMPTS)]
            items.append({"custom_id": f"n{n}", "image_id": pictures[n % _PICTURES], "prompt": prompt})
    return items


async def _judge(report: Report, caller: Caller, batch_id: str, items: Sequence[dict[str, Any]]) -> None:
    """Every result: whose it is, what it says of itself, and its pixels; what was paid for it."""
    jobs = await results_of(caller, batch_id)
    same = [
        (job["custom_id"], job["prompt"]) == (item["custom_id"], item["prompt"]) for job, item in zip(jobs, items, strict=True)
    ]
    report.promise("results in the order of the lines", sum(same), f"{len(items):,}", is_kept=all(same))
    files = await stored_results(caller, [job["id"] for job in jobs])
    judge = Judge()
    wrong = await asyncio.to_thread(
        lambda: [job for n, (job, file) in enumerate(zip(jobs, files, strict=True)) if not _is_right(job, file, n, judge)]
    )
    report.nothing_wrong("stored results of the wrong pixels or digest", wrong, of=len(jobs))
    report.tell("different files compared pixel by pixel", judge.looked_at)
    paid = [job["prompt"] for job in jobs if job["requested_model"]]
    billed = Counter(submit["prompt"] for submit in await asyncio.to_thread(caller.stack.ledger))
    report.promise("paid calls", sum(billed.values()), f"{len(paid):,}, one each", is_kept=billed == Counter(paid))
    fetched = 0
    for job in jobs[:: max(1, len(jobs) // _SAMPLE)]:
        async with caller.http.get(job["urls"]["result"], headers=caller.headers) as answer:
            fetched += len(await answer.read()) == job["output"]["bytes"]
    sample = len(jobs[:: max(1, len(jobs) // _SAMPLE)])
    report.promise("a sample fetched through the gateway", fetched, f"{sample}", is_kept=fetched == sample)


def _is_right(job: dict[str, Any], file: Path, n: int, judge: Judge) -> bool:
    data = file.read_bytes()
    if len(data) != job["output"]["bytes"] or hashlib.sha256(data).hexdigest() != job["output"]["sha256"]:
        return False
    if not job["requested_model"]:
        return judge.is_right(data, n % _PICTURES, job["prompt"])
    with Image.open(file) as result:
        return result.size == _PAID_SIZE and result.convert("RGB").tobytes() != photo(size=_PAID_SIZE).tobytes()


async def _told_once(report: Report, caller: Caller, batch_id: str) -> None:
    events = await feed_of(caller)
    edits = list(await caller.store.zrange(f"batch:{batch_id}:items", 0, -1))
    report.nothing_wrong(
        "ends that are not exactly one event of the feed", one_event_each(events, edits, [batch_id]), of=len(edits) + 1
    )

    async def so() -> bool:
        return batch_id in caller.receiver.ids

    await until(so, lambda: "the batch's end was not told")
    ids = dict(caller.receiver.ids[batch_id])
    report.promise(
        "webhooks taken, webhook-ids", f"{caller.receiver.tries}, {len(ids)}", "one of batch.completed", is_kept=len(ids) == 1
    )


class Singles:
    """Another tenant's edits, one a second."""

    def __init__(self, caller: Caller, image_id: str) -> None:
        self._caller = caller
        self._image_id = image_id
        self._ids: list[str] = []
        self._refused: list[object] = []

    async def submit_for_ever(self) -> None:
        while True:
            body = {"image_id": self._image_id, "prompt": PROMPTS[len(self._ids) % len(PROMPTS)]}
            answer = await self._caller.call("POST", "/process", json=body)
            if answer.status == 202:
                self._ids.append(answer.json["id"])
            else:
                self._refused.append(answer)
            await asyncio.sleep(1.0)

    async def judge(self, report: Report) -> None:
        """How long they waited by Redis' clock, and that they are right."""
        await until(self._all_ended, lambda: "the other tenant's edits did not end")
        rows = await records_of(self._caller, self._ids, "created", "started", "state")
        waited_s = [(int(started or 0) - int(created or 0)) / 1000 for created, started, _ in rows]
        report.nothing_wrong("other tenant's edits: refused", self._refused, of=len(self._ids))
        bad = [state for *_, state in rows if state != "succeeded"]
        report.nothing_wrong("other tenant's edits: not succeeded", bad, of=len(rows))
        report.tell("other tenant's edits: accept to running, p50, s", percentile(waited_s, 0.5))
        p99 = percentile(waited_s, 0.99)
        report.promise("other tenant's edits: accept to running, p99, s", p99, "at most 3", is_kept=p99 <= 3)
        report.tell("other tenant's edits: the longest, s", max(waited_s))

    async def _all_ended(self) -> bool:
        rows = await records_of(self._caller, self._ids, "finished")
        return all(finished for (finished,) in rows)
