"""Storage against an S3 server of its own, a missing bucket, a wrong key and servers that are down or silent."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from shared.errors import StorageUnavailable
from shared.settings import Settings
from shared.storage import ObjectMissing, Storage
from tests.servers import S3Server, free_port

_TIMEOUT_S = 1.0
_CHUNK_BYTES = 256 * 1024


@pytest.fixture
def key() -> str:
    """A folder of the test's own."""
    return f"in/t1/{os.urandom(6).hex()}/image-0.png"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def everything(storage: Storage, key: str, folder: Path) -> dict[str, BaseException | None]:
    """What each method raises."""

    async def streamed() -> None:
        async for _ in storage.stream(key, start=0, length=10):
            pass

    calls = {
        "ping": storage.ping(),
        "put": storage.put(key, b"data", content_type="image/png"),
        "get": storage.get(key),
        "download": storage.download(key, folder / "copy"),
        "head": storage.head(key),
        "stream": streamed(),
        "keys_under": storage.keys_under(key),
        "folders_under": storage.folders_under("in/", limit=1),
        "lifecycle_days": storage.lifecycle_days(),
        "delete": storage.delete([key]),
    }
    answers = await asyncio.gather(*calls.values(), return_exceptions=True)
    return {name: answer if isinstance(answer, BaseException) else None for name, answer in zip(calls, answers, strict=True)}


