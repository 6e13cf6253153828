"""What is removed from storage, what stays, and how little one pass does."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from shared.edit import InputRef, Role
from shared.ids import new_id
from shared.job import JobState
from shared.settings import Settings
from shared.storage import Storage
from shared.store.jobs import Jobs
from shared.store.leases import Leases
from shared.store.retention import Retention
from tests.conftest import make_job, make_spec, take_one
from tests.servers import S3Server
from worker.retention import KEYS_A_PASS, StorageClearing

_DAY_S = 86_400.0
_NOW_S = time.time()
_LATER_S = _NOW_S + 8 * _DAY_S  # past the inputs' seven days, not past the results' thirty


@pytest.fixture
async def bucket(s3_server: S3Server, make_settings: Callable[..., Settings]) -> Storage:
    """A bucket of the test's own."""
    storage = Storage(make_settings(**s3_server.settings, s3_bucket=f"old-{os.urandom(6).hex()}"))
    await storage.ensure_bucket()
    return storage


@pytest.fixture
def retention(scripts: Any) -> Retention:
    return Retention(scripts)


@pytest.fixture
def clearing(retention: Retention, bucket: Storage, settings: Settings) -> StorageClearing:
    return StorageClearing(retention, bucket, settings)


def _id(at_s: float = _NOW_S, prefix: str = "edit") -> str:
    return new_id(prefix, now_ms=int(at_s * 1000), random_bytes=os.urandom(10))


async def _put(bucket: Storage, *keys: str) -> None:
    for key in keys:
        await bucket.put(key, b"x", content_type="image/png")


async def _left(bucket: Storage) -> list[str]:
    return [key for area in ("in", "out", "rejected", "sent") for key in await bucket.keys_under(f"{area}/")]


async def _cycle(clearing: StorageClearing, redis: Any, *, now_s: float) -> int:
    """Passes until everything was looked through once; how many objects were removed."""
    removed = 0
    while True:
        await redis.delete("clearing:turn")
        removed += await clearing.run_once(now_s=now_s, every_s=60)
        if await redis.get("clearing:place") == "0//":
            return removed


async def test_inputs_and_results_of_forgotten_edits_go_when_they_are_old(
    clearing: StorageClearing, bucket: Storage, redis: Any
) -> None:
    orphan, young = _id(), _id(_LATER_S - _DAY_S)
    old = [f"in/t1/{orphan}/image-0.png", f"sent/t1/{orphan}/1/a.png", f"rejected/t2/{orphan}/1/0"]
    stays = [f"in/t1/{young}/image-0.png", f"out/t1/{orphan}/1/0.png", "in/t1/somebody-else/0", "in/notes.txt"]
    await _put(bucket, *old, *stays)
    assert await _cycle(clearing, redis, now_s=_LATER_S) == 3
    assert sorted(await _left(bucket)) == sorted(stays)
    assert await _cycle(clearing, redis, now_s=_NOW_S + 31 * _DAY_S) == 2
    assert sorted(await _left(bucket)) == ["in/notes.txt", "in/t1/somebody-else/0"]


async def test_a_living_record_keeps_its_pictures_whatever_their_age(
    clearing: StorageClearing, bucket: Storage, redis: Any, jobs: Jobs, leases: Leases
) -> None:
    waiting, ended = make_job(), make_job()
    for job in (waiting, ended):
        await jobs.accept(job)
        await _put(bucket, f"in/t1/{job.id}/image-0.png", f"out/t1/{job.id}/1/0.png")
    await leases.finish(await take_one(leases), JobState.SUCCEEDED, (await jobs.get("t1", waiting.id)).course)
    assert await _cycle(clearing, redis, now_s=_NOW_S + 400 * _DAY_S) == 0
    assert len(await _left(bucket)) == 4
    await jobs.purge("t1", waiting.id)
    assert await _cycle(clearing, redis, now_s=_NOW_S + 400 * _DAY_S) == 2
    assert {key.split("/")[2] for key in await _left(bucket)} == {ended.id}


