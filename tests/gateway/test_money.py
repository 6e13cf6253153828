"""Money over HTTP: what is reserved, refused, quoted and charged."""

import asyncio
import base64
import contextlib
import time
from typing import Any

import pytest
from PIL import Image

from shared.edit import Operation
from shared.errors import BudgetExceeded
from shared.job import Course, JobRecord, JobState
from shared.store.experience import CallEnd
from tests import pictures
from tests.gateway.conftest import Api
from tests.pictures import plain_png

PICTURE = base64.b64encode(plain_png((120, 80))).decode()
BLUE = {"image_url": "https://example.com/a.png", "prompt": "make the cup blue", "model": "qwen-edit"}
WISH = {"prompt": "make the cup blue", "image_resolution": {"width": 120, "height": 80}}
EDIT = {"prompt": "make the cup blue", "image_base64": PICTURE}
MANY = {"submits_per_minute": 1_000_000}


@pytest.fixture
async def paid(api: Api) -> Api:
    """A gateway that knows of a worker with a paid provider."""
    await api.leases.renew("w1", slots=1, providers=("local", "wavespeed"), held=[])
    return api


async def limit(api: Api, **micro_usd: int | None) -> None:
    await api.connections.tenants.set_limits("t1", {f"{name}_limit_micro_usd": value for name, value in micro_usd.items()})


async def spending(api: Api) -> tuple[int, int]:
    daily, monthly = await api.connections.usage.spending("t1")
    assert (daily.spent, daily.reserved) == (monthly.spent, monthly.reserved)
    return daily.spent, daily.reserved


async def test_a_submit_reserves_its_price_and_says_so(paid: Api) -> None:
    job = (await paid.post("/process", json=BLUE)).json
    assert job["cost"] == {"estimated": 0.02, "actual": None, "max": None, "quoted": None, "budget": None, "lines": []}
    assert await spending(paid) == (0, 20_000)
    record = await paid.connections.jobs.get("t1", job["id"])
    (key,), _ = await paid.connections.tenants.list_keys(tenant="t1")
    assert (record.key_id, record.reserved_micro_usd) == (key.id, 20_000)
    await paid.post(f"/jobs/{job['id']}/cancel")
    assert await spending(paid) == (0, 0)


async def test_what_is_free_is_reserved_for_with_nothing(paid: Api) -> None:
    await limit(paid, daily=0)
    answer = await paid.post("/process", json={"image_base64": PICTURE, "prompt": "make it black and white"})
    assert (answer.status, answer.json["cost"]["estimated"]) == (202, 0.0)


async def test_a_broken_limit_is_402_with_what_is_left_and_nothing_stays(paid: Api) -> None:
    await limit(paid, daily=30_000, monthly=1_000_000)
    first = await paid.post("/process", json={**EDIT, "model": "qwen-edit"})
    assert first.status == 202
    budget = {"daily_limit": 0.03, "daily_left": 0.03, "monthly_limit": 1.0, "monthly_left": 1.0}
    assert first.json["cost"]["budget"] == budget
    before = await paid.stored()
    answer = await paid.post("/process", json={**EDIT, "model": "qwen-edit"})
    assert (answer.status, answer.json["code"], answer.json["retryable"]) == (402, "budget_exceeded", False)
    assert answer.json["detail"].startswith("0.010000 USD are left of the daily limit of 0.030000 USD")
    assert await paid.stored() == before
    await limit(paid, daily=None, monthly=30_000)
    again = await paid.post(f"/jobs/{first.json['id']}/cancel")
    assert again.status == 200
    retried = await paid.post(f"/jobs/{first.json['id']}/retry")
    assert retried.json["cost"]["budget"] == {
        "daily_limit": None,
        "daily_left": None,
        "monthly_limit": 0.03,
        "monthly_left": 0.03,
    }
    refused = await paid.post(f"/jobs/{first.json['id']}/retry")
    assert (refused.status, refused.json["code"]) == (402, "budget_exceeded")


async def watch_the_limit(api: Api, micro_usd: int, done: asyncio.Event) -> int:
    """Look at the spending until `done`, as fast as it can be read; answers how often."""
    looks = 0
    while not done.is_set():
        spent, reserved = await spending(api)
        assert spent + reserved <= micro_usd
        looks += 1
    return looks


async def taken(api: Api, want: int = 1) -> list[JobRecord]:
    return await api.leases.take("w1", nonce=f"n{time.monotonic_ns()}", want=want, providers=("local", "wavespeed"))


async def end_edits(api: Api, done: asyncio.Event) -> int:
    """Do the workers' part meanwhile: every edit costs what was reserved for it."""
    ended = 0
    while not done.is_set():
        for record in await taken(api, 8):
            with contextlib.suppress(BudgetExceeded):
                await api.leases.reserve(record, 25_000)
            await api.leases.finish(record, JobState.SUCCEEDED, Course(), cost_micro_usd=20_000)
            ended += 1
        await asyncio.sleep(0)
    return ended


