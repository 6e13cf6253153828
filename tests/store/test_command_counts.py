"""What an edit and an idle worker cost in Redis commands: counts do not wobble as times do, so the suite can hold them.

The bounds are what was measured, with a little room. Commands that scripts make count too, each one.
"""

import asyncio
from collections import Counter
from typing import Any

from arq.connections import ArqRedis

from shared.catalog.load import load_catalog
from shared.edit import Operation
from shared.job import Course, JobRecord, JobState
from shared.settings import Settings
from shared.store.connection import Scripts
from shared.store.experience import CallEnd, Experiences
from shared.store.jobs import Jobs
from shared.store.leases import Leases
from shared.store.seen import Seen
from shared.store.tenants import Tenants
from shared.store.webhooks import Outbox
from tests.conftest import make_job, make_spec

_EDITS = 40


class Count:
    """Commands that this server ran since the count began."""

    def __init__(self, redis: "ArqRedis") -> None:
        self._redis = redis

    async def begin(self) -> None:
        await self._redis.config_resetstat()

    async def end(self) -> Counter[str]:
        rows: dict[str, dict[str, Any]] = await self._redis.info("commandstats")
        found = Counter({name.removeprefix("cmdstat_"): int(row["calls"]) for name, row in rows.items()})
        # Its own command is not part of what it counts.
        del found["config|resetstat"], found["config"], found["info"]
        return found


async def _warm(scripts: Scripts) -> None:
    """A script is loaded once for a server's life, whoever calls it first."""
    for name in ("accept", "take", "checkpoint", "finish", "renew", "reap", "outbox_take", "enter", "record", "seen"):
        await scripts.command("SCRIPT LOAD", scripts._sources[name])


async def _live(record: JobRecord, leases: Leases, seen: Seen, experiences: Experiences) -> None:
    """What a worker writes of an edit whose provider is asked once and polled."""
    course = Course(model="qwen-edit", provider="wavespeed")
    text = course.model_dump_json(exclude_defaults=True)
    call = {"call": "started", "call_id": "0" * 16, "submitted": "@now", "choices": "[]"}
    assert await leases.checkpoint(record, stage="editing", course=text, **call)
    assert await leases.checkpoint(record, stage="editing", course=text, call="handle", handle="task-1", waiting_on="provider")
    assert not await seen.elsewhere("qwen-edit", record.id, output="0f" * 32, source="aa" * 32)
    end = CallEnd("qwen-edit", "wavespeed", Operation.GENERAL_EDIT, "good", "succeeded", 2.0, 20_000)
    finished, _ = await asyncio.gather(leases.finish(record, JobState.SUCCEEDED, course), experiences.record(end))
    assert finished


async def test_an_edits_whole_life_costs_at_most_so_many_commands(real_redis: ArqRedis, settings: Settings) -> None:
    scripts = Scripts(real_redis, timeout_s=2.0)
    jobs, leases, count = Jobs(scripts, settings), Leases(scripts, settings), Count(real_redis)
    await _warm(scripts)
    spec = make_spec(webhook_url="https://example.com/hook")
    await count.begin()
    for number in range(_EDITS):
        await jobs.accept(make_job(f"t{number % 4}", spec=spec))
    taken = await leases.take("w1", nonce="first", want=_EDITS)
    seen, experiences = Seen(scripts), Experiences(scripts, load_catalog())
    await asyncio.gather(*(_live(record, leases, seen, experiences) for record in taken))
    found = await count.end()
    assert len(taken) == _EDITS
    # accept, two checkpoints, the look at earlier outputs, finish and with it the count of the call: one call each; a share of
    # one `take`. The choice goes with the first checkpoint.
    assert found["evalsha"] == 6 * _EDITS + 1
    assert found["eval"] == 0
    # Of them 6 tell that a model returned a picture twice, 12 are what is learned from the call, and 9 what /metrics tells.
    assert found.total() <= 117 * _EDITS, found.most_common()