async def test_a_picture_that_a_living_edit_of_another_id_uses_stays(
    clearing: StorageClearing, bucket: Storage, redis: Any, jobs: Jobs
) -> None:
    earlier = _id()
    key = f"out/t1/{earlier}/1/0.png"
    await _put(bucket, key, f"in/t1/{earlier}/image-0.png")
    await jobs.accept(make_job(spec=make_spec(inputs=(InputRef(role=Role.IMAGE, key=key),))))
    assert await _cycle(clearing, redis, now_s=_NOW_S + 400 * _DAY_S) == 0
    # As long as the edit that uses it can live: its deadline, the call that may follow, and its retention.
    assert 8 * _DAY_S * 1000 < await redis.pttl(f"kept:{earlier}") <= 9 * _DAY_S * 1000


async def test_what_lies_under_a_living_batch_stays(clearing: StorageClearing, bucket: Storage, redis: Any) -> None:
    batch = _id(prefix="batch")
    await _put(bucket, f"in/t1/{batch}/0.png")
    await redis.zadd(f"batch:{batch}", {"any": 1})
    assert await _cycle(clearing, redis, now_s=_LATER_S) == 0
    await redis.delete(f"batch:{batch}")
    assert await _cycle(clearing, redis, now_s=_LATER_S) == 1


async def test_a_pass_removes_no_more_than_its_share_and_the_next_one_goes_on(
    clearing: StorageClearing, bucket: Storage, redis: Any, s3_server: S3Server
) -> None:
    for n in range(3):
        folder = s3_server.objects / bucket._bucket / "in" / "t1" / _id(_NOW_S + n)
        folder.mkdir(parents=True)
        for number in range(KEYS_A_PASS - 50):
            (folder / f"{number:03}").touch()
    counts = []
    for _ in range(4):
        await redis.delete("clearing:turn")
        counts.append(await clearing.run_once(now_s=_LATER_S, every_s=60))
    # The second folder's rest was left behind by the first pass; the cycle after the third folder finds it.
    assert counts == [KEYS_A_PASS, KEYS_A_PASS - 50, 100, 0]


async def test_only_one_worker_has_the_turn(clearing: StorageClearing, bucket: Storage, redis: Any) -> None:
    await _put(bucket, f"in/t1/{_id()}/image-0.png")
    counts = [await clearing.run_once(now_s=_LATER_S, every_s=60) for _ in range(3)]
    assert counts == [1, 0, 0]
    assert 50_000 < await redis.pttl("clearing:turn") <= 60_000


async def test_more_owners_than_a_look_takes_are_all_found(
    clearing: StorageClearing, bucket: Storage, redis: Any, s3_server: S3Server
) -> None:
    for tenant in ("a", "a-b", "b"):
        for n in range(120 if tenant == "a" else 1):
            folder = s3_server.objects / bucket._bucket / "out" / tenant / _id(_NOW_S + n)
            folder.mkdir(parents=True)
            (folder / "job.json").touch()
    assert await _cycle(clearing, redis, now_s=_NOW_S + 40 * _DAY_S) == 122
    assert await _left(bucket) == []


async def test_a_bucket_with_rules_of_its_own_is_left_alone(
    retention: Retention, bucket: Storage, redis: Any, make_settings: Callable[..., Settings]
) -> None:
    keys = [f"{area}/t1/{_id()}/0" for area in ("in", "out")]
    await _put(bucket, *keys)
    clearing = StorageClearing(retention, bucket, make_settings(input_retention_days=0, output_retention_days=30))
    assert await _cycle(clearing, redis, now_s=_NOW_S + 400 * _DAY_S) == 1
    assert await _left(bucket) == keys[:1]
    await StorageClearing(retention, bucket, make_settings(input_retention_days=0, output_retention_days=0)).run_for_ever()


async def test_records_that_are_kept_longer_than_the_days_come_first(
    retention: Retention, bucket: Storage, redis: Any, make_settings: Callable[..., Settings]
) -> None:
    await _put(bucket, f"in/t1/{_id()}/0")
    clearing = StorageClearing(retention, bucket, make_settings(retention_s=60 * 86_400))
    assert await _cycle(clearing, redis, now_s=_NOW_S + 59 * _DAY_S) == 0
    assert await _cycle(clearing, redis, now_s=_NOW_S + 61 * _DAY_S) == 1