@pytest.mark.parametrize("gateway_settings", [{**MANY, "redis_timeout_s": 30.0}], indirect=True)
async def test_of_a_thousand_parallel_submits_those_that_the_limit_allows_are_accepted(paid: Api) -> None:
    await limit(paid, daily=2_000_000)
    done = asyncio.Event()
    watcher = asyncio.create_task(watch_the_limit(paid, 2_000_000, done))
    answers = await asyncio.gather(*(paid.post("/process", json=BLUE) for _ in range(1_000)))
    codes = [answer.json.get("code", "accepted") for answer in answers]
    assert (codes.count("accepted"), codes.count("budget_exceeded")) == (100, 900)
    assert await spending(paid) == (0, 2_000_000)
    done.set()
    assert await watcher > 10


@pytest.mark.parametrize("gateway_settings", [{**MANY, "redis_timeout_s": 30.0}], indirect=True)
async def test_the_limit_holds_while_workers_spend_and_ask_for_more(paid: Api) -> None:
    await limit(paid, monthly=1_000_000)
    done = asyncio.Event()
    watcher, worker = asyncio.create_task(watch_the_limit(paid, 1_000_000, done)), asyncio.create_task(end_edits(paid, done))
    answers = await asyncio.gather(*(paid.post("/process", json=BLUE) for _ in range(300)))
    accepted = [answer for answer in answers if answer.status == 202]
    assert {answer.status for answer in answers} == {202, 402}
    async with asyncio.timeout(20):
        while (await spending(paid))[1] or (await paid.connections.overview.stats()).unfinished:
            await asyncio.sleep(0.01)
    done.set()
    assert await worker == len(accepted) <= 50
    assert await watcher > 10
    assert await spending(paid) == (len(accepted) * 20_000, 0)


async def test_a_quote_says_models_prices_and_how_long_it_holds(paid: Api) -> None:
    answer = await paid.post("/quote", json=WISH)
    assert answer.status == 200
    quote = answer.json
    assert quote["quote_id"].startswith("quote_")
    assert quote["total"] == quote["models"][0]["usd"] == 0.02
    assert max(model["usd"] for model in quote["models"]) == quote["total"], "dearer models only where max_cost allows for them"
    assert quote["models"][0]["price_source"]
    assert quote["estimated_seconds"] is None
    wider = (await paid.post("/quote", json={**WISH, "max_cost": 0.1})).json
    assert quote["total"] < wider["total"] <= 0.1
    assert wider["total"] == max(model["usd"] for model in wider["models"])
    assert len((await paid.post("/quote", json={**WISH, "max_cost": 0.1, "fallback": "none"})).json["models"]) == 1


async def test_a_quote_tells_how_long_the_first_models_calls_took(paid: Api) -> None:
    for seconds in (*(4.0 for _ in range(19)), 60.0):
        end = CallEnd("qwen-edit", "wavespeed", Operation.GENERAL_EDIT, "good", "succeeded", seconds, 20_000)
        await paid.connections.experiences.record(end)
    quote = (await paid.post("/quote", json={**WISH, "model": "qwen-edit"})).json
    shown = (await paid.get("/models/qwen-edit")).json["performance"]
    assert quote["estimated_seconds"] == {"p50": shown["p50_s"], "p90": shown["p90_s"]}
    assert quote["estimated_seconds"]["p50"] == pytest.approx(4.0, rel=0.1)
    other = (await paid.post("/quote", json={**WISH, "model": "qwen-edit-plus"})).json
    assert other["estimated_seconds"] is None, "nothing is told of one model by another's calls"


async def test_a_quote_binds_models_and_price_of_the_edit(paid: Api) -> None:
    quote = (await paid.post("/quote", json={**WISH, "max_cost": 0.1})).json
    job = (await paid.post("/process", json={**EDIT, "max_cost": 0.1, "quote_id": quote["quote_id"]})).json
    assert (job["cost"]["estimated"], job["cost"]["quoted"]) == (quote["models"][0]["usd"], quote["total"])
    (record,) = await taken(paid)
    assert record.spec.models == tuple(model["model_id"] for model in quote["models"])
    assert record.spec.quoted_usd == quote["total"]


async def test_a_quote_for_a_picture_is_that_for_its_size(paid: Api) -> None:
    by_picture = (await paid.post("/quote", json=EDIT)).json
    by_size = (await paid.post("/quote", json=WISH)).json
    assert by_picture["models"] == by_size["models"]
    assert (await paid.stored()) == ([], 0)
    job = await paid.post("/process", json={**EDIT, "quote_id": by_picture["quote_id"]})
    assert job.status == 202


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"operation": "remove_background", "prompt": None}, "/operation"),
        ({"prompt": "make the cup red"}, "/prompt"),
        ({"options": {"x": 1}, "strict": False}, "/options"),
        ({"image_base64": base64.b64encode(plain_png((80, 120))).decode()}, "/image_resolution"),
        ({"output_format": "webp"}, "/output_format"),
    ],
)
async def test_a_quote_for_another_edit_is_refused(paid: Api, change: dict[str, Any], pointer: str) -> None:
    quote = (await paid.post("/quote", json=WISH)).json
    answer = await paid.post("/process", json={**EDIT, **change, "quote_id": quote["quote_id"]})
    assert (answer.status, answer.json["code"]) == (422, "quote_mismatch")
    assert pointer in [error["pointer"] for error in answer.json["errors"]]
    assert await paid.stored() == ([], 0)


