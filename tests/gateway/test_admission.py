"""Backpressure: when submits are refused for a while, whose, and that everything else goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.pressure import PressureWatch
from shared.errors import Overloaded, StoreUnavailable
from shared.settings import Settings
from shared.store.connection import Scripts, open_redis
from shared.store.pressure import Pressure
from tests.conftest import make_job
from tests.gateway.conftest import Api
from tests.servers import RedisServer

GOOD = {"image_url": "https://example.com/a.png", "prompt": "make it black and white"}
SOON = [{"queue_slo_s": 1.0}]


async def aged(api: Api, tenant: str = "t1", *, age_s: float = 11, **options: Any) -> str:
    """An edit that has waited for so long."""
    job = make_job(tenant, **options)
    await api.connections.jobs.accept(job)
    redis = api.connections.jobs._scripts.redis
    await redis.hincrby(f"job:{job.id}", "created", -int(age_s * 1000))
    return job.id


async def until_status(api: Api, status: int, headers: dict[str, str] | None = None) -> Any:
    """The first answer to a submit with this status; a look is taken once a second."""
    async with asyncio.timeout(10):
        while True:
            answer = await api.post("/process", json=GOOD, headers=headers)
            if answer.status == status:
                return answer
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("gateway_settings", SOON, indirect=True)
async def test_a_tenant_whose_edits_wait_too_long_submits_no_more_until_they_run(api: Api) -> None:
    waiting = await aged(api)
    answer = await until_status(api, 503)
    assert (answer.json["code"], answer.json["retryable"]) == ("overloaded", True)
    assert int(answer.headers["Retry-After"]) == 1
    assert "edits have waited for 1" in answer.json["detail"]
    ready = await api.get("//readyz")
    assert (ready.status, ready.json["status"], ready.json["load"]) == (200, "ready", "overloaded")
    text = (await api.get("//metrics")).body.decode()
    assert "edit_studio_tenants_refused 1.0\n" in text
    assert 'edit_studio_oldest_wait_seconds{priority="interactive"} 1' in text
    assert (await api.post("/process", json=GOOD, headers=await api.key_of("t2"))).status == 202, "nobody else pays for it"
    assert (await api.get(f"/jobs/{waiting}")).status == 200
    assert (await api.post(f"/jobs/{waiting}/cancel")).status == 200
    await until_status(api, 202)


async def test_edits_that_wait_for_something_else_than_a_worker_refuse_nobody(api: Api) -> None:
    redis, pressure = api.connections.jobs._scripts.redis, api.connections.pressure
    await aged(api, age_s=301, priority="bulk")
    await aged(api, "paused", age_s=301, lane="elsewhere")
    await redis.hset("lane:elsewhere", "paused_until", 9_999_999_999_999)
    await aged(api, "capped", age_s=301)
    await redis.hset("tenant:capped", "cap", 0)
    again = await aged(api, "again", age_s=301)
    await redis.hset(f"job:{again}", "started", 1)
    await pressure.look()
    assert (pressure.seen.late, pressure.seen.interactive_wait_s) == (frozenset(), 0.0)
    assert 301 <= pressure.seen.bulk_wait_s < 330
    assert not pressure.is_refusing


async def test_where_as_many_tenants_wait_as_are_looked_at_newcomers_would_wait_too(api: Api) -> None:
    pressure = api.connections.pressure
    for n in range(31):
        await aged(api, f"tenant{n}", age_s=301)
    await pressure.look()
    pressure.check("newcomer")
    await aged(api, "tenant31", age_s=301)
    await pressure.look()
    with pytest.raises(Overloaded):
        pressure.check("newcomer")


@pytest.fixture
async def small(tmp_path: Path, make_settings: Callable[..., Settings]) -> AsyncIterator[Settings]:
    """Settings for a redis-server of 16 MiB."""
    with RedisServer(tmp_path / "small", options={"maxmemory": "16mb"}) as server:
        yield make_settings(**server.settings)


async def test_nobody_submits_while_redis_is_nearly_full(small: Settings) -> None:
    redis = open_redis(small)
    pressure = PressureWatch(Scripts(redis, timeout_s=2.0), small)
    await pressure.look()
    pressure.check("t1")
    assert 0 < pressure.seen.memory_share < 0.5
    fillers = [f"filler:{n}" for n in range(13)]
    for name in fillers:
        await redis.set(name, b"x" * 1_000_000)
    await pressure.look()
    with pytest.raises(Overloaded, match="nearly full") as caught:
        pressure.check("t1")
    assert caught.value.retry_after_s == 30
    await redis.delete(*fillers)
    await pressure.look()
    pressure.check("t1")
    await redis.aclose(close_connection_pool=True)


async def test_the_watch_goes_on_after_redis_was_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Pressure | Exception] = [StoreUnavailable("away"), RuntimeError("broken"), Pressure(memory_share=0.9)]

    async def read(*_: object) -> Pressure:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr("gateway.pressure.read_pressure", read)
    monkeypatch.setattr("gateway.pressure._EVERY_S", 0.01)
    pressure = PressureWatch(api.connections.jobs._scripts, api.connections.settings)
    monkeypatch.setattr(api.connections.pressure, "look", asyncio.Event().wait)
    pressure.start()
    async with asyncio.timeout(5):
        while not pressure.is_refusing:
            await asyncio.sleep(0.01)
    await pressure.close()
