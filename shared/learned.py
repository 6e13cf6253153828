"""What calls have taught us of the models: how well, how fast and for how much they work, and which are down now (pure)."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from shared.edit import Operation
from shared.score import GOOD_SUCCESS_RATE, Experience, wilson

#: Times are kept as counts in buckets whose bounds grow by this factor: the middle of one is at most 9.6 % off.
_GROWTH = 1.2
_FIRST_S = 0.01
_BUCKETS = 81  #: the last one begins at 5 h
_ENOUGH_CALLS = 10  #: fewer say nothing of a model's health
_OPERATIONS = {operation.value: operation for operation in Operation}

#: (model id, operation) to (results that a tenant judged, results that it accepted), over the last 90 days.
TenantHistory = Mapping[tuple[str, Operation], tuple[int, int]]
#: (model id, operation) to its counts by name; those of times have the bucket's number for a name.
Figures = dict[tuple[str, Operation], dict[str, int]]


@dataclass(frozen=True, slots=True)
class Performance:
    """Of one model, for one operation or all: `calls`, `successes`, times and `spend_usd` of 7 days, ratings of any age.

    `calls`: those whose success or failure was the provider's. `p50_s`, `p90_s`: of successful ones, None without any.
    `spend_usd`: what the provider charges us, failed calls included.
    """

    calls: int = 0
    successes: int = 0
    p50_s: float | None = None
    p90_s: float | None = None
    ratings: int = 0
    rating_sum: int = 0
    spend_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Health:
    """`down`: nobody calls it until `retry_at_ms`. `degraded`: it is being tried again, or more than one call in ten fails.

    Times are milliseconds of Redis' clock. `since_ms`: when it went down, None if it did not.
    """

    state: Literal["ok", "degraded", "down"]
    since_ms: int | None = None
    retry_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Circuit:
    """An open circuit: since when, and from when on one call at a time may try."""

    since_ms: int
    retry_at_ms: int


@dataclass(frozen=True, slots=True)
class Learned:
    """What was known at `now_ms`, milliseconds of Redis' clock. Made by `learned_from`; empty it says that all is well."""

    now_ms: int = 0
    of_operations: Mapping[str, Mapping[Operation, Performance]] = field(default_factory=dict)
    of_models: Mapping[str, Performance] = field(default_factory=dict)
    circuits: Mapping[str, Circuit] = field(default_factory=dict)
    provider_of: Mapping[str, str] = field(default_factory=dict)

    def experience_of(self, operation: Operation, history: TenantHistory) -> dict[str, Experience]:
        """What is known of the models that have done this operation, by id."""
        known = {model for model, done in self.of_operations.items() if operation in done}
        judged = {model for model, done in history if done is operation}
        return {model: self._experience(model, operation, history) for model in known | judged}

    def performance(self, model_id: str) -> Performance:
        """Of all operations of a model together."""
        return self.of_models.get(model_id, Performance())

    def performances(self, model_id: str) -> Mapping[Operation, Performance]:
        """Of a model, for each operation that it has done."""
        return self.of_operations.get(model_id, {})

    def health(self, model_id: str) -> Health:
        """By its own circuit or its provider's, whichever is worse."""
        circuits = self._circuits_of(model_id)
        if circuits:
            last = max(circuits, key=lambda circuit: circuit.retry_at_ms)
            return Health("down" if last.retry_at_ms > self.now_ms else "degraded", last.since_ms, last.retry_at_ms)
        known = self.performance(model_id)
        _, most = wilson(known.successes, known.calls)
        return Health("degraded" if known.calls >= _ENOUGH_CALLS and most < GOOD_SUCCESS_RATE else "ok")

    @property
    def down(self) -> frozenset[str]:
        """Models that nobody may call now."""
        return frozenset(model for model in self._troubled() if self.health(model).state == "down")

    @property
    def probing(self) -> frozenset[str]:
        """Models that one call at a time may try: `Experiences.may_probe` says whose."""
        return frozenset(model for model in self._troubled() if self.health(model).state == "degraded")

    def _troubled(self) -> list[str]:
        return [model for model in self.provider_of if self._circuits_of(model)] if self.circuits else []

    def _circuits_of(self, model_id: str) -> list[Circuit]:
        names = circuit_names(model_id, self.provider_of.get(model_id, ""))
        return [self.circuits[name] for name in names if name in self.circuits]

    def _experience(self, model_id: str, operation: Operation, history: TenantHistory) -> Experience:
        known = self.performances(model_id).get(operation, Performance())
        judged, accepted = history.get((model_id, operation), (0, 0))
        return Experience(
            calls=known.calls,
            successes=known.successes,
            p50_s=known.p50_s,
            p90_s=known.p90_s,
            ratings=known.ratings,
            rating_sum=known.rating_sum,
            judged=judged,
            accepted=accepted,
        )


def learned_from(
    figures: Iterable[Figures], circuits: Mapping[str, Circuit], provider_of: Mapping[str, str], *, now_ms: int
) -> Learned:
    """The snapshot of counts that are to be added up, and of the circuits that are open. `provider_of`: by model id."""
    sums: Figures = {}
    wholes: dict[str, dict[str, int]] = {}
    for part in figures:
        for (model, operation), counts in part.items():
            for into in (sums.setdefault((model, operation), {}), wholes.setdefault(model, {})):
                for name, count in counts.items():
                    into[name] = into.get(name, 0) + count
    of_operations: dict[str, dict[Operation, Performance]] = {}
    for (model, operation), counts in sums.items():
        of_operations.setdefault(model, {})[operation] = _performance(counts)
    of_models = {model: _performance(counts) for model, counts in wholes.items()}
    return Learned(now_ms, of_operations, of_models, circuits, provider_of)


def figures_of(fields: Mapping[str, str]) -> Figures:
    """The counts of a hash with fields `{model}|{operation}|{name}`. Operations that this version does not know are left out."""
    found: Figures = {}
    for name, value in fields.items():
        model, operation, figure = name.rsplit("|", 2)
        if operation in _OPERATIONS:
            found.setdefault((model, _OPERATIONS[operation]), {})[figure] = int(value)
    return found


def circuit_names(model_id: str, provider: str) -> tuple[str, str]:
    """The names of the circuits that a call goes through."""
    return f"model:{model_id}", f"provider:{provider}"


def bucket_of(seconds: float) -> int:
    """The bucket that a time is counted in."""
    if seconds <= _FIRST_S:
        return 0
    return min(_BUCKETS - 1, math.ceil(math.log(seconds / _FIRST_S, _GROWTH)))


def percentile_s(buckets: Mapping[int, int], share: float) -> float | None:
    """The time that `share` of the counted ones do not exceed, within 10 %; None without any."""
    wanted = share * sum(buckets.values())
    passed = 0
    for bucket in sorted(buckets):
        passed += buckets[bucket]
        if passed and passed >= wanted:
            return float(_FIRST_S * _GROWTH ** max(0.0, bucket - 0.5))
    return None


def _performance(counts: Mapping[str, int]) -> Performance:
    buckets = {int(name): count for name, count in counts.items() if name.isdecimal()}
    good = counts.get("good", 0)
    return Performance(
        calls=good + counts.get("bad", 0),
        successes=good,
        p50_s=percentile_s(buckets, 0.5),
        p90_s=percentile_s(buckets, 0.9),
        ratings=counts.get("ratings", 0),
        rating_sum=counts.get("rating_sum", 0),
        spend_usd=Decimal(counts.get("micro_usd", 0)) / 1_000_000,
    )
