"""What calls taught us, in Redis: written down by workers, read by all, for a while out of the process's own memory."""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from shared.catalog.load import Catalog
from shared.edit import Operation
from shared.errors import EditStudioError, NotFound, StoreUnavailable
from shared.learned import Circuit, Figures, Learned, TenantHistory, bucket_of, circuit_names, figures_of, learned_from
from shared.store.connection import Scripts

DAYS = 7  #: today among them
WEEKS = 13
_DAY_MS = 86_400_000
_ACCEPTED_KEPT_MS = 98 * _DAY_MS
_PROBE_MS = 30_000
_CIRCUITS_S = 1.0
_STATISTICS_S = 30.0
_HISTORIES_S = 30.0
_HISTORIES_MAX = 1_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How one call at a provider ended.

    `outcome`: `good`: a checked result; `bad`: the provider's fault (transient, 5xx, time-out, bad output, ambiguous);
    `unusable`: it refuses our account (401, 402, 403); `neutral`: it answered, and it says nothing of the model (refused
    input, moderated, 429). `said`: the attempt's own outcome, `succeeded` or an error's code. `seconds`: what a good call
    took; `micro_usd`: what the provider charges for it, whatever it was.
    """

    model: str
    provider: str
    operation: Operation
    outcome: Literal["good", "bad", "unusable", "neutral"]
    said: str
    seconds: float | None
    micro_usd: int


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a tenant said of a result. `rating`: 1 to 5; `at_ms`: of Redis' clock."""

    rating: int
    accepted: bool | None
    comment: str
    at_ms: int


