"""A batch whose body comes in slowly, and one whose gateway was thought to be dead."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.batches import lease
from tests.gateway.batch_calls import LINES, URL, ndjson, results_of, send
from tests.gateway.conftest import Answer, Api

ITEMS = [{"image_url": URL, "prompt": "a hat", "custom_id": f"n{n}"} for n in range(3)]
KEY = {"Idempotency-Key": "the-same"}
_WAIT_S = 10.0


class Slow:
    """A request whose body has begun to come in; its end comes with `end`."""

    def __init__(self, api: Api) -> None:
        self._go_on = asyncio.Event()
        self._request = asyncio.create_task(api.post("/batches", data=self._body(), headers={**LINES, **KEY}))

    async def _body(self) -> AsyncIterator[bytes]:
        yield ndjson(ITEMS[:2])
        await self._go_on.wait()
        yield ndjson(ITEMS[2:])

    async def end(self) -> Answer:
        self._go_on.set()
        async with asyncio.timeout(_WAIT_S):
            return await self._request


async def until(fact: Callable[[], Any]) -> Any:
    async with asyncio.timeout(_WAIT_S):
        while not (found := await fact()):
            await asyncio.sleep(0.005)
        return found


async def test_the_same_request_takes_over_from_a_gateway_that_stood_still(api: Api, real_redis: Any) -> None:
    slow = Slow(api)
    (first,) = await until(lambda: real_redis.zrange("batches", 0, -1))
    answer = await send(api, ITEMS, headers=KEY)
    assert (answer.status, answer.json["code"], answer.headers["Retry-After"]) == (409, "idempotency_in_flight", "1")
    await real_redis.zadd("batches", {first: 1})
    second = await send(api, ITEMS, headers=KEY)
    assert second.status == 202
    late = await slow.end()
    assert (late.status, late.json["code"]) == (404, "not_found")
    again = await send(api, ITEMS, headers=KEY)
    assert (again.status, again.headers["Idempotent-Replayed"], again.json["id"]) == (202, "true", second.json["id"])
    assert [item["custom_id"] for item in await results_of(api, second.json["id"])] == ["n0", "n1", "n2"]
    assert len(await real_redis.keys("job:*")) == 3


async def test_a_body_that_comes_in_slowly_keeps_its_batch(api: Api, real_redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_BEAT_S", 0.02)
    slow = Slow(api)
    (first,) = await until(lambda: real_redis.zrange("batches", 0, -1))
    await real_redis.zadd("batches", {first: 1})

    async def is_renewed() -> bool:
        return float(await real_redis.zscore("batches", first)) > 1

    await until(is_renewed)
    answer = await slow.end()
    assert (answer.status, answer.json["counts"]["total"]) == (202, 3)
