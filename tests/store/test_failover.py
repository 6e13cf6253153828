"""What a process does about a Redis that is no master any more, or is gone without a word."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.errors import StoreUnavailable
from shared.settings import Settings
from shared.store import changes
from shared.store.changes import Subscription
from shared.store.connection import Scripts, open_redis
from shared.store.durability import check_durability
from tests.redis_group import RedisGroup
from tests.servers import RedisServer, free_port

_WAIT_S = 10.0


@pytest.fixture
async def scripts(own_redis: RedisServer, make_settings: Callable[..., Settings]) -> AsyncIterator[Scripts]:
    redis = open_redis(make_settings(**own_redis.settings))
    yield Scripts(redis, timeout_s=1.0)
    await redis.aclose(close_connection_pool=True)


async def _until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WAIT_S):
        while not fact():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("command", [("SET", "a", "1"), ("EVAL", "return redis.call('SET', KEYS[1], '1')", 1, "a")])
async def test_a_connection_to_a_master_that_was_demoted_is_dropped(
    own_redis: RedisServer, scripts: Scripts, command: tuple[str | int, ...]
) -> None:
    before = await scripts.command("CLIENT ID")
    assert await scripts.command("CLIENT ID") == before
    with own_redis.client() as client:
        client.replicaof("127.0.0.1", free_port())
        with pytest.raises(StoreUnavailable):
            await scripts.command(*command)
        client.replicaof("NO", "ONE")
    assert await scripts.command("CLIENT ID") != before


async def test_a_wrong_command_keeps_its_connection(scripts: Scripts) -> None:
    before = await scripts.command("CLIENT ID")
    with pytest.raises(Exception, match="unknown command"):
        await scripts.command("NONSENSE")
    assert await scripts.command("CLIENT ID") == before


async def test_news_come_again_after_a_server_that_was_silent_without_breaking_off(
    own_redis: RedisServer,
    scripts: Scripts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(changes, "_SILENT_S", 0.1)
    heard: list[str] = []
    news = Subscription(scripts.redis, "changed", heard.append)
    news.start()
    try:
        with own_redis.client() as client:
            while not client.publish("changed", "before"):
                await asyncio.sleep(0.01)
        own_redis.freeze()
        await _until(lambda: "news from redis stopped" in caplog.text)
        own_redis.thaw()
        with own_redis.client() as client:
            async with asyncio.timeout(_WAIT_S):
                while "after" not in heard:
                    client.publish("changed", "after")
                    await asyncio.sleep(0.01)
        assert set(heard) == {"before", "after"}
    finally:
        await news.close()


async def test_a_quiet_channel_is_not_taken_for_a_dead_server(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(changes, "_SILENT_S", 0.05)
    news = Subscription(scripts.redis, "changed", lambda what: None)
    news.start()

    async def pings() -> int:
        rows = await scripts.redis.info("commandstats")
        return int(rows.get("cmdstat_ping", {}).get("calls", 0))

    async with asyncio.timeout(_WAIT_S):
        while await pings() < 5:
            await asyncio.sleep(0.02)
    await news.close()
    assert "stopped" not in caplog.text


async def test_a_start_behind_sentinels_tells_what_a_failover_may_lose(
    tmp_path: Path, make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    with RedisGroup(tmp_path / "group", replicas=1) as group:
        settings = make_settings(**group.settings)
        redis = open_redis(settings)
        try:
            with caplog.at_level(logging.WARNING):
                await check_durability(redis, settings)
            assert "min-replicas-to-write 1" in caplog.text
            # A Sentinel that is down is passed over; when none is left the store is away.
            group.sentinels[0].kill()
            await redis.connection_pool.disconnect()
            assert await Scripts(redis, timeout_s=2.0).command("PING")
            for sentinel in group.sentinels[1:]:
                sentinel.kill()
            await redis.connection_pool.disconnect()
            with pytest.raises(StoreUnavailable):
                await Scripts(redis, timeout_s=2.0).command("PING")
        finally:
            await redis.aclose(close_connection_pool=True)


@pytest.mark.parametrize(
    "url", ["", "localhost:6379", "http://redis", "redis+sentinel://host:1", "redis+sentinel://a:b:c/service"]
)
def test_an_address_that_leads_nowhere_is_refused_at_the_start(url: str, make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError, match="redis_url"):
        make_settings(redis_url=url)
