"""The limits of the moment, kept with each edit that was accepted under them; and what a tenant's periods say."""

from typing import Any

from shared.job_view import job_view
from shared.settings import Settings
from shared.store.batches import Batches, NewBatch, NewItem
from shared.store.connection import Scripts
from shared.store.jobs import Jobs
from shared.store.tenants import TenantLimits, Tenants
from shared.store.usage import Spending, Usage
from tests.conftest import fresh_id, make_job, make_spec


async def test_an_edit_keeps_the_limits_and_what_was_left_of_them(jobs: Jobs, tenants: Tenants, redis: Any) -> None:
    await tenants.set_limits("t1", {"daily_limit_micro_usd": 100, "monthly_limit_micro_usd": 5_000})
    first = await jobs.accept(make_job(reserved_micro_usd=70))
    second = await jobs.accept(make_job())
    assert (first.record.budget, second.record.budget) == ("100,100,5000,5000", "100,30,5000,4930")
    await tenants.set_limits("t1", {"daily_limit_micro_usd": None})
    third = (await jobs.accept(make_job(reserved_micro_usd=1))).record
    assert third.budget == ",,5000,4930"
    budget = job_view(third, base_url="", output_link=None).cost.budget
    assert budget is not None
    assert budget.model_dump() == {"daily_limit": None, "daily_left": None, "monthly_limit": 0.005, "monthly_left": 0.00493}


async def test_without_limits_nothing_is_kept(jobs: Jobs, redis: Any) -> None:
    record = (await jobs.accept(make_job(reserved_micro_usd=70))).record
    assert (record.budget, await redis.hexists(f"job:{record.id}", "budget")) == ("", False)


async def test_an_item_of_a_batch_keeps_what_was_left_before_its_chunk(
    scripts: Scripts, settings: Settings, jobs: Jobs, tenants: Tenants
) -> None:
    await tenants.set_limits("t1", {"daily_limit_micro_usd": 100})
    batches, batch_id = Batches(scripts, settings), fresh_id("batch")
    await batches.open(NewBatch(batch_id, "t1"))
    items = [NewItem(fresh_id(), "local", make_spec(), 900, reserved_micro_usd=30) for _ in range(2)]
    await batches.stage(batch_id, items, first_index=0, bulk=True, request_id="r", key_id="k")
    await batches.commit(batch_id, fingerprint="f")
    assert [(await jobs.get("t1", item.id)).budget for item in items] == ["100,100,,"] * 2


async def test_the_periods_say_what_is_spent_reserved_and_left(scripts: Scripts, jobs: Jobs, tenants: Tenants) -> None:
    usage = Usage(scripts)
    assert await usage.spending("t1") == (Spending(None, 0, 0), Spending(None, 0, 0))
    await tenants.set_limits("t1", {"monthly_limit_micro_usd": 100, "weight": 0.5})
    await jobs.accept(make_job(reserved_micro_usd=70))
    daily, monthly = await usage.spending("t1")
    assert (daily, monthly) == (Spending(None, 0, 70), Spending(100, 0, 70))
    assert (daily.left, monthly.left) == (None, 30)
    assert Spending(100, 90, 20).left == 0
    assert await tenants.limits("t1") == TenantLimits(monthly_limit_micro_usd=100, weight=0.5)
