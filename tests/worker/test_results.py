"""What an edit leaves in storage, in which order, and through storage that is away."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StorageUnavailable
from shared.job import Course, JobRecord, StoredOutput
from shared.settings import Settings
from shared.storage import Storage
from shared.store.jobs import Jobs
from shared.store.leases import Leases, Release
from tests import pictures
from tests.conftest import make_job, take_one
from tests.servers import S3Server
from tests.worker.edit_fixtures import pool
from worker import results
from worker.canvas import RestoredPicture
from worker.pixel_pool import PixelPool
from worker.results import Results

__all__ = ["pool"]

HOOK = "https://hooks.example/a-secret-path"


@pytest.fixture
def redis(real_redis: Any) -> Any:
    """One Redis is enough here."""
    return real_redis


@pytest.fixture
def stored(storage: Storage, settings: Settings, pool: PixelPool) -> Results:
    return Results(settings=settings, storage=storage, pool=pool)


@pytest.fixture
async def record(jobs: Jobs, leases: Leases) -> JobRecord:
    await jobs.accept(make_job(webhook_url=HOOK))
    return await take_one(leases)


def a_result(folder: Path, data: bytes = pictures.samples()["png"]) -> RestoredPicture:
    file = folder / "result"
    file.write_bytes(data)
    return RestoredPicture(file, 120, 80, "png", len(data), "a" * 64, "encoded")


async def again(leases: Leases, record: JobRecord) -> JobRecord:
    """The edit in its next turn."""
    await leases.release(record, Release())
    return await take_one(leases)


async def store(stored: Results, record: JobRecord, folder: Path) -> Course:
    result = a_result(folder)
    course = Course(model="m", output=stored.output_of(record, result), estimated_usd=0.5)
    await stored.store(record, course, result.file)
    return course


async def test_a_result_lies_where_its_course_says(stored: Results, storage: Storage, record: JobRecord, tmp_path: Path) -> None:
    course = await store(stored, record, tmp_path)
    output = course.output
    assert isinstance(output, StoredOutput)
    assert output.key == f"out/t1/{record.id}/1/0.png"
    assert await storage.get(output.key) == pictures.samples()["png"]
    assert (await storage.head(output.key)).content_type == "image/png"
    assert list(output.thumbnails) == ["320", "1024"]
    for key in output.thumbnails.values():
        assert pictures.opened(await storage.get(key)).size == (120, 80)
        assert (await storage.head(key)).content_type == "image/webp"


async def test_the_mark_of_a_whole_result_is_put_last(
    stored: Results, storage: Storage, record: JobRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, order = storage.put, []

    async def watched(key: str, body: bytes | Path, *, content_type: str) -> None:
        await put(key, body, content_type=content_type)
        order.append(key.rpartition("/")[2])

    monkeypatch.setattr(storage, "put", watched)
    await store(stored, record, tmp_path)
    assert order[-1] == "done.json"
    assert sorted(order[:-1]) == ["0.png", "job.json", "thumb-1024.webp", "thumb-320.webp"]


async def test_the_manifest_tells_people_what_it_is_and_no_address(
    stored: Results, storage: Storage, record: JobRecord, tmp_path: Path
) -> None:
    await store(stored, record, tmp_path)
    manifest = (await storage.get(f"out/t1/{record.id}/job.json")).decode()
    import json

    assert json.loads(manifest)["course"]["estimated_usd"] == 0.5
    assert json.loads(manifest)["id"] == record.id
    assert HOOK not in manifest


async def test_a_whole_result_is_adopted_by_a_later_turn(
    stored: Results, leases: Leases, record: JobRecord, tmp_path: Path
) -> None:
    course = await store(stored, record, tmp_path)
    later = await again(leases, record)
    assert await stored.adopt(later) == course


async def test_a_first_turn_looks_for_nothing(
    stored: Results, storage: Storage, record: JobRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request less for every edit that meets no trouble."""
    monkeypatch.setattr(storage, "keys_under", None)
    assert await stored.adopt(record) is None


async def test_a_result_without_its_mark_is_not_adopted(
    stored: Results, storage: Storage, leases: Leases, record: JobRecord, tmp_path: Path
) -> None:
    await store(stored, record, tmp_path)
    await storage.delete([f"out/t1/{record.id}/1/done.json"])
    assert await stored.adopt(await again(leases, record)) is None


async def test_another_edits_result_is_not_adopted(stored: Results, storage: Storage, leases: Leases, record: JobRecord) -> None:
    await storage.put(f"out/t1/{record.id}x/1/done.json", b"{}", content_type="application/json")
    await storage.put(f"out/t2/{record.id}/1/done.json", b"{}", content_type="application/json")
    assert await stored.adopt(await again(leases, record)) is None


async def test_a_turn_overwrites_nothing_of_another(
    stored: Results, storage: Storage, leases: Leases, record: JobRecord, tmp_path: Path
) -> None:
    first = await store(stored, record, tmp_path)
    second = await store(stored, await again(leases, record), tmp_path)
    assert first.output is not None
    assert second.output is not None
    assert {first.output.key, *first.output.thumbnails.values()}.isdisjoint(
        {second.output.key, *second.output.thumbnails.values()}
    )


async def test_a_rejected_output_is_kept_as_it_came(stored: Results, storage: Storage, record: JobRecord, tmp_path: Path) -> None:
    (tmp_path / "received").write_bytes(b"<html>sorry</html>")
    await stored.keep_rejected(record, tmp_path / "received")
    key = f"rejected/t1/{record.id}/1/0"
    assert await storage.get(key) == b"<html>sorry</html>"
    assert (await storage.head(key)).content_type == "application/octet-stream", "no browser shows what was rejected"


@pytest.fixture
async def own_s3(tmp_path: Path) -> AsyncIterator[S3Server]:
    """An S3 server to be killed and started again."""
    with S3Server(tmp_path / "s3") as server:
        yield server


async def test_storage_that_is_away_is_waited_for_and_the_result_is_not_lost(
    own_s3: S3Server,
    make_settings: Callable[..., Settings],
    pool: PixelPool,
    record: JobRecord,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results, "_FIRST_WAIT_S", 0.02)
    monkeypatch.setattr(results, "_LONGEST_WAIT_S", 0.05)
    settings = make_settings(**own_s3.settings, storage_timeout_s=2.0, s3_bucket=f"own-{os.urandom(4).hex()}")
    storage = Storage(settings)
    await storage.ensure_bucket()
    stored = Results(settings=settings, storage=storage, pool=pool)
    own_s3.kill()
    storing = asyncio.create_task(store(stored, record, tmp_path))
    async with asyncio.timeout(20):
        while not any("storage is away" in line.getMessage() for line in caplog.records):
            await asyncio.sleep(0.01)
        own_s3.start()
        course = await storing
    assert course.output is not None
    assert await storage.get(course.output.key) == pictures.samples()["png"]


async def test_storage_that_stays_away_is_given_up_in_the_end(
    make_settings: Callable[..., Settings],
    s3_server: S3Server,
    pool: PixelPool,
    record: JobRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(results, "_FIRST_WAIT_S", 0.02)
    settings = make_settings(**s3_server.settings, s3_bucket=f"absent-{os.urandom(4).hex()}")
    stored = Results(settings=settings, storage=Storage(settings), pool=pool)
    with pytest.raises(StorageUnavailable):
        await store(stored, record, tmp_path)
    await stored.keep_rejected(record, tmp_path / "result")
