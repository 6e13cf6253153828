"""Money before a paid call: reserved, a cheaper model, given back, or the end."""

import asyncio
from collections.abc import Collection
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from shared.candidates import Circumstances
from shared.catalog.load import load_catalog
from shared.edit import EditSpec
from shared.errors import BudgetExceeded
from shared.job import Course, JobRecord, JobState
from shared.recommend import Recommendation, recommend
from shared.settings import Settings
from shared.store.batches import Batches, NewBatch, NewItem
from shared.store.connection import Scripts
from shared.store.experience import Experiences
from shared.store.jobs import Jobs
from shared.store.leases import Leases
from tests.conftest import fresh_id, make_job, make_spec, take_one
from worker.call import LostEdit
from worker.choose import Chooser
from worker.hands import Held
from worker.spending import afford, allow

CATALOG = load_catalog()
BLUE = make_spec(prompt="make the cup blue", preferences={"prioritize_quality": True})


async def held_of(record: JobRecord) -> Held:
    return Held(record, asyncio.create_task(asyncio.sleep(0)), record.course)


def choose(spec: EditSpec, without: Collection[str] = ()) -> Recommendation:
    now = Circumstances(configured=("wavespeed",), upright_size=(600, 400), down=without)
    return recommend(spec, catalog=CATALOG, now=now)


async def choose_blue(without: Collection[str]) -> Recommendation:
    return choose(BLUE, without)


async def reserved(redis: Any) -> int:
    (day,) = await redis.keys("spend:t1:d*")
    return int(await redis.hget(day, "reserved"))


async def test_a_dearer_call_is_reserved_before_it_is_made(jobs: Jobs, leases: Leases, redis: Any) -> None:
    await jobs.accept(make_job(reserved_micro_usd=20_000))
    held = await held_of(await take_one(leases))
    await allow(leases, held, 30_000)
    assert await reserved(redis) == 30_000
    await allow(leases, held, 10_000)
    assert await reserved(redis) == 30_000, "a cheaper call leaves it as it is"


async def test_a_cheaper_model_does_it_where_the_limit_is_too_low_for_the_best(jobs: Jobs, leases: Leases, redis: Any) -> None:
    best = choose(BLUE)
    cheaper = min(other.usd for other in best.others)
    assert cheaper < best.usd
    await redis.hset("tenant:t1", "daily_limit", int(cheaper * 1_000_000))
    await jobs.accept(make_job())
    held = await held_of(await take_one(leases))
    chosen = await afford(leases, held, best, choose_blue)
    assert chosen.usd == cheaper
    assert await reserved(redis) == cheaper * 1_000_000


async def test_an_edit_that_no_model_is_cheap_enough_for_ends_as_budget_exceeded(jobs: Jobs, leases: Leases, redis: Any) -> None:
    await redis.hset("tenant:t1", "daily_limit", 100)
    await jobs.accept(make_job())
    held = await held_of(await take_one(leases))
    with pytest.raises(BudgetExceeded, match=r"0\.000100 USD are left of the daily limit"):
        await afford(leases, held, choose(BLUE), choose_blue)
    assert not await redis.keys("spend:*")


async def test_what_is_reserved_already_counts_as_left(jobs: Jobs, leases: Leases, redis: Any) -> None:
    best = choose(BLUE)
    await redis.hset("tenant:t1", "daily_limit", int(best.usd * 1_000_000))
    await jobs.accept(make_job(reserved_micro_usd=20_000))
    held = await held_of(await take_one(leases))
    assert (await afford(leases, held, best, choose_blue)).model is best.model


async def test_a_call_that_is_under_way_is_not_judged_again(jobs: Jobs, leases: Leases, redis: Any) -> None:
    await jobs.accept(make_job())
    first = await take_one(leases)
    await leases.checkpoint(first, call="handle", handle="h")
    await redis.hset("tenant:t1", "daily_limit", 1)
    record = await jobs.get("t1", first.id)
    best = choose(BLUE)
    assert await afford(leases, await held_of(record), best, choose_blue) is best


async def test_a_call_that_is_under_way_costs_what_was_reserved_though_prices_have_risen(
    jobs: Jobs, leases: Leases, scripts: Scripts
) -> None:
    await jobs.accept(make_job(prompt="make the cup blue", max_cost=0.001, reserved_micro_usd=1_000))
    first = await take_one(leases)
    course = Course(model="qwen-edit", estimated_usd=0.001).model_dump_json(exclude_defaults=True)
    await leases.checkpoint(first, call="handle", handle="h", call_model="qwen-edit", course=course)
    held = await held_of(await jobs.get("t1", first.id))
    providers: Any = {"wavespeed": None}
    chooser = Chooser(catalog=CATALOG, providers=providers, experiences=Experiences(scripts, CATALOG))
    picture: Any = SimpleNamespace(info=first.spec.image.info, part_size=None)
    chosen = await chooser.choose(held, picture)
    assert (chosen.model.id, chosen.usd) == ("qwen-edit", Decimal("0.001"))
    assert CATALOG.models["qwen-edit"].price.base > chosen.usd


async def test_an_edit_of_a_batch_that_is_held_goes_back_without_a_call(
    scripts: Scripts, settings: Settings, leases: Leases, jobs: Jobs
) -> None:
    batches, batch_id = Batches(scripts, settings), fresh_id("batch")
    await batches.open(NewBatch(batch_id, "t1", max_micro_usd=20_000))
    item = NewItem(fresh_id(), "local", make_spec(), 900, reserved_micro_usd=20_000)
    await batches.stage(batch_id, [item], first_index=0, bulk=True, request_id="r", key_id="k")
    await batches.commit(batch_id, fingerprint="f")
    held = await held_of(await take_one(leases))
    with pytest.raises(LostEdit):
        await allow(leases, held, 30_000)
    assert (await batches.get("t1", batch_id)).held_reason == "max_cost"
    record = await jobs.get("t1", item.id)
    assert (record.state, record.at, record.cost_micro_usd, record.failures) == (JobState.QUEUED, "staged", None, 0)


async def test_an_edit_that_went_to_another_worker_is_left_alone(jobs: Jobs, leases: Leases) -> None:
    await jobs.accept(make_job())
    record = await take_one(leases)
    await leases.finish(record, JobState.SUCCEEDED, record.course)
    with pytest.raises(LostEdit):
        await allow(leases, await held_of(record), 1)
