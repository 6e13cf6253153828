"""What a caller of batches does and sees: uploads, lines, counts that have to add up, the feed, results as they were stored."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import redis.asyncio

from shared.job import API_PREFIX
from tests.end_to_end.caller import DEADLINE_S, Answer, Caller, until

_LONG = aiohttp.ClientTimeout(total=600)
_PIECE_LINES = 500
_IN_FLIGHT_S = 5.0
_STATES = ("queued", "running", "succeeded", "failed", "canceled")
_ENDED = ("succeeded", "failed", "canceled")
#: Counts of a batch beside what its items' own records say, both of one moment.
_COUNTED = """
local b, states = KEYS[1], {}
for _, id in ipairs(redis.call('ZRANGE', b .. ':items', 0, -1)) do
  local state = redis.call('HGET', 'job:' .. id, 'state')
  states[state] = (states[state] or 0) + 1
end
local told = {queued = tonumber(redis.call('HGET', b, 'left'))}
for _, state in ipairs({'running', 'succeeded', 'failed', 'canceled'}) do
  told[state] = tonumber(redis.call('HGET', b, state) or '0')
end
told.queued = told.queued - told.running
return cjson.encode({told, states})
"""


async def upload(caller: Caller, picture: bytes) -> str:
    """Put a picture where any number of items may name it; its id."""
    ticket = await caller.call("POST", "/uploads")
    assert ticket.status == 201, ticket
    done = await caller.call("PUT", f"/uploads/{ticket.json['id']}/content", data=picture)
    assert done.status == 200, done
    return str(done.json["image_id"])


async def post_batch(caller: Caller, items: Sequence[dict[str, Any]], *, key: str = "", **fields: Any) -> Answer:
    """NDJSON as a stream, once. `key`: the Idempotency-Key; `fields`: of the batch."""
    headers = {"Content-Type": "application/x-ndjson", **({"Idempotency-Key": key} if key else {})}
    lines = [{"defaults": {}, **fields}, *items]
    return await caller.call("POST", "/batches", data=_pieces(lines), headers=headers, timeout=_LONG)


async def submit_batch(caller: Caller, items: Sequence[dict[str, Any]], **fields: Any) -> str:
    """Submit as a caller should: again until it is accepted. Its id.

    The key of a request whose gateway died while it read is taken until that batch counts as abandoned; as nothing was promised
    under it, the caller goes on under another.
    """
    key, busy_s = uuid.uuid4().hex, 0.0
    async with asyncio.timeout(2 * DEADLINE_S):
        while (answer := await post_batch(caller, items, key=key, **fields)).status != 202:
            assert answer.status in (0, 409, 502, 503), answer
            await asyncio.sleep(0.25)
            if answer.status == 409:
                busy_s += 0.25
            if busy_s > _IN_FLIGHT_S:
                key, busy_s = uuid.uuid4().hex, 0.0
    return str(answer.json["id"])


async def results_of(caller: Caller, batch_id: str) -> list[dict[str, Any]]:
    """The Job of each item, in order, read as one stream."""
    url = f"{caller.url}{API_PREFIX}/batches/{batch_id}/results"
    async with caller.http.get(url, headers=caller.headers, timeout=_LONG) as answer:
        assert answer.status == 200, await answer.read()
        return [json.loads(line) async for line in answer.content]


async def feed_of(caller: Caller) -> list[dict[str, Any]]:
    """Every event of the tenant that is kept, oldest first."""
    events: list[dict[str, Any]] = []
    after = ""
    while True:
        answer = await caller.get(f"/events?limit=1000{after}")
        assert answer.status == 200, answer
        if not answer.json["events"]:
            return events
        events += answer.json["events"]
        after = f"&after={answer.json['next_cursor']}"


async def records_of(caller: Caller, job_ids: Sequence[str], *names: str) -> list[list[str | None]]:
    """These fields of the edits' records."""
    found: list[list[str | None]] = []
    for start in range(0, len(job_ids), _PIECE_LINES):
        pipeline = caller.store.pipeline(transaction=False)
        for job_id in job_ids[start : start + _PIECE_LINES]:
            pipeline.hmget(f"job:{job_id}", list(names))
        found += await pipeline.execute()
    return found


async def stored_results(caller: Caller, job_ids: Sequence[str]) -> list[Path]:
    """The file behind the result of each of these edits, all of which succeeded, in the order of the ids."""
    rows = await records_of(caller, job_ids, "course")
    (bucket,) = caller.stack.s3.objects.iterdir()
    return [bucket / json.loads(row[0] or "{}")["output"]["key"] for row in rows]


def one_event_each(events: Iterable[dict[str, Any]], edits: Iterable[str], batches: Iterable[str]) -> list[str]:
    """What is wrong with the feed: each of these has to have ended in exactly one event."""
    ends = Counter(event["edit_id"] or event["batch_id"] for event in events if _is_end(event))
    wanted = {*edits, *batches}
    wrong = [f"{name} ended in {ends[name]} events" for name in wanted if ends[name] != 1]
    return wrong + [f"{name} is nobody's" for name in ends.keys() - wanted]


def _is_end(event: dict[str, Any]) -> bool:
    return event["type"] == "batch.completed" or (event["edit_id"] is not None and event["status"] in _ENDED)


@dataclass
class CountWatch:
    """Looks at a batch's counts as long as it lasts; `wrong`: what did not add up, `looks`: how often the gateway answered.

    `compared`: how often they were compared with the records of all items in one step of Redis, `compare_every` so many looks.
    """

    caller: Caller
    batch_id: str
    total: int
    compare_every: int = 4
    looks: int = 0
    compared: int = 0
    wrong: list[str] = field(default_factory=list)
    batch: dict[str, Any] = field(default_factory=dict)

    async def until_ended(self, *, deadline_s: float = DEADLINE_S, pause_s: float = 0.25) -> dict[str, Any]:
        """The Batch once every item has ended."""

        async def so() -> bool:
            await self.look()
            if self.looks % self.compare_every == 0:
                await self.compare()
            await asyncio.sleep(0 if self.batch.get("finished_at") else pause_s)
            return bool(self.batch.get("finished_at"))

        await until(so, lambda: f"{self.batch_id} did not end: {self.batch}", deadline_s=deadline_s)
        await self.compare()
        return self.batch

    async def look(self) -> None:
        """Ask the gateway, which may be away."""
        answer = await self.caller.get(f"/batches/{self.batch_id}")
        if answer.status != 200:
            return
        self.looks += 1
        before, counts = self.batch.get("counts", {}), answer.json["counts"]
        self.batch = answer.json
        if counts["total"] != self.total or sum(counts[state] for state in _STATES) != self.total or min(counts.values()) < 0:
            self.wrong.append(f"of {self.total}: {counts}")
        if any(counts[state] < before.get(state, 0) for state in _ENDED):
            self.wrong.append(f"{before} became {counts}")

    async def compare(self) -> None:
        """Ask Redis, which may be away."""
        try:
            answer = await self.caller.store.eval(_COUNTED, 1, f"batch:{self.batch_id}")  # type: ignore[misc]
        except (redis.exceptions.RedisError, OSError):
            return
        self.compared += 1
        told, found = json.loads(answer)
        if told != {state: found.get(state, 0) for state in _STATES}:
            self.wrong.append(f"told {told}, the records say {found}")


async def _pieces(lines: Sequence[dict[str, Any]]) -> AsyncIterator[bytes]:
    for start in range(0, len(lines), _PIECE_LINES):
        yield b"".join(json.dumps(line).encode() + b"\n" for line in lines[start : start + _PIECE_LINES])