async def test_what_changes_no_price_may_differ_from_the_quote(paid: Api) -> None:
    quote = (await paid.post("/quote", json=WISH)).json
    beside = {"metadata": {"a": "b"}, "output_quality": 80, "priority": "bulk", "keep_metadata": True}
    answer = await paid.post("/process", json={**EDIT, **beside, "quote_id": quote["quote_id"]})
    assert answer.status == 202


async def test_a_quote_that_is_over_or_anothers_is_refused_with_advice(paid: Api) -> None:
    quote = (await paid.post("/quote", json=WISH)).json
    theirs = await paid.post("/process", json={**EDIT, "quote_id": quote["quote_id"]}, headers=await paid.key_of("t2"))
    assert (theirs.status, theirs.json["code"]) == (422, "quote_expired")
    key = f"quote:t1:{quote['quote_id']}"
    redis = paid.connections.jobs._scripts.redis
    assert 599_000 < await redis.pttl(key) <= 600_000
    again = {"Idempotency-Key": "k"}
    first = await paid.post("/process", json={**EDIT, "quote_id": quote["quote_id"]}, headers=again)
    await redis.delete(key)
    late = await paid.post("/process", json={**EDIT, "quote_id": quote["quote_id"]})
    assert (late.status, late.json["code"], late.json["errors"][0]["pointer"]) == (422, "quote_expired", "/quote_id")
    assert "ask for a new one" in late.json["detail"]
    replayed = await paid.post("/process", json={**EDIT, "quote_id": quote["quote_id"]}, headers=again)
    assert replayed.json["id"] == first.json["id"], "the first answer again, although its quote is over"
    other = (await paid.post("/quote", json=WISH)).json["quote_id"]
    mismatch = await paid.post("/process", json={**EDIT, "quote_id": other}, headers=again)
    assert mismatch.json["code"] == "idempotency_mismatch"


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"prompt": "make the cup blue"}, "missing_field", "/image_base64"),
        ({"prompt": "make the cup blue", "image_url": "https://example.com/a.png"}, "missing_field", "/image_resolution"),
        ({**WISH, "image_base64": base64.b64encode(plain_png((8, 8))).decode()}, "invalid_value", "/image_resolution"),
        ({**WISH, "image_resolution": {"width": 0, "height": 5}}, "invalid_value", "/image_resolution/width"),
        ({**WISH, "quote_id": "quote_" + "0" * 26}, "invalid_value", "/quote_id"),
        ({**WISH, "operation": "inpaint"}, "missing_field", "/mask_base64"),
    ],
)
async def test_a_quote_needs_what_the_price_depends_on(paid: Api, body: dict[str, Any], code: str, pointer: str) -> None:
    answer = await paid.post("/quote", json=body)
    assert answer.status == 422
    assert (code, pointer) in [(error["code"], error["pointer"]) for error in answer.json["errors"]]


async def test_a_quote_with_a_described_mask_binds_an_edit_with_a_mask(paid: Api) -> None:
    wish = {**WISH, "operation": "inpaint", "has_mask": True}
    quote = (await paid.post("/quote", json=wish)).json
    without = await paid.post("/quote", json=WISH)
    assert without.status == 200
    drawn = Image.new("L", (120, 80))
    drawn.paste(255, (30, 20, 90, 60))
    mask = base64.b64encode(pictures.encoded(drawn, "PNG")).decode()
    edit = {**EDIT, "operation": "inpaint", "mask_base64": mask, "mask_mode": "white_is_edit"}
    quoted = (await paid.post("/quote", json={**wish, "mask_mode": "white_is_edit"})).json
    wrong = await paid.post("/process", json={**edit, "quote_id": quote["quote_id"]})
    assert [error["pointer"] for error in wrong.json["errors"]] == ["/mask_mode"]
    assert (await paid.post("/process", json={**edit, "quote_id": quoted["quote_id"]})).status == 202


async def test_a_quote_that_nobody_can_keep_is_refused(paid: Api) -> None:
    answer = await paid.post("/quote", json={**WISH, "max_cost": 0.0001})
    assert (answer.status, answer.json["code"]) == (422, "no_capable_model")


async def test_a_batch_is_not_released_with_less_than_its_edits_may_still_cost(paid: Api) -> None:
    batch = (await paid.post("/batches", json={"items": [BLUE, BLUE, BLUE], "max_cost": 0.06, "canary": 1})).json
    where = f"/batches/{batch['id']}/release"
    refused = await paid.post(where, json={"max_cost": 0.059})
    assert (refused.status, refused.json["code"], refused.json["errors"][0]["pointer"]) == (422, "validation_failed", "/max_cost")
    assert refused.json["detail"].startswith("0.060000 USD are spent or reserved by its items")
    assert (await paid.post(where, json={"max_cost": 0.07})).json["cost"]["max"] == 0.07
