"""What the tenant used, and what is left of its limits."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.fields import pointer_to, refusal
from gateway.route import JSON, Call, Header, Query, Reply, Route
from shared.job import API_PREFIX
from shared.store.usage import Spending, Used

CSV = "text/csv"
_DAYS_MAX = 400
_DEFAULT_DAYS = 30
_GROUPS = ("day", "model", "key")
Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")]
_GROUP_BY = r"^(day|model|key)(,(day|model|key)){0,2}$"


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UsageQuery(Query):
    """Days are UTC; both ends count. An edit counts on the day on which it was accepted."""

    first: Annotated[Day | None, Field(alias="from", description="YYYY-MM-DD; 29 days before `to`")] = None
    last: Annotated[Day | None, Field(alias="to", description="YYYY-MM-DD; today")] = None
    group_by: Annotated[str, StringConstraints(pattern=_GROUP_BY), Field(description="comma-separated: day, model, key")] = "day"
    format: Annotated[Literal["json", "csv"], Field(description="json, unless the Accept header prefers text/csv")] | None = None


class UsageRow(_Wire):
    """Edits that ended, and what was charged for them. What was not grouped by is null.

    `model`: empty for edits that ended before any call; `key`: the id of the key that submitted them.
    """

    day: str | None
    model: str | None
    key: str | None
    succeeded: int
    failed: int
    canceled: int
    usd: float


class PeriodView(_Wire):
    """USD. `reserved`: for edits that have not ended; `limit` and `left` are null without a limit."""

    limit: float | None
    spent: float
    reserved: float
    left: float | None


class SpendingView(_Wire):
    """Of this day and this month, UTC."""

    daily: PeriodView
    monthly: PeriodView


class UsageAnswer(_Wire):
    """Rows without any edit are left out. `total`: of all rows; `spending`: of this day and month, whatever was asked for."""

    first: Annotated[str, Field(serialization_alias="from")]
    last: Annotated[str, Field(serialization_alias="to")]
    rows: tuple[UsageRow, ...]
    total: UsageRow
    spending: SpendingView


@dataclass(slots=True)
class _Sum:
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    micro_usd: int = 0

    def add(self, used: Used) -> None:
        self.succeeded += used.succeeded
        self.failed += used.failed
        self.canceled += used.canceled
        self.micro_usd += used.micro_usd

    def row(self, day: str | None, model: str | None, key: str | None) -> UsageRow:
        return UsageRow(
            day=day,
            model=model,
            key=key,
            succeeded=self.succeeded,
            failed=self.failed,
            canceled=self.canceled,
            usd=self.micro_usd / 1e6,
        )


async def usage(call: Call) -> web.Response:
    """Days of the tenant, summed up."""
    asked: UsageQuery = call.query
    days = _days(asked)
    used = await call.connections.usage.of(call.tenant, days)
    groups = asked.group_by.split(",")
    if len(set(groups)) < len(groups):
        raise refusal(pointer_to("group_by"), "invalid_value", "name each of day, model, key once")
    rows = tuple(_grouped(used, groups))
    wanted = asked.format or ("csv" if _prefers_csv(call.request) else "json")
    if wanted == "csv":
        return web.Response(text=_as_csv(rows, groups), content_type=CSV, charset="utf-8", headers={hdrs.VARY: hdrs.ACCEPT})
    total = _Sum()
    for one in used:
        total.add(one)
    daily, monthly = await call.connections.usage.spending(call.tenant)
    answer = UsageAnswer(
        first=days[0].isoformat(),
        last=days[-1].isoformat(),
        rows=rows,
        total=total.row(None, None, None),
        spending=spending_view(daily, monthly),
    )
    return web.Response(text=answer.model_dump_json(by_alias=True), headers={hdrs.CONTENT_TYPE: JSON, hdrs.VARY: hdrs.ACCEPT})


def spending_view(daily: Spending, monthly: Spending) -> SpendingView:
    """In USD."""
    return SpendingView(daily=_period(daily), monthly=_period(monthly))


def _period(spending: Spending) -> PeriodView:
    def usd(amount: int | None) -> float | None:
        return None if amount is None else amount / 1e6

    return PeriodView(
        limit=usd(spending.limit), spent=spending.spent / 1e6, reserved=spending.reserved / 1e6, left=usd(spending.left)
    )


def _days(asked: UsageQuery) -> Sequence[date]:
    last = _date("to", asked.last) or datetime.now(UTC).date()
    # The very first days of the calendar have no month before them.
    first = _date("from", asked.first) or max(date.min + timedelta(_DEFAULT_DAYS), last) - timedelta(_DEFAULT_DAYS - 1)
    if first > last:
        raise refusal(pointer_to("from"), "invalid_value", "`from` comes after `to`")
    if (last - first).days >= _DAYS_MAX:
        raise refusal(pointer_to("from"), "invalid_value", f"at most {_DAYS_MAX} days at once")
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def _date(name: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise refusal(pointer_to(name), "invalid_value", "there is no such day") from None


def _grouped(used: Iterable[Used], groups: Sequence[str]) -> Iterable[UsageRow]:
    sums: dict[tuple[str | None, str | None, str | None], _Sum] = {}
    for one in used:
        day = one.day.isoformat() if "day" in groups else None
        name = (day, one.model if "model" in groups else None, one.key_id if "key" in groups else None)
        sums.setdefault(name, _Sum()).add(one)
    return (sums[name].row(*name) for name in sorted(sums, key=lambda name: tuple(part or "" for part in name)))


def _as_csv(rows: Iterable[UsageRow], groups: Sequence[str]) -> str:
    out = io.StringIO()
    columns = [*(name for name in _GROUPS if name in groups), "succeeded", "failed", "canceled", "usd"]
    # Line ends as RFC 4180 has them.
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        fields = {**row.model_dump(), "usd": f"{row.usd:.6f}"}
        writer.writerow([fields[name] for name in columns])
    return out.getvalue()


def _prefers_csv(request: web.Request) -> bool:
    """Whether CSV is named and JSON is not, or only after it."""
    accept = request.headers.get(hdrs.ACCEPT, "")
    csv_at, json_at = accept.find(CSV), accept.find(JSON)
    return csv_at >= 0 and (json_at < 0 or csv_at < json_at)


ROUTES = (
    Route(
        "GET",
        f"{API_PREFIX}/usage",
        "Show usage",
        usage,
        tag="usage",
        description="Edits that ended and what was charged, of up to 400 days. Days without any are left out.",
        query=UsageQuery,
        headers=(Header("Accept", "`text/csv` for CSV", {"type": "string"}),),
        replies=(Reply(200, "the sums", UsageAnswer, content_types=(CSV,)),),
    ),
)
