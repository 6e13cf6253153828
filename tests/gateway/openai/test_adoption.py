"""Which requests are taken for one call, told by what clients send and by nothing else. No worker runs: no edit ends."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from tests.gateway.conftest import Answer, Api
from tests.pictures import encoded, photo

PICTURE = encoded(photo(size=(48, 32)), "PNG")
FIRST, RETRY = {"x-stainless-retry-count": "0"}, {"x-stainless-retry-count": "1"}


@pytest.fixture(autouse=True)
def never_held(api: Api) -> None:
    """Held requests answer at once, as while the process stops."""
    api.connections.closing.set()


async def edit(api: Api, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
    form = aiohttp.FormData()
    form.add_field("image", fields.pop("picture", PICTURE), filename="cup.png")
    for name, value in {"prompt": "a hat", **fields}.items():
        form.add_field(name, str(value))
    return await api.post("//openai/v1/images/edits", data=form, headers=headers)


async def count(api: Api) -> int:
    return (await api.stored())[1]


async def test_a_request_that_cannot_be_held_is_to_be_repeated(api: Api) -> None:
    answer = await edit(api, FIRST)
    assert (answer.status, answer.json["error"]["code"]) == (408, "still_running")
    assert answer.headers["x-should-retry"] == "true"


async def test_a_first_request_is_always_new_and_a_retry_goes_on_with_the_latest(api: Api) -> None:
    for headers, made in ((FIRST, 1), (RETRY, 1), (FIRST, 2), (RETRY, 2), ({"x-stainless-retry-count": "7"}, 2)):
        await edit(api, headers)
        assert await count(api) == made


async def test_several_edits_are_adopted_together(api: Api) -> None:
    for headers, made in ((FIRST, 3), (RETRY, 3), (FIRST, 6)):
        await edit(api, headers, n=3)
        assert await count(api) == made


@pytest.mark.parametrize("headers", [{}, {"x-stainless-retry-count": "a lot"}, {"x-stainless-retry-count": "-1"}])
async def test_whoever_does_not_count_makes_new_ones(api: Api, headers: dict[str, str]) -> None:
    for _ in range(2):
        await edit(api, headers)
    assert await count(api) == 2


@pytest.mark.parametrize(
    "other", [{"prompt": "two hats"}, {"n": 2}, {"size": "64x64"}, {"picture": encoded(photo(size=(32, 48)), "PNG")}]
)
async def test_a_retry_of_something_else_is_new(api: Api, other: dict[str, Any]) -> None:
    await edit(api, FIRST)
    await edit(api, RETRY, **other)
    assert await count(api) == 1 + other.get("n", 1)


async def test_a_retry_whose_first_request_never_came_begins_the_call(api: Api) -> None:
    for _ in range(2):
        await edit(api, RETRY)
    assert await count(api) == 1


async def test_retries_that_overtake_the_first_request_make_one_edit_with_it(api: Api) -> None:
    """The first one names the call before it stores or promises anything."""
    first = asyncio.create_task(edit(api, FIRST))
    while not await api.connections.jobs._scripts.command("KEYS", "repeat:*"):
        assert not first.done()
    await asyncio.gather(first, *(edit(api, RETRY) for _ in range(5)))
    assert await count(api) == 1


async def test_another_key_adopts_nothing(api: Api) -> None:
    await edit(api, FIRST)
    await edit(api, {**RETRY, **await api.key_of("t1")})
    assert await count(api) == 2


async def test_an_idempotency_key_is_taken_at_its_word(api: Api) -> None:
    mine = {"Idempotency-Key": "order-1"}
    for headers in ({**FIRST, **mine}, {**FIRST, **mine}, {**RETRY, **mine}):
        await edit(api, headers)
    assert await count(api) == 1
    for n in (1, 2):
        answer = await edit(api, {**FIRST, **mine}, prompt="two hats", n=n)
        assert (answer.status, answer.json["error"]["code"]) == (400, "idempotency_mismatch")
    assert await count(api) == 1


@pytest.mark.parametrize("said", [{"Idempotency-Key": "order-1"}, {}])
async def test_another_tenant_adopts_nothing(api: Api, said: dict[str, str]) -> None:
    other = await api.key_of("t2")
    for headers in (FIRST, RETRY, {**FIRST, **other}, {**RETRY, **other}):
        await edit(api, {**headers, **said})
    assert await count(api) == 1
    assert len((await api.connections.jobs.page("t2", limit=9)).records) == 1


@pytest.mark.parametrize(
    ("said", "life_s"),
    [
        ({}, 1_080),
        ({"x-stainless-read-timeout": "60"}, 540),
        ({"x-stainless-timeout": "1.5"}, 481),
        ({"x-stainless-read-timeout": "999999999"}, 86_880),
        ({"x-stainless-read-timeout": "NaN"}, 1_080),
    ],
)
async def test_a_call_is_known_for_as_long_as_its_caller_may_come_back(api: Api, said: dict[str, str], life_s: int) -> None:
    await edit(api, {**FIRST, **said})
    command = api.connections.jobs._scripts.command
    (key,) = await command("KEYS", "repeat:*")
    assert life_s - 30 < await command("TTL", key) <= life_s


async def test_nothing_is_left_of_several_edits_that_are_refused(api: Api) -> None:
    await api.connections.tenants.set_limits("t1", {"daily_limit_micro_usd": 1})
    answer = await edit(api, FIRST, n=4, model="qwen-edit")
    assert (answer.status, answer.json["error"]["code"]) == (429, "insufficient_quota")
    assert await api.stored() == ([], 0)
    await api.connections.tenants.set_limits("t1", {"daily_limit_micro_usd": None})
    await edit(api, RETRY, n=4, model="qwen-edit")
    assert await count(api) == 4