class Experiences:
    """One per process. What it answers may be 1 s (circuits) or 30 s (statistics, histories) old.

    In Redis: `learned:{day}` counts calls, `ratings` ratings, `accepted:{tenant}:{week}` what a tenant accepted; each has as
    many fields as there are models and operations, times their figures. `circuits` has the open ones.
    """

    def __init__(self, scripts: Scripts, catalog: Catalog) -> None:
        self._scripts = scripts
        self._provider_of = {model.id: model.provider for model in catalog.models.values()}
        self._learned = Learned(provider_of=self._provider_of)
        self._looking = asyncio.Lock()
        self._looked = self._statistics_read = float("-inf")
        self._past: dict[int, Figures] = {}
        self._histories: OrderedDict[str, tuple[float, TenantHistory]] = OrderedDict()

    async def record(self, end: CallEnd) -> None:
        """Count a call. Never raises: statistics may be lost, an edit may not. A lost reply may count it twice."""
        bucket = bucket_of(end.seconds) if end.outcome == "good" and end.seconds is not None else ""
        names = circuit_names(end.model, end.provider)
        figure = f"{end.model}|{end.operation}|"
        try:
            ms = "" if bucket == "" else round((end.seconds or 0.0) * 1000)
            arguments = (*names, figure, end.outcome, bucket, end.micro_usd, end.model, end.said, ms)
            await self._scripts.run("record", "circuits", *arguments)
        except EditStudioError as error:
            _log.warning("a call was not counted", extra={"model": end.model, "outcome": end.outcome, "error": str(error)})

    async def look(self) -> Learned:
        """What is known now; while Redis does not answer, what was known last."""
        if time.monotonic() - self._looked >= _CIRCUITS_S:
            async with self._looking:
                if time.monotonic() - self._looked >= _CIRCUITS_S:
                    await self._look_again()
        return self._learned

    async def history(self, tenant: str) -> TenantHistory:
        """What the tenant made of results in the last 90 days; while Redis does not answer, what was known last."""
        read, known = self._histories.get(tenant, (float("-inf"), {}))
        if time.monotonic() - read < _HISTORIES_S:
            return known
        # A clock that is off by minutes moves the window by that.
        this_week = int(time.time() * 1000) // (7 * _DAY_MS)
        weeks = range(this_week - WEEKS + 1, this_week + 1)
        try:
            rows = await asyncio.gather(*(self._scripts.command("HGETALL", f"accepted:{tenant}:{week}") for week in weeks))
            known = _judged([figures_of(row) for row in rows])
        except StoreUnavailable as error:
            _log.warning("a tenant's history could not be read", extra={"tenant": tenant, "error": str(error)})
        self._histories[tenant] = time.monotonic(), known
        self._histories.move_to_end(tenant)
        if len(self._histories) > _HISTORIES_MAX:
            self._histories.popitem(last=False)
        return known

    async def may_probe(self, model_id: str) -> bool:
        """Whether this call may try a model whose circuit is half-open: one in 30 s may. While Redis is away, none."""
        names = circuit_names(model_id, self._provider_of.get(model_id, ""))
        try:
            # The claim carries a name: when the reply is lost, asking again finds one's own.
            return bool(await self._scripts.run("probe", "circuits", secrets.token_hex(8), _PROBE_MS, *names))
        except EditStudioError as error:
            _log.warning("a probe could not be claimed", extra={"model": model_id, "error": str(error)})
            return False

    async def rate(
        self, tenant: str, job_id: str, *, model: str, operation: Operation, rating: int, accepted: bool | None, comment: str
    ) -> None:
        """Keep what a tenant says of a result, in the edit's record; it replaces what was said before. Safe to repeat.

        Raises NotFound, StoreUnavailable, Overloaded.
        """
        verdict = "" if accepted is None else "yes" if accepted else "no"
        figure = f"{model}|{operation}|"
        arguments = (tenant, figure, rating, verdict, comment, _ACCEPTED_KEPT_MS)
        if not await self._scripts.run("rate", f"job:{job_id}", *arguments):
            raise NotFound("there is no edit with this id")
        self._histories.pop(tenant, None)

    async def feedback_of(self, tenant: str, job_id: str) -> Feedback | None:
        """What was said of an edit, None if nothing was or it is not the tenant's. Raises StoreUnavailable."""
        names = ("tenant", "rating", "accepted", "comment", "rated")
        owner, rating, accepted, comment, rated = await self._scripts.command("HMGET", f"job:{job_id}", *names)
        if owner != tenant or rating is None:
            return None
        return Feedback(int(rating), accepted == "yes" if accepted else None, comment, int(rated))

    async def _look_again(self) -> None:
        """Read the circuits, and the statistics if they are old."""
        try:
            rows, (seconds, micros) = await asyncio.gather(
                self._scripts.command("HGETALL", "circuits"), self._scripts.command("TIME")
            )
            now_ms = seconds * 1000 + micros // 1000
            if time.monotonic() - self._statistics_read >= _STATISTICS_S:
                figures = await self._figures(now_ms // _DAY_MS)
                self._learned = learned_from(figures, _circuits(rows), self._provider_of, now_ms=now_ms)
                self._statistics_read = time.monotonic()
            else:
                self._learned = replace(self._learned, now_ms=now_ms, circuits=_circuits(rows))
        except StoreUnavailable as error:
            _log.warning("what was learned could not be read", extra={"error": str(error)})
            if self._learned.now_ms:
                # Time goes on without Redis: what was down becomes due for a try.
                passed_ms = int((time.monotonic() - self._looked) * 1000)
                self._learned = replace(self._learned, now_ms=self._learned.now_ms + passed_ms)
        self._looked = time.monotonic()

    async def _figures(self, today: int) -> list[Figures]:
        """All that is to be added up. Days that are over do not change: they are read once."""
        days = range(today - DAYS + 1, today + 1)
        self._past = {day: figures for day, figures in self._past.items() if day in days}
        wanted = [day for day in days if day not in self._past]
        keys = ["ratings", *(f"learned:{day}" for day in wanted)]
        rows = await asyncio.gather(*(self._scripts.command("HGETALL", key) for key in keys))
        ratings, *read = [figures_of(row) for row in rows]
        figures = [ratings, *self._past.values(), *read]
        self._past.update((day, part) for day, part in zip(wanted, read, strict=True) if day < today)
        return figures


def _circuits(rows: Mapping[str, str]) -> dict[str, Circuit]:
    """By name, from `since retry_at pause` in ms."""
    found = {}
    for name, text in rows.items():
        since, retry_at, _ = text.split()
        found[name] = Circuit(int(since), int(retry_at))
    return found


def _judged(weeks: list[Figures]) -> TenantHistory:
    """Judged and accepted results, over all weeks."""
    found: dict[tuple[str, Operation], tuple[int, int]] = {}
    for week in weeks:
        for pair, counts in week.items():
            yes, no = counts.get("yes", 0), counts.get("no", 0)
            judged, accepted = found.get(pair, (0, 0))
            found[pair] = judged + yes + no, accepted + yes
    return found
