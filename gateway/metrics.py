"""Counts and latencies in the Prometheus text format. Labels come from the route table, so their number is bounded.

Source: prometheus.io, "Exposition formats", text-based format 0.0.4.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable

from shared.store.overview import Stats
from shared.store.pressure import Pressure

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class _Series:
    """One combination of labels: a count for each bucket (and beyond), and the sum in seconds."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.seconds = 0.0


class Metrics:
    """Requests of this process by method, route and status."""

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str, str, int], _Series] = defaultdict(_Series)
        self.in_flight = 0

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request. `route`: the path as declared."""
        series = self._requests[method, route, status]
        series.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        series.seconds += seconds

    def text(self, stats: Stats | None, pressure: Pressure) -> str:
        """Everything as text. `stats`: the job store's counts, None if it did not answer."""
        lines = [*self._request_lines(), *_header("edit_studio_http_requests_in_flight", "gauge", "Requests being answered")]
        lines.append(f"edit_studio_http_requests_in_flight {self.in_flight}")
        lines += [
            *_header("edit_studio_store_up", "gauge", "Whether the job store answered"),
            f"edit_studio_store_up {int(bool(stats))}",
        ]
        return "\n".join([*lines, *_pressure_lines(pressure), *(_store_lines(stats) if stats else ()), ""])

    def _request_lines(self) -> Iterable[str]:
        name = "edit_studio_http_request_duration_seconds"
        yield from _header(name, "histogram", "Requests by method, route and status, and how long they took")
        for (method, route, status), series in sorted(self._requests.items()):
            labels = f'method="{method}",route="{route}",status="{status}"'
            total = 0
            for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), series.buckets, strict=True):
                total += count
                yield f'{name}_bucket{{{labels},le="{bound}"}} {total}'
            yield f"{name}_sum{{{labels}}} {series.seconds:.6f}"
            yield f"{name}_count{{{labels}}} {total}"


def _pressure_lines(pressure: Pressure) -> Iterable[str]:
    yield from _header("edit_studio_store_memory_share", "gauge", "Share of its maxmemory that the job store uses; 0 without one")
    yield f"edit_studio_store_memory_share {pressure.memory_share:.4f}"
    yield from _header("edit_studio_oldest_wait_seconds", "gauge", "How long the oldest edit that is ready waits for a worker")
    yield f'edit_studio_oldest_wait_seconds{{priority="interactive"}} {pressure.interactive_wait_s:.3f}'
    yield f'edit_studio_oldest_wait_seconds{{priority="bulk"}} {pressure.bulk_wait_s:.3f}'
    yield from _header(
        "edit_studio_tenants_refused", "gauge", "Tenants whose submits are refused because their edits wait too long"
    )
    yield f"edit_studio_tenants_refused {len(pressure.late)}"


def _store_lines(stats: Stats) -> Iterable[str]:
    yield from _header("edit_studio_edits_finished_total", "counter", "Edits that ended, by state")
    yield from (f'edit_studio_edits_finished_total{{state="{state}"}} {n}' for state, n in sorted(stats.finished.items()))
    yield from _header("edit_studio_edits_unfinished", "gauge", "Accepted edits that have not ended")
    yield f"edit_studio_edits_unfinished {stats.unfinished}"
    yield from _header("edit_studio_edits_running", "gauge", "Edits that a worker has")
    yield f"edit_studio_edits_running {stats.running}"
    yield from _header("edit_studio_queue_depth", "gauge", "Edits that are ready to run, by lane")
    yield from (f'edit_studio_queue_depth{{lane="{lane}"}} {n}' for lane, n in sorted(stats.ready.items()))


def _header(name: str, kind: str, description: str) -> tuple[str, str]:
    return f"# HELP {name} {description}", f"# TYPE {name} {kind}"
