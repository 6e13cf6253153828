"""What an edit takes of Redis' memory while it waits, and afterwards as long as its record is kept.

By MEMORY USAGE of every key, its share of the shared ones included, on a server set as we recommend. Figures are of an edit as
callers send them: a prompt of 60 characters, one picture.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from shared.edit import EditSpec, InputRef, Role
from shared.job import Course, JobRecord, JobState
from shared.picture import PictureInfo
from shared.settings import Settings
from shared.store.batches import CHUNK_MAX, Batches, NewBatch, NewItem
from shared.store.connection import Scripts
from shared.store.jobs import Idempotency, Jobs, NewJob
from shared.store.leases import Leases
from tests.bench.figures import Figure, Goal, Rounds
from tests.bench.processes import TENANT, stack
from tests.conftest import fresh_id

NAME = "memory"
WAITING_MAX_BYTES = 1_200
#: As deploy/standalone sets it; Redis 7 knows the name of 6.2, too.
COMPACT = {"hash-max-ziplist-value": "4096"}
_EDITS = 5_000
_ENDED = 300
_AT_ONCE = 500
# A key's slot in the table of all keys, which MEMORY USAGE leaves out; the table is between half and wholly full.
_SLOT_BYTES = 16

#: What a worker writes of one polled edit, as seen in a record; the times and digests of course differ.
_COURSE = Course.model_validate_json(
    '{"model":"qwen-edit","provider":"acme","selection":{"mode":"pinned","reason":"Asked for by the caller"},'
    '"input":{"width":1024,"height":1024,"format":"jpeg","bytes":120152,"sha256":"43d6d9b56137a435b06d67842401feb98fcfd3449098fd76c39168e86b5effac"},'
    '"geometry":{"input":[1024,1024],"sent":[1024,1024],"received":[1024,1024],"delivered":[1024,1024],"method":"identity"},'
    '"attempts":[{"n":1,"model":"qwen-edit","provider":"acme","started_at":"2026-11-22T15:15:39.638Z",'
    '"finished_at":"2026-11-22T15:15:52.156Z","outcome":"succeeded"}],"lines":[{"attempt":1,"model":"qwen-edit","usd":0.02,'
    '"billed":true}],"estimated_usd":0.02,"output":{"key":"out/bench/edit_01m81x7gmnexgteykh51rgf12h/1/0.jpg","width":1024,'
    '"height":1024,"format":"jpeg","bytes":234855,"sha256":"95381c2e1dda737adac1ba1c5f5d71e988306b74a4b758416d913fe6966a93cf",'
    '"thumbnails":{"320":"out/bench/edit_01m81x7gmnexgteykh51rgf12h/1/thumb-320.webp",'
    '"1024":"out/bench/edit_01m81x7gmnexgteykh51rgf12h/1/thumb-1024.webp"}}}'
)


async def run(rounds: Rounds) -> list[Figure]:
    """Counts, not times: one round is enough."""
    async with stack(redis_options=COMPACT) as servers:
        count = rounds.some(_EDITS)
        figures = []
        for what, found, goal in (
            ("a waiting edit", await waiting_edits(servers.scripts, servers.settings, count), WAITING_MAX_BYTES),
            ("a waiting item of a batch", await waiting_items(servers.scripts, servers.settings, count), WAITING_MAX_BYTES),
            ("an edit that has ended", await ended_edits(servers.scripts, servers.settings, _ENDED), None),
        ):
            notes = {name: float(share) for name, share in found.most_common(6)}
            bound = None if goal is None else Goal(goal, "at most", "ours")
            figures.append(Figure(NAME, what, "bytes", float(found.total()), None, bound, notes))
        return figures


async def waiting_edits(scripts: Scripts, settings: Settings, count: int) -> "Counter[str]":
    """Bytes an edit by family of keys: accepted, with a webhook, nobody has taken them."""
    await scripts.command("FLUSHALL")
    jobs = Jobs(scripts, settings)
    for start in range(0, count, _AT_ONCE):
        await asyncio.gather(*(jobs.accept(_job(webhook=True)) for _ in range(min(_AT_ONCE, count - start))))
    return await _shares(scripts, count)


async def waiting_items(scripts: Scripts, settings: Settings, count: int) -> "Counter[str]":
    """The same of items of one committed batch; their batch has the webhook."""
    await scripts.command("FLUSHALL")
    batches, batch = Batches(scripts, settings), NewBatch(id=fresh_id("batch"), tenant=TENANT)
    await batches.open(batch)
    for start in range(0, count, CHUNK_MAX):
        made = [_job(webhook=False) for _ in range(min(CHUNK_MAX, count - start))]
        items = [NewItem(job.id, job.lane, job.spec, 900, reserved_micro_usd=job.reserved_micro_usd) for job in made]
        await batches.stage(batch.id, items, first_index=start, bulk=True, request_id=made[0].request_id, key_id=made[0].key_id)
    await batches.commit(batch.id, fingerprint="0" * 64)
    return await _shares(scripts, count)


async def ended_edits(scripts: Scripts, settings: Settings, count: int) -> "Counter[str]":
    """The same of edits that succeeded, each with its Idempotency-Key (kept a day) and its webhook."""
    await scripts.command("FLUSHALL")
    jobs, leases = Jobs(scripts, settings), Leases(scripts, settings)
    for number in range(count):
        await jobs.accept(_job(webhook=True), idempotency=Idempotency(f"{number:064}", "0" * 64))
    left = count
    while left:
        taken = await leases.take("bench-worker-1", nonce=f"{left}", want=64)
        await asyncio.gather(*(_end(leases, record) for record in taken))
        left -= len(taken)
    return await _shares(scripts, count)


async def _end(leases: Leases, record: JobRecord) -> None:
    text = _COURSE.model_dump_json(exclude_defaults=True)
    # As long as the account of a choice among thirty models is; what it says is of no matter here.
    await leases.checkpoint(record, choices="0" * 1_945)
    started: dict[str, Any] = {"call": "started", "call_id": "4bc5315ee4b5c614", "call_model": "qwen-edit", "submitted": "@now"}
    await leases.checkpoint(record, stage="editing", course=text, **started)
    await leases.checkpoint(record, call="handle", handle="eb6a7227ff75ecf3304b3b665d4a7f09", waiting_on="provider")
    await leases.finish(record, JobState.SUCCEEDED, _COURSE, cost_micro_usd=20_000)


async def _shares(scripts: Scripts, count: int) -> "Counter[str]":
    """Bytes an edit, by family of keys."""
    found: Counter[str] = Counter()
    keys: Sequence[str] = await scripts.command("KEYS", "*")
    for start in range(0, len(keys), _AT_ONCE):
        part = keys[start : start + _AT_ONCE]
        sizes = await asyncio.gather(*(scripts.command("MEMORY USAGE", key, "SAMPLES", 0) for key in part))
        for key, size in zip(part, sizes, strict=True):
            found[key.partition(":")[0]] += int(size) + _SLOT_BYTES
    return Counter({family: round(size / count) for family, size in found.items()})


def _job(*, webhook: bool) -> NewJob:
    job_id = fresh_id()
    info = PictureInfo(format="jpeg", width=1024, height=1024, bytes=1_466_706)
    picture = InputRef(role=Role.IMAGE, key=f"in/{TENANT}/{job_id}/image-0.jpg", info=info, sha256="0" * 64)
    spec = EditSpec(
        prompt="replace the background by a snowy mountain at dawn, soft light",
        inputs=(picture,),
        user_tier="pro",
        webhook_url="https://example.com/hooks/edit-studio" if webhook else None,
    )
    return NewJob(
        id=job_id,
        tenant=TENANT,
        lane="acme",
        spec=spec,
        deadline_s=900,
        request_id="req_513ed76ffc98b19a4e0e0236",
        key_id="0123456789ab",
        reserved_micro_usd=20_000,
    )