async def test_the_cost_of_taking_does_not_grow_with_what_is_running(real_redis: ArqRedis, settings: Settings) -> None:
    scripts = Scripts(real_redis, timeout_s=2.0)
    jobs, leases, count = Jobs(scripts, settings), Leases(scripts, settings), Count(real_redis)
    await _warm(scripts)
    costs = []
    for running in (1, 100):
        for _ in range(running):
            await jobs.accept(make_job())
        assert len(await leases.take("w1", nonce=f"fill-{running}", want=running)) == running
        await jobs.accept(make_job())
        await count.begin()
        assert len(await leases.take("w1", nonce=f"one-{running}", want=1)) == 1
        costs.append((await count.end()).total())
    assert costs[0] == costs[1]


async def test_an_idle_workers_round_costs_at_most_so_many_commands(real_redis: ArqRedis, settings: Settings) -> None:
    scripts = Scripts(real_redis, timeout_s=2.0)
    leases, outbox, count = Leases(scripts, settings), Outbox(scripts), Count(real_redis)
    await _warm(scripts)
    await leases.renew("w1", slots=32, providers=("local",), held=())
    costs = {}
    for name, act in (
        ("reap", leases.reap()),
        ("outbox", outbox.take(100)),
        ("beat", leases.renew("w1", slots=32, providers=("local",), held=())),
        ("take", leases.take("w1", nonce="n", want=32, providers=("local",))),
    ):
        await count.begin()
        await act
        costs[name] = (await count.end()).total()
    # Every 1.2 to 2.4 s the first two, every 3 s the others: not above 10 commands a second together.
    assert costs["reap"] <= 6, costs
    assert costs["outbox"] <= 3, costs
    assert costs["beat"] <= 6, costs
    assert costs["take"] <= 4, costs


async def test_learning_from_a_call_and_looking_cost_at_most_so_many_commands(real_redis: ArqRedis) -> None:
    scripts = Scripts(real_redis, timeout_s=2.0)
    experiences, count = Experiences(scripts, load_catalog()), Count(real_redis)
    await _warm(scripts)
    end = CallEnd("qwen-edit", "wavespeed", Operation.GENERAL_EDIT, "good", "succeeded", 2.0, 20_000)
    await count.begin()
    await experiences.record(end)
    found = await count.end()
    assert found["evalsha"] == 1
    assert found.total() <= 17, found.most_common()
    await count.begin()
    await asyncio.gather(*(experiences.look() for _ in range(100)))
    # The circuits, the clock, the ratings and seven days, whoever asks; for the next second nothing.
    assert (await count.end()).total() == 10


async def test_a_busy_key_is_looked_up_once_for_all_who_wait(real_redis: ArqRedis, settings: Settings) -> None:
    scripts = Scripts(real_redis, timeout_s=2.0)
    tenants, count = Tenants(scripts, settings), Count(real_redis)
    await _warm(scripts)
    key, _ = await tenants.create_key("t1", tier="pro", scopes=frozenset({"read"}), name="test")
    await count.begin()
    # A fetch brings a second's worth of tokens: 100 of 6 000 a minute.
    entries = await asyncio.gather(*(tenants.enter(key, "read") for _ in range(90)))
    found = await count.end()
    assert all(entry.bucket.allowed for entry in entries)
    assert found["evalsha"] == 1


async def test_tokens_that_were_not_used_come_back(real_redis: ArqRedis, settings: Settings) -> None:
    scripts = Scripts(real_redis, timeout_s=2.0)
    tenants = Tenants(scripts, settings.model_copy(update={"submits_per_minute": 60}))
    key, _ = await tenants.create_key("t1", tier="pro", scopes=frozenset({"submit"}), name="test")
    entries = await asyncio.gather(*(tenants.enter(key, "submit") for _ in range(100)))
    # 60 at once, and those that a slow machine earned meanwhile; each token was handed out once, none was lost.
    allowed = sum(entry.bucket.allowed for entry in entries)
    assert 60 <= allowed <= 65
