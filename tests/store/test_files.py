"""Files and calls in Redis, in the fake one and in a real one."""

from typing import Any

import pytest

from shared.errors import NotFound, ValidationFailed
from shared.settings import Settings
from shared.store.connection import Scripts
from shared.store.files import File, Files, upload_id_of
from shared.store.repeats import Repeats
from shared.store.uploads import Uploads


@pytest.fixture
def files(scripts: Scripts, settings: Settings) -> Files:
    return Files(scripts, settings)


async def made(scripts: Scripts, settings: Settings, *, purpose: str = "batch", life_s: int | None = None) -> File:
    upload = await Uploads(scripts, settings).add("t1")
    return await Files(scripts, settings).add(upload, name="a.jsonl", purpose=purpose, size=7, life_s=life_s)


async def test_a_file_is_found_by_its_owner_only(files: Files, scripts: Scripts, settings: Settings) -> None:
    file = await made(scripts, settings)
    assert await files.get("t1", file.id) == file
    assert file.upload_id == upload_id_of(file.id)
    with pytest.raises(NotFound):
        await files.get("t2", file.id)


async def test_a_file_and_its_bytes_are_kept_equally_long(redis: Any, scripts: Scripts, settings: Settings) -> None:
    for life_s, kept_s in ((None, settings.retention_s), (3_600, 3_600)):
        file = await made(scripts, settings, life_s=life_s)
        assert file.expires_ms - file.created_ms == kept_s * 1000
        for key in (f"file:{file.id}", f"upload:{file.upload_id}"):
            assert kept_s - 60 < await redis.ttl(key) <= kept_s


async def test_files_are_listed_both_ways_and_by_purpose(files: Files, redis: Any, scripts: Scripts, settings: Settings) -> None:
    kinds = ("batch", "vision", "batch", "vision", "batch")
    ids = [(await made(scripts, settings, purpose=purpose)).id for purpose in kinds]
    for place, file_id in enumerate(ids):
        await redis.zadd("tfiles:t1", {file_id: place + 1})

    async def listed(**asked: Any) -> tuple[list[int], bool]:
        found, more = await files.page("t1", **{"limit": 10, "after": None, "order": "desc", "purpose": None, **asked})
        return [ids.index(file.id) for file in found], more

    assert await listed() == ([4, 3, 2, 1, 0], False)
    assert await listed(limit=2) == ([4, 3], True)
    assert await listed(limit=2, after=ids[3]) == ([2, 1], True)
    assert await listed(order="asc", after=ids[0], purpose="batch") == ([2, 4], False)
    assert await listed(limit=1, purpose="vision") == ([3], True)
    await files.delete(await files.get("t1", ids[2]))
    assert await listed(purpose="batch") == ([4, 0], False)
    with pytest.raises(ValidationFailed):
        await listed(after=ids[2])


async def test_bytes_that_an_edit_needs_outlive_their_file(
    files: Files, redis: Any, scripts: Scripts, settings: Settings
) -> None:
    used, unused = await made(scripts, settings), await made(scripts, settings)
    await redis.set(f"kept:{used.upload_id}", 1)
    assert (await files.delete(used), await files.delete(unused)) == (True, False)
    assert not await redis.exists(f"upload:{used.upload_id}")


async def test_a_call_is_resumed_until_a_new_one_begins(redis: Any, scripts: Scripts) -> None:
    repeats = Repeats(scripts)
    resumed = await repeats.resume("t1", "f", life_s=60)
    assert await repeats.resume("t1", "f", life_s=60) == resumed
    begun = await repeats.begin("t1", "f", life_s=60)
    assert begun != resumed
    assert await repeats.resume("t1", "f", life_s=600) == begun
    assert 500 < await redis.ttl("repeat:t1:f") <= 600
    assert begun not in (await repeats.resume("t2", "f", life_s=60), await repeats.resume("t1", "g", life_s=60))
