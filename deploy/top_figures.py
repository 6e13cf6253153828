"""What `edit-studio top` shows, computed from what /metrics tells: the same figures as the dashboard in Grafana draws."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "edit_studio_"


@dataclass(frozen=True, slots=True)
class Look:
    """One scrape, taken at `at_s` of a monotonic clock."""

    at_s: float
    samples: Mapping[str, list[tuple[Mapping[str, str], float]]]

    def by(self, name: str, label: str) -> dict[str, float]:
        """The sums of a metric's samples by one of its labels; empty while there are none."""
        found: defaultdict[str, float] = defaultdict(float)
        for labels, value in self.samples.get(_PREFIX + name, ()):
            found[labels[label]] += value
        return dict(found)

    def total(self, name: str) -> float:
        """The sum of all samples of a metric."""
        return sum(value for _, value in self.samples.get(_PREFIX + name, ()))


def look_at(text: str, *, at_s: float) -> Look:
    """The scrape that the text is."""
    samples: defaultdict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name].append((sample.labels, sample.value))
    return Look(at_s, samples)


def figures(first: Look, before: Look, now: Look) -> dict[str, Any]:
    """As JSON. Rates are those since `before`, counts and times those since `first`; a time is None before there is one."""
    passed_s = max(1e-9, now.at_s - before.at_s)

    def grown(name: str) -> float:
        return now.total(name) - first.total(name)

    def per_s(name: str) -> float:
        return round((now.total(name) - before.total(name)) / passed_s, 2)

    oldest, ended_before = now.by("queue_oldest_seconds", "lane"), first.by("edits_finished_total", "outcome")
    ended = {
        outcome: round(count - ended_before.get(outcome, 0))
        for outcome, count in now.by("edits_finished_total", "outcome").items()
    }
    return {
        "seconds": round(now.at_s - first.at_s, 1),
        "store_up": bool(now.total("store_up")),
        "queue": {lane: {"ready": round(n), "oldest_s": oldest[lane]} for lane, n in now.by("queue_depth", "lane").items()},
        "oldest_wait_s": now.by("oldest_wait_seconds", "priority"),
        "unfinished": round(now.total("edits_unfinished")),
        "running": round(now.total("edits_running")),
        "slots": round(now.total("worker_slots")),
        "workers": round(now.total("workers")),
        "ended": {outcome: count for outcome, count in ended.items() if count},
        "ended_per_s": per_s("edits_finished_total"),
        "pickup_s": _quantiles(first, now, "pickup_seconds"),
        "edit_s": _quantiles(first, now, "edit_seconds"),
        "provider_call_s": _quantiles(first, now, "provider_call_seconds"),
        "spend_usd": round(grown("provider_spend_usd_total"), 6),
        "circuits": sorted(name for name, state in now.by("circuit_state", "name").items() if state),
        "webhook_backlog": round(now.total("webhook_backlog")),
        "webhook_attempts_per_s": per_s("webhook_attempts_total"),
        "requests_per_s": per_s("http_request_duration_seconds_count"),
        "loop_lag_s": now.by("loop_lag_seconds", "process"),
        "store_memory_share": now.total("store_memory_share"),
    }


def _quantiles(first: Look, now: Look, name: str) -> dict[str, float | None]:
    """Medians and the like of what was counted between two looks, as Prometheus' `histogram_quantile` interpolates them."""
    earlier = first.by(f"{name}_bucket", "le")
    counts = [(float(bound), n - earlier.get(bound, 0)) for bound, n in now.by(f"{name}_bucket", "le").items()]
    counts.sort()
    return {f"p{round(share * 100)}": _quantile(share, counts) for share in (0.5, 0.95, 0.99)}


def _quantile(share: float, cumulative: list[tuple[float, float]]) -> float | None:
    if not cumulative or not cumulative[-1][1]:
        return None
    rank, start, below = share * cumulative[-1][1], 0.0, 0.0
    for bound, count in cumulative:
        if count >= rank:
            return round(start if math.isinf(bound) else start + (bound - start) * (rank - below) / max(1e-9, count - below), 4)
        start, below = bound, count
    return None
