"""What was used: by day, model and key, as JSON and CSV, with what is left of the limits."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from shared.job import Course, JobState
from tests.conftest import make_job, take_one
from tests.gateway.conftest import Api

TODAY = datetime.now(UTC).date()
USAGE = [
    (TODAY - timedelta(400), {"succeeded|m1|k1": 9, "micro_usd|m1|k1": 900_000}),
    (TODAY - timedelta(10), {"succeeded|m1|k1": 2, "micro_usd|m1|k1": 40_000, "failed|m1|k2": 1}),
    (TODAY - timedelta(3), {"succeeded|m2|k1": 1, "micro_usd|m2|k1": 30_000, "canceled||k1": 4}),
]


@pytest.fixture
async def used(api: Api) -> Api:
    """A tenant that used something on three days, the first of which is long ago."""
    redis = api.connections.jobs._scripts.redis
    for day, counts in USAGE:
        await redis.hset(f"usage:t1:{(day - date(1970, 1, 1)).days}", mapping=counts)
    return api


def row(**fields: Any) -> dict[str, Any]:
    return {"day": None, "model": None, "key": None, "succeeded": 0, "failed": 0, "canceled": 0, "usd": 0.0, **fields}


async def test_usage_is_told_by_day_for_the_last_thirty_of_them(used: Api) -> None:
    answer = await used.get("/usage")
    assert answer.status == 200
    assert (answer.json["from"], answer.json["to"]) == ((TODAY - timedelta(29)).isoformat(), TODAY.isoformat())
    assert answer.json["rows"] == [
        row(day=(TODAY - timedelta(10)).isoformat(), succeeded=2, failed=1, usd=0.04),
        row(day=(TODAY - timedelta(3)).isoformat(), succeeded=1, canceled=4, usd=0.03),
    ]
    assert answer.json["total"] == row(succeeded=3, failed=1, canceled=4, usd=0.07)


@pytest.mark.parametrize(
    ("group_by", "rows"),
    [
        (
            "model",
            [
                row(model="", canceled=4),
                row(model="m1", succeeded=2, failed=1, usd=0.04),
                row(model="m2", succeeded=1, usd=0.03),
            ],
        ),
        ("key", [row(key="k1", succeeded=3, canceled=4, usd=0.07), row(key="k2", failed=1)]),
        (
            "key,model",
            [
                row(model="", key="k1", canceled=4),
                row(model="m1", key="k1", succeeded=2, usd=0.04),
                row(model="m1", key="k2", failed=1),
                row(model="m2", key="k1", succeeded=1, usd=0.03),
            ],
        ),
    ],
)
async def test_usage_is_summed_up_by_what_is_asked_for(used: Api, group_by: str, rows: list[dict[str, Any]]) -> None:
    assert (await used.get(f"/usage?group_by={group_by}")).json["rows"] == rows


async def test_four_hundred_days_are_told_at_once_and_both_ends_count(used: Api) -> None:
    first = (TODAY - timedelta(400)).isoformat()
    answer = await used.get(f"/usage?from={first}&to={(TODAY - timedelta(1)).isoformat()}")
    assert [entry["day"] for entry in answer.json["rows"]] == [day.isoformat() for day, _ in USAGE]
    one_day = await used.get(f"/usage?from={first}&to={first}")
    assert one_day.json["total"] == row(succeeded=9, usd=0.9)
    too_many = await used.get(f"/usage?from={first}&to={TODAY.isoformat()}")
    assert (too_many.status, too_many.json["errors"][0]["pointer"]) == (422, "/from")


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/usage?format=csv&group_by=day,model,key", {}), ("/usage?group_by=day,model,key", {"Accept": "text/csv"})],
)
async def test_usage_comes_as_csv_too(used: Api, path: str, headers: dict[str, str]) -> None:
    answer = await used.get(path, headers=headers)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(answer.body.decode(), newline="")))
    assert rows[0] == ["day", "model", "key", "succeeded", "failed", "canceled", "usd"]
    assert rows[1] == [(TODAY - timedelta(10)).isoformat(), "m1", "k1", "2", "0", "0", "0.040000"]
    assert len(rows) == 5


async def test_json_is_told_where_it_is_asked_for_first(used: Api) -> None:
    for accept in ("application/json, text/csv", "*/*", "text/csv, application/json"):
        answer = await used.get("/usage", headers={"Accept": accept})
        assert answer.headers["Content-Type"].startswith("text/csv" if accept.startswith("text/csv") else "application/json")
    both = await used.get("/usage?format=json", headers={"Accept": "text/csv"})
    assert both.headers["Content-Type"].startswith("application/json")


async def test_what_just_ended_counts_at_once_with_what_is_left_of_the_limits(api: Api) -> None:
    await api.connections.tenants.set_limits("t1", {"daily_limit_micro_usd": 100_000, "monthly_limit_micro_usd": None})
    for state, micro_usd in ((JobState.SUCCEEDED, 20_000), (JobState.FAILED, 0)):
        await api.connections.jobs.accept(make_job(reserved_micro_usd=20_000))
        record = await take_one(api.leases)
        await api.leases.checkpoint(record, call="started", call_model="qwen-edit")
        await api.leases.finish(record, state, Course(), cost_micro_usd=micro_usd)
    await api.connections.jobs.accept(make_job(reserved_micro_usd=30_000))
    answer = await api.get("/usage?group_by=model")
    assert answer.json["rows"] == [row(model="qwen-edit", succeeded=1, failed=1, usd=0.02)]
    assert answer.json["spending"] == {
        "daily": {"limit": 0.1, "spent": 0.02, "reserved": 0.03, "left": 0.05},
        "monthly": {"limit": None, "spent": 0.02, "reserved": 0.03, "left": None},
    }
    theirs = await api.get("/usage", headers=await api.key_of("t2"))
    assert (theirs.json["rows"], theirs.json["spending"]["daily"]["spent"]) == ([], 0.0)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("from=2026-13-01", "/from"),
        ("from=yesterday", "/from"),
        ("to=2026-02-30", "/to"),
        ("from=2026-02-02&to=2026-02-01", "/from"),
        ("group_by=tenant", "/group_by"),
        ("group_by=day,day", "/group_by"),
        ("format=xml", "/format"),
        ("first=2026-01-01", "/first"),
    ],
)
async def test_a_period_or_grouping_that_is_none_is_refused(api: Api, query: str, pointer: str) -> None:
    answer = await api.get(f"/usage?{query}")
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, pointer)


async def test_the_first_days_of_the_calendar_are_no_trouble(api: Api) -> None:
    assert (await api.get("/usage?to=0001-01-02")).status == 200
