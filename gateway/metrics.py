"""What Prometheus is told: this process' own requests, and the whole service as Redis knows it.

Workers have no listener of their own. What they do is counted in Redis, by the script that does it: no count is lost with its
worker or made twice, workers need no port and no discovery, and every gateway tells the same of the service, wherever the workers
are. Expressions therefore take `max by (…)` of what is not this gateway's own. Labels come from routes, lanes, the catalogue and
the error codes, so their number is bounded.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from shared.learned import Learned, circuit_names
from shared.loop_lag import LoopLag
from shared.store.overview import BOUNDS_S, Stats
from shared.store.pressure import Pressure

__all__ = ["CONTENT_TYPE", "DESCRIPTIONS", "Description", "Metrics"]

_REQUEST_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)

# Name, kind, labels, meaning.
_LIST = """
http_request_duration_seconds histogram method,route,status Requests to this gateway, and how long they took
http_requests_in_flight gauge - Requests that this gateway is answering
loop_lag_seconds gauge process How late an event loop was at worst in the last 30 s: this gateway's; the worst worker's
store_up gauge - 1: the job store answered; 0: it did not, and nothing of what it knows is told
store_memory_share gauge - Share of its maxmemory that the job store uses; 0 without one
edits_finished_total counter state,operation,model,outcome Edits that ended; outcome: an error's code; model: called last
edits_unfinished gauge - Accepted edits that have not ended
edits_running gauge - Edits that a worker has
queue_depth gauge lane Edits that are ready to run
queue_oldest_seconds gauge lane How long the first edits wait at most, also behind a pause of their provider or a tenant's cap
oldest_wait_seconds gauge priority How long an edit waits at most that a free worker would take
tenants_refused gauge - Tenants whose submits are refused because their edits wait too long
pickup_seconds histogram priority From accepted to first taken by a worker; priority: interactive, bulk, batch (an item's turn)
edit_seconds histogram priority From accepted to succeeded or failed
provider_calls_total counter model,operation,outcome Calls of models that ended; outcome: succeeded, or an error's code
provider_call_seconds histogram model Calls that succeeded, from submit to result
provider_spend_usd_total counter model What providers charge, for failed calls too
circuit_state gauge kind,name Circuit of a model or a provider: 0 closed, 1 half-open (one call at a time tries), 2 open
spending_limit_used_ratio gauge - Of the tenant that is nearest to a limit: what is spent and reserved, as a share of the limit
webhook_attempts_total counter outcome Attempts to deliver: delivered, retried, failed (the last one), stopped (unwanted)
webhook_backlog gauge - Webhooks that are not delivered yet
webhook_overdue_seconds gauge - How long a webhook waits at most for a sender
workers gauge - Workers whose heartbeat came within a lease
worker_slots gauge - Edits that these workers can hold at once
"""
#: What the scripts count, by the first part of their names for it; 1e-6 USD and ms become USD and seconds.
_COUNTED = {
    "edits": "edits_finished_total",
    "pickup": "pickup_seconds",
    "edit": "edit_seconds",
    "calls": "provider_calls_total",
    "call": "provider_call_seconds",
    "spend": "provider_spend_usd_total",
    "webhooks": "webhook_attempts_total",
}

Samples = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Description:
    """One metric; `kind`: counter, gauge or histogram."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def _read(line: str) -> Description:
    name, kind, labels, meaning = line.split(" ", 3)
    return Description(f"edit_studio_{name}", kind, () if labels == "-" else tuple(labels.split(",")), meaning)


DESCRIPTIONS = {line.split(" ")[0]: _read(line) for line in _LIST.strip().splitlines()}


class Metrics:
    """One per gateway process."""

    def __init__(self, lag: LoopLag) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._lag = lag
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        requests = DESCRIPTIONS["http_request_duration_seconds"]
        self._requests = Histogram(
            requests.name, requests.help, requests.labels, buckets=_REQUEST_BOUNDS_S, registry=self._registry
        )
        self._shown: dict[str, int] = {}
        self.in_flight = 0

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request. `route`: the path as declared."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def text(self, stats: Stats | None, pressure: Pressure, learned: Learned) -> bytes:
        """Everything. `stats`: None if the job store did not answer."""
        samples = dict(self._own(stats, pressure, learned))
        if stats is not None:
            samples |= _now(stats)
            samples |= _counted(self._never_falling(stats.counts))
        families = (_family(DESCRIPTIONS[name], samples[name]) for name in DESCRIPTIONS if name in samples)
        return generate_latest(_Everything([*self._registry.collect(), *families]))

    def _own(self, stats: Stats | None, pressure: Pressure, learned: Learned) -> Iterator[tuple[str, Samples]]:
        """What this process knows by itself, and what it saw last."""
        lag: Samples = {("gateway",): self._lag.worst_s}
        if stats is not None:
            lag = {**lag, ("worker",): stats.worker_lag_s}
        yield "http_requests_in_flight", {(): self.in_flight}
        yield "loop_lag_seconds", lag
        yield "store_up", {(): int(stats is not None)}
        yield "store_memory_share", {(): pressure.memory_share}
        yield "oldest_wait_seconds", {("interactive",): pressure.interactive_wait_s, ("bulk",): pressure.bulk_wait_s}
        yield "tenants_refused", {(): len(pressure.late)}
        yield "circuit_state", _circuits(learned)

    def _never_falling(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """A replica that took over may lack the last second's counts. Prometheus would take the fall for a restart and count all
        of it anew, so what was told stays until it is reached again. After a fall by half there is a new beginning.
        """
        shown = self._shown
        self._shown = {
            name: count if count < shown.get(name, 0) / 2 else max(count, shown.get(name, 0)) for name, count in counts.items()
        }
        return self._shown


class _Everything(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _now(stats: Stats) -> dict[str, Samples]:
    """How things stand, as Redis tells it."""
    return {
        "edits_unfinished": {(): stats.unfinished},
        "edits_running": {(): stats.running},
        "queue_depth": {(lane,): one.ready for lane, one in stats.lanes.items()},
        "queue_oldest_seconds": {(lane,): one.oldest_s for lane, one in stats.lanes.items()},
        "spending_limit_used_ratio": {(): stats.limit_used},
        "webhook_backlog": {(): stats.webhooks_pending},
        "webhook_overdue_seconds": {(): stats.webhooks_overdue_s},
        "workers": {(): stats.workers},
        "worker_slots": {(): stats.worker_slots},
    }


def _counted(counts: Mapping[str, int]) -> dict[str, Samples]:
    """By metric, what the scripts have counted; a histogram's samples have the bucket or `ms` as one more label."""
    found: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in _COUNTED.values()}
    for text, count in counts.items():
        family, *labels = text.split("|")
        if family in _COUNTED:
            found[_COUNTED[family]][tuple(labels)] = count / 1_000_000 if family == "spend" else count
    return dict(found)


def _circuits(learned: Learned) -> Samples:
    names = {name for model, provider in learned.provider_of.items() for name in circuit_names(model, provider)}
    states: dict[tuple[str, ...], float] = {}
    for name in sorted(names):
        circuit = learned.circuits.get(name)
        kind, _, own = name.partition(":")
        states[kind, own] = 0 if circuit is None else 2 if circuit.retry_at_ms > learned.now_ms else 1
    return states


def _family(what: Description, samples: Samples) -> Metric:
    if what.kind == "histogram":
        return _histogram(what, samples)
    family = (CounterMetricFamily if what.kind == "counter" else GaugeMetricFamily)(what.name, what.help, labels=what.labels)
    for labels, value in sorted(samples.items()):
        family.add_metric(labels, value)
    return family


def _histogram(what: Description, samples: Samples) -> Metric:
    family = HistogramMetricFamily(what.name, what.help, labels=what.labels)
    series: defaultdict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for (*labels, part), value in samples.items():
        series[tuple(labels)][part] = value
    for key, parts in sorted(series.items()):
        seconds = parts.pop("ms", 0.0) / 1000
        counts = {float(bound) / 1000: count for bound, count in parts.items()}
        buckets = [(str(bound), sum(n for upper, n in counts.items() if upper <= bound)) for bound in BOUNDS_S]
        buckets.append(("+Inf", sum(counts.values())))
        family.add_metric(key, buckets, seconds)
    return family