@pytest.mark.parametrize("as_file", [False, True])
async def test_what_is_put_is_read_again_in_every_way(storage: Storage, key: str, tmp_path: Path, as_file: bool) -> None:
    data = os.urandom(600_000)
    (tmp_path / "source").write_bytes(data)
    await storage.put(key, tmp_path / "source" if as_file else data, content_type="image/png")
    assert await storage.get(key) == data
    await storage.download(key, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    head = await storage.head(key)
    assert (head.bytes, head.content_type) == (len(data), "image/png")
    assert head.etag
    chunks = [chunk async for chunk in storage.stream(key, start=0, length=len(data))]
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= _CHUNK_BYTES


async def test_a_put_replaces_what_was_there(storage: Storage, key: str) -> None:
    await storage.put(key, b"first", content_type="image/png")
    await storage.put(key, b"second", content_type="image/webp")
    assert await storage.get(key) == b"second"
    assert (await storage.head(key)).bytes == 6


@pytest.mark.parametrize(("start", "length"), [(0, 10), (3, 4), (9, 1), (0, 0), (5, 0)])
async def test_a_part_is_streamed_exactly(storage: Storage, key: str, start: int, length: int) -> None:
    await storage.put(key, b"0123456789", content_type="text/plain")
    assert b"".join([chunk async for chunk in storage.stream(key, start=start, length=length)]) == b"0123456789"[start:][:length]


async def test_what_is_not_there_is_missing(storage: Storage, key: str, tmp_path: Path) -> None:
    for call in (storage.get(key), storage.head(key), storage.download(key, tmp_path / "copy")):
        with pytest.raises(ObjectMissing):
            await call
    with pytest.raises(ObjectMissing):
        await anext(storage.stream(key, start=0, length=1))
    assert await storage.keys_under(key) == []


async def test_deleting_removes_and_does_not_mind_what_is_gone(storage: Storage, key: str) -> None:
    await storage.put(key, b"data", content_type="image/png")
    await storage.delete([key, key, f"{key}-never"])
    with pytest.raises(ObjectMissing):
        await storage.get(key)


async def test_a_listing_is_of_its_prefix_and_in_order(storage: Storage, key: str) -> None:
    folder = key.rpartition("/")[0]
    for name in ("b", "a", "c/d"):
        await storage.put(f"{folder}/{name}", b"x", content_type="text/plain")
    await storage.put(f"{folder}-other/e", b"x", content_type="text/plain")
    assert await storage.keys_under(f"{folder}/") == [f"{folder}/a", f"{folder}/b", f"{folder}/c/d"]


async def test_a_listing_is_bounded(make_settings: Callable[..., Settings], s3_server: S3Server) -> None:
    storage = Storage(make_settings(**s3_server.settings, s3_bucket=f"many-{os.urandom(4).hex()}"))
    await storage.ensure_bucket()
    folder = s3_server.objects / storage._bucket / "in"
    folder.mkdir()
    for number in range(1_005):
        (folder / f"{number:04}").touch()
    keys = await storage.keys_under("in/")
    assert (len(keys), keys[0], keys[-1]) == (1_000, "in/0000", "in/0999")


async def test_folders_are_listed_in_order_whatever_lies_beside_them(
    make_settings: Callable[..., Settings], s3_server: S3Server
) -> None:
    storage = Storage(make_settings(**s3_server.settings, s3_bucket=f"folders-{os.urandom(4).hex()}"))
    await storage.ensure_bucket()
    for name in ("a-b", "a", "b"):
        for number in range(2):
            await storage.put(f"in/{name}/{number}/0.png", b"x", content_type="image/png")
    folder = s3_server.objects / storage._bucket / "in"
    for number in range(150):
        (folder / f"0{number:03}").touch()
    assert await storage.folders_under("in/", limit=100) == ["a-b", "a", "b"]
    assert await storage.folders_under("in/", limit=1) == ["a-b"]
    assert await storage.folders_under("in/", after="a-b", limit=1) == ["a"]
    assert await storage.folders_under("in/a/", after="0", limit=9) == ["1"]
    assert await storage.folders_under("in/", after="b", limit=1) == []
    assert await storage.folders_under("nothing/", limit=1) == []


async def test_a_server_without_lifecycle_rules_has_none(storage: Storage) -> None:
    assert await storage.lifecycle_days() == {}


async def test_a_link_leads_to_the_object_and_cannot_be_bent(storage: Storage, key: str, http: aiohttp.ClientSession) -> None:
    await storage.put(key, b"data", content_type="image/png")
    await storage.put(f"{key}-other", b"other", content_type="image/png")
    url, _ = await storage.link(key, filename="0123.png")
    async with http.get(url) as answer:
        assert (answer.status, await answer.read()) == (200, b"data")
    assert "0123.png" in url
    for bent in (url.replace(key, f"{key}-other"), url.split("?")[0], url.replace("X-Amz-Expires=3600", "X-Amz-Expires=9000")):
        assert bent != url
        async with http.get(bent) as answer:
            assert answer.status in (400, 403), bent


async def test_a_link_says_truly_when_it_ends(make_settings: Callable[..., Settings], s3_server: S3Server, key: str) -> None:
    before = datetime.now(UTC)
    url, ends = await Storage(make_settings(**s3_server.settings, link_life_s=90)).link(key)
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    signed = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert query["X-Amz-Expires"] == "90"
    assert abs(signed + timedelta(seconds=90) - ends) < timedelta(seconds=2)
    assert abs(before + timedelta(seconds=90) - ends) < timedelta(seconds=5)


async def test_a_link_that_has_ended_opens_nothing(
    storage: Storage, key: str, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.put(key, b"data", content_type="image/png")
    past = datetime.now(UTC) - timedelta(seconds=3_700)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: past.replace(tzinfo=None))
    url, _ = await storage.link(key)
    assert past.strftime("%Y%m%dT%H%M") in url
    monkeypatch.undo()
    async with http.get(url) as answer:
        assert answer.status in (400, 403)
        assert b"data" not in await answer.read()


async def test_links_are_signed_for_the_address_that_callers_reach(make_settings: Callable[..., Settings], key: str) -> None:
    settings = make_settings(
        s3_endpoint_url="http://storage:9000", s3_public_url="https://cdn.example", s3_access_key="k" * 8, s3_secret_key="s" * 8
    )
    url, _ = await Storage(settings).link(key)
    assert url.startswith("https://cdn.example/edit-studio/in/t1/")


@pytest.mark.parametrize(
    ("endpoint", "provider", "reachable"),
    [
        (None, None, True),
        ("https://s3.example.com", None, True),
        ("http://127.0.0.1:9000", None, False),
        ("http://storage:9000", None, False),
        ("http://192.168.1.5:9000", "https://api.example.com", False),
        ("http://127.0.0.1:9000", "http://127.0.0.1:8000", True),
        ("http://172.217.0.1:9000", None, True),
        ("http://172.16.0.1:9000", None, False),
        ("http://localhost:9000", None, False),
        ("http://[::1]:9000", None, False),
    ],
)
def test_links_are_given_to_providers_that_can_follow_them(
    make_settings: Callable[..., Settings], endpoint: str | None, provider: str | None, reachable: bool
) -> None:
    settings = make_settings(s3_endpoint_url=endpoint, s3_access_key="k" * 8, s3_secret_key="s" * 8)
    assert Storage(settings).reachable_from(provider) is reachable


async def test_making_the_bucket_is_safe_to_repeat(make_settings: Callable[..., Settings], s3_server: S3Server) -> None:
    storage = Storage(make_settings(**s3_server.settings, s3_bucket=f"fresh-{os.urandom(4).hex()}"))
    with pytest.raises(StorageUnavailable, match="does not exist"):
        await storage.ping()
    await storage.ensure_bucket()
    await storage.ensure_bucket()
    await storage.ping()


async def test_a_missing_bucket_is_our_trouble_and_not_a_missing_object(
    make_settings: Callable[..., Settings], s3_server: S3Server, key: str, tmp_path: Path
) -> None:
    """An edit must not fail as `input_gone` because an operator moved the bucket."""
    storage = Storage(make_settings(**s3_server.settings, s3_bucket=f"absent-{os.urandom(4).hex()}"))
    raised = await everything(storage, key, tmp_path)
    for name in ("ping", "put", "get", "download", "stream", "keys_under"):
        assert isinstance(raised[name], StorageUnavailable), (name, raised[name])


async def test_a_refused_key_is_told_without_the_key(
    make_settings: Callable[..., Settings], s3_server: S3Server, key: str, tmp_path: Path
) -> None:
    settings = {**s3_server.settings, "s3_secret_key": "a-wrong-secret-key"}
    raised = await everything(Storage(make_settings(**settings)), key, tmp_path)
    for name, error in raised.items():
        assert isinstance(error, StorageUnavailable), (name, error)
        assert "403" in str(error)
        assert not [
            secret for secret in ("a-wrong-secret-key", s3_server.access_key, s3_server.endpoint_url) if secret in str(error)
        ]


async def test_a_server_that_is_down_is_told_at_once(
    make_settings: Callable[..., Settings], s3_server: S3Server, key: str, tmp_path: Path
) -> None:
    settings = {**s3_server.settings, "s3_endpoint_url": f"http://127.0.0.1:{free_port()}", "storage_timeout_s": _TIMEOUT_S}
    raised = await everything(Storage(make_settings(**settings)), key, tmp_path)
    for name, error in raised.items():
        assert isinstance(error, StorageUnavailable), (name, error)
        assert "127.0.0.1" not in str(error)


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


async def test_a_silent_server_is_given_up_within_the_time_limit(
    make_settings: Callable[..., Settings], s3_server: S3Server, key: str, tmp_path: Path, silent: str
) -> None:
    settings = {**s3_server.settings, "s3_endpoint_url": silent, "storage_timeout_s": 0.3}
    async with asyncio.timeout(20):
        raised = await everything(Storage(make_settings(**settings)), key, tmp_path)
    assert {type(error) for error in raised.values()} == {StorageUnavailable}
