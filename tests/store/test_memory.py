"""How much of Redis an edit takes, counted in bytes on a server set as we recommend; and that nothing of it stays for ever."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.edit import InputRef, Role
from shared.job import Course, JobState
from shared.settings import Settings
from shared.store.batches import Batches, NewBatch, NewItem
from shared.store.connection import Scripts, open_redis
from shared.store.jobs import Idempotency, Jobs
from shared.store.leases import Leases
from shared.store.tenants import Tenants
from shared.store.webhooks import Outbox
from tests.bench.memory import COMPACT, WAITING_MAX_BYTES, ended_edits, waiting_edits, waiting_items
from tests.conftest import fresh_id, make_job, make_spec
from tests.servers import RedisServer

_EDITS = 1_500
#: Channels, a name that is always absent, and a section of INFO: not keys.
_NO_KEYS = {"changed", "wake", "none", "memory"}
#: Kept for as long as there is the tenant, the key, the lane or the worker itself: their number does not grow with the edits.
FOR_EVER = {"key", "keys", "tenant", "tenants", "open", "lane", "lanes", "pass", "vt", "providers", "sequence", "reap"}
FOR_EVER |= {"telemetry"}  # It grows with the models, and with the outcomes that they had.


@pytest.fixture(scope="module")
def compact_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("compact"), options=COMPACT) as server:
        yield server


@pytest.mark.parametrize("fill", [waiting_edits, waiting_items])
async def test_a_waiting_edit_takes_at_most_1200_bytes(
    compact_redis: RedisServer, make_settings: Callable[..., Settings], fill: Callable[..., "asyncio.Future[dict[str, int]]"]
) -> None:
    settings = make_settings(**compact_redis.settings, queue_quota=_EDITS)
    redis = open_redis(settings)
    try:
        found = await fill(Scripts(redis, timeout_s=5.0), settings, _EDITS)
    finally:
        await redis.aclose(close_connection_pool=True)
    assert sum(found.values()) <= WAITING_MAX_BYTES, found


async def test_the_record_of_an_edit_that_has_ended_stays_compact(
    compact_redis: RedisServer, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(**compact_redis.settings)
    redis = open_redis(settings)
    try:
        found = await ended_edits(Scripts(redis, timeout_s=5.0), settings, 50)
    finally:
        await redis.aclose(close_connection_pool=True)
    # One field longer than what the server packs makes the whole record half as large again, or more.
    assert found["job"] <= 4_608, found


def _families() -> set[str]:
    """Every family of keys that the store's scripts and classes name."""
    folder = Path(__file__).parents[2] / "shared" / "store"
    patterns = {
        ".lua": (r"'([a-z_]+(?::[a-z]+)*):' ?\.\.", r"redis\.call\('[A-Z]+', '([a-z_]+(?::[a-z]+)*)'"),
        ".py": (r'f"([a-z_]+(?::[a-z]+)*):\{', r'"[A-Z]{3,}", "([a-z_]+(?::[a-z]+)*)"', r'^_[A-Z]+ = "([a-z_:]+)"  #.*set'),
    }
    found: set[str] = set()
    for file in folder.rglob("*"):
        for pattern in patterns.get(file.suffix, ()):
            found.update(name.partition(":")[0] for name in re.findall(pattern, file.read_text(), re.MULTILINE))
    return found - _NO_KEYS


def test_every_family_of_keys_is_in_the_paper_with_what_bounds_it() -> None:
    paper = (Path(__file__).parents[2] / "deploy" / "SCALING.md").read_text()
    rows = [line.split("|")[1:4] for line in paper.splitlines() if line.startswith("| `")]
    told = {name.partition(":")[0] for row in rows for name in re.findall(r"`([a-z_:]+)", row[0])}
    assert _families() <= told, f"not told of: {_families() - told}"
    assert all(bound.strip() for _, _, bound in rows)


async def test_nothing_of_an_edit_or_a_batch_stays_for_ever(
    redis: Any, scripts: Scripts, jobs: Jobs, leases: Leases, tenants: Tenants, outbox: Outbox, settings: Settings
) -> None:
    key, _ = await tenants.create_key("t1", tier="pro", scopes=frozenset({"submit"}), name="")
    await tenants.enter(key, "submit")
    borrowed = InputRef(role=Role.IMAGE, key=f"out/t1/{fresh_id()}/1/0.png")
    spec = make_spec(inputs=(borrowed,), webhook_url="https://example.com/hook")
    batches, batch = Batches(scripts, settings), NewBatch(id=fresh_id("batch"), tenant="t1", webhook_url="https://example.com/b")
    await batches.open(batch, idempotency_key="b" * 64)
    items = [NewItem(id=fresh_id(), lane="local", spec=spec, deadline_s=900, reserved_micro_usd=7) for _ in range(3)]
    await batches.stage(batch.id, items, first_index=0, bulk=True, request_id="r", key_id="k")
    await batches.commit(batch.id, fingerprint="0" * 64)
    for number in range(3):
        await jobs.accept(make_job("t1", spec=spec), idempotency=Idempotency(f"{number:064}", "0" * 64))
    await leases.renew("w1", slots=8, providers=("local",), held=())
    canceled, purged, *others = await leases.take("w1", nonce="n", want=6, providers=("local",))
    await jobs.cancel("t1", canceled.id)
    for record in (purged, *others):
        await leases.checkpoint(record, stage="editing", call="started")
        await leases.finish(record, JobState.SUCCEEDED, Course(), cost_micro_usd=7)
    # Its worker dies three times: the end of an edit that kills workers.
    await redis.hset(f"job:{canceled.id}", mapping={"kills": 2, "cancel": ""})
    await redis.zadd("timers", {canceled.id: 1})
    await leases.reap()
    await jobs.purge("t1", purged.id)
    for _ in range(9):
        for delivery in await outbox.take(100):
            await outbox.delivered(delivery, 200)
    await leases.renew("w1", slots=8, providers=("local",), held=(), draining=True)

    left = {name: await redis.pttl(name) for name in await redis.keys("*")}
    for_ever = {name for name, ttl_ms in left.items() if ttl_ms < 0 and name.partition(":")[0] not in FOR_EVER}
    assert for_ever == {"dead"}, for_ever
    assert await redis.zcard("dead") == 1
    assert {"job", "gone", "idem", "kept", "tjobs", "tbatches", "batch", "feed", "usage", "spend", "whd", "took", "rate"} <= {
        name.partition(":")[0] for name, ttl_ms in left.items() if ttl_ms > 0
    }
