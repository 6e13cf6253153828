"""Prometheus itself finds in the same scrapes what our small evaluator finds, for every panel and every alert."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.servers import free_port
from tests.telemetry.promql import Labels, Scrapes, evaluate
from tests.telemetry.test_metrics import EXPRESSIONS

_READY_S = 30.0
_STEP_S = 15.0


def service(*, at_s: float) -> Scrapes:
    """Ten minutes of two gateways of a service in which everything grows that can, and one that has begun anew."""
    scrapes = Scrapes()
    for number in range(41):
        grown = number if number < 30 else number - 30
        text = _scrape(number, grown)
        for instance in ("gateway-1", "gateway-2"):
            scrapes.add(text, at_s + number * _STEP_S, instance)
    return scrapes


def _scrape(number: int, grown: int) -> str:
    calls = 'edit_studio_provider_calls_total{{model="m",operation="o",outcome="{}"}} {}'
    ended = 'edit_studio_edits_finished_total{{state="{}",operation="o",model="m",outcome="{}"}} {}'
    requests = 'edit_studio_http_request_duration_seconds_count{{method="GET",route="/x",status="{}"}} {}'
    lines = [
        *(calls.format(outcome, grown * 3) for outcome in ("succeeded", "moderated", "bad_output")),
        ended.format("succeeded", "succeeded", number * 2),
        ended.format("failed", "bad_output", grown),
        *(requests.format(status, number) for status in ("200", "500")),
        f'edit_studio_provider_spend_usd_total{{model="m"}} {number * number / 10}',
        f'edit_studio_webhook_attempts_total{{outcome="retried"}} {grown}',
        f'edit_studio_webhook_attempts_total{{outcome="delivered"}} {number / 4}',
        'edit_studio_circuit_state{kind="model",name="m"} 2',
        'edit_studio_circuit_state{kind="provider",name="p"} 0',
        'edit_studio_oldest_wait_seconds{priority="interactive"} 61',
        'edit_studio_loop_lag_seconds{process="worker"} 0.75',
        'edit_studio_queue_depth{lane="p"} 4',
    ]
    lines += [f"edit_studio_{name} {value}" for name, value in (("workers", 0), ("store_up", 0), ("store_memory_share", 0.75))]
    lines += [
        "edit_studio_spending_limit_used_ratio 0.95",
        "edit_studio_webhook_backlog 1001",
        "edit_studio_webhook_overdue_seconds 61",
    ]
    for name, labels in (("pickup_seconds", 'priority="bulk"'), ("provider_call_seconds", 'model="m"')):
        buckets = (("0.1", number), ("1.0", number * 3), ("+Inf", number * 4))
        lines += [f'edit_studio_{name}_bucket{{{labels},le="{bound}"}} {count}' for bound, count in buckets]
    return "\n".join([*lines, ""])


def open_metrics(scrapes: Scrapes) -> str:
    """All scrapes with their times, as `promtool tsdb create-blocks-from openmetrics` takes them."""
    lines = []
    for name, series in sorted(scrapes.series.items()):
        for labels, samples in series.items():
            written = ",".join(f'{label}="{value}"' for label, value in sorted(labels))
            lines += [f"{name}{{{written}}} {value} {at}" for at, value in samples]
    return "\n".join([*lines, "# EOF", ""])


@contextmanager
def prometheus(scrapes: Scrapes, folder: Path) -> Iterator[str]:
    """A Prometheus that has scraped this; its address."""
    (folder / "scrapes").write_text(open_metrics(scrapes))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "scrapes"), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    (folder / "empty.yml").write_text("{}")
    url = f"http://127.0.0.1:{free_port()}"
    options = {"config.file": "empty.yml", "storage.tsdb.path": "data", "web.listen-address": url.removeprefix("http://")}
    options["storage.tsdb.retention.time"] = "10y"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", *(f"--{name}={value}" for name, value in options.items())], cwd=folder, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + _READY_S
        while b"Server is ready" not in (folder / "log").read_bytes():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def asked(url: str, expression: str, at_s: float) -> dict[Labels, float]:
    with urlopen(f"{url}/api/v1/query?{urlencode({'query': expression, 'time': at_s})}", timeout=20) as answer:
        found = json.load(answer)["data"]["result"]
    return {
        frozenset((name, value) for name, value in one["metric"].items() if name != "__name__"): float(one["value"][1])
        for one in found
    }


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus: apt-get install prometheus")
def test_prometheus_finds_the_same(tmp_path: Path) -> None:
    began_s = float(int(time.time()) - 7_200)
    scrapes, at_s = service(at_s=began_s), began_s + 40 * _STEP_S
    full = 0
    with prometheus(scrapes, tmp_path) as url:
        for where, expression in EXPRESSIONS.items():
            theirs, ours = asked(url, expression, at_s), evaluate(expression, scrapes, at_s=at_s)
            assert set(theirs) == set(ours), where
            full += bool(ours)
            assert all(ours[labels] == pytest.approx(value, rel=0.01) for labels, value in theirs.items()), (where, theirs, ours)
    assert full > len(EXPRESSIONS) / 2
