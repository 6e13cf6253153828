"""What /metrics tells, and that the dashboard and the alerts ask for nothing else."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import DESCRIPTIONS, Metrics
from shared.errors import error_classes
from shared.learned import Circuit, Learned
from shared.loop_lag import LoopLag
from shared.store.overview import BOUNDS_S, LaneStats, Stats
from shared.store.pressure import Pressure
from tests.conftest import make_job
from tests.telemetry.conftest import MODEL, World
from tests.telemetry.promql import evaluate, parse, selectors
from tests.telemetry.test_alerts import RULES, dead_webhooks

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {
    **{f"alert {name}": rule["expr"] for name, rule in RULES.items()},
    **{
        f"panel {panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "5m")
        for panel in PANELS
        for target in panel["targets"]
    },
}
_SUFFIX = re.compile(r"_(bucket|sum|count)$")
NO_LEARNED = Learned(provider_of={"m": "p"})


def stats(**counts: int) -> Stats:
    named = {name.replace("__", "|"): count for name, count in counts.items()}
    return Stats(named, 3, {"local": LaneStats(2, 1.5, 1)}, 4, 0.5, 2, 64, 0.25, 0.5)


def samples(text: bytes) -> dict[str, float]:
    """By name and labels, as they are written."""
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def metrics() -> Metrics:
    return Metrics(LoopLag())


def test_a_histogram_is_cumulative_and_its_sum_is_in_seconds() -> None:
    counts = stats(
        pickup__interactive__5=2, pickup__interactive__250=1, pickup__interactive__inf=1, pickup__interactive__ms=4_000_200
    )
    found = samples(metrics().text(counts, Pressure(), NO_LEARNED))
    name, label = "edit_studio_pickup_seconds", 'priority="interactive"'
    buckets = [found[f'{name}_bucket{{le="{bound}",{label}}}'] for bound in (*BOUNDS_S, "+Inf")]
    assert buckets == [2, 2, 2, *[3] * 12, 4]
    assert (found[f"{name}_count{{{label}}}"], found[f"{name}_sum{{{label}}}"]) == (4, 4000.2)


def test_a_count_is_not_told_falling_unless_there_is_a_new_beginning() -> None:
    """As after a failover to a replica that lacks the last writes; Prometheus would count all of it again."""
    told, name = metrics(), 'edit_studio_provider_spend_usd_total{model="m"}'

    def tell(count: int) -> float:
        return samples(told.text(stats(spend__m=count), Pressure(), NO_LEARNED))[name]

    assert [tell(count) for count in (1_000_000, 999_000, 1_001_000, 20_000, 30_000)] == [1.0, 1.0, 1.001, 0.02, 0.03]


def test_without_redis_the_gateway_tells_what_it_knows_by_itself() -> None:
    told = metrics()
    told.count("GET", "/x", 200, 0.02)
    found = samples(told.text(None, Pressure(memory_share=0.5), NO_LEARNED))
    assert found["edit_studio_store_up"] == 0
    assert found["edit_studio_store_memory_share"] == 0.5
    assert found['edit_studio_http_request_duration_seconds_count{method="GET",route="/x",status="200"}'] == 1
    assert not any(name.startswith(("edit_studio_queue", "edit_studio_workers")) for name in found)


def test_a_circuit_is_closed_half_open_or_open() -> None:
    circuits = {"model:a": Circuit(since_ms=1, retry_at_ms=90), "provider:p": Circuit(since_ms=1, retry_at_ms=110)}
    learned = Learned(now_ms=100, circuits=circuits, provider_of={"a": "p", "b": "q"})
    found = samples(metrics().text(None, Pressure(), learned))
    states = {name.partition("{")[2]: value for name, value in found.items() if "circuit_state" in name}
    assert states == {
        'kind="model",name="a"}': 1,
        'kind="model",name="b"}': 0,
        'kind="provider",name="p"}': 2,
        'kind="provider",name="q"}': 0,
    }


async def test_an_event_loop_that_is_blocked_is_late() -> None:
    import time

    async with LoopLag() as lag:
        assert lag.worst_s == 0
        await asyncio.sleep(0.01)
        time.sleep(0.4)
        async with asyncio.timeout(5):
            while lag.worst_s < 0.1:
                await asyncio.sleep(0.01)


@pytest.fixture
async def real(world: World) -> World:
    """Scrapes of a service in which everything has happened that is counted."""
    for _ in range(2):
        await world.edit()
        await world.edit("html")
        await world.edit("moderated")
        await world.bench.redis.delete("circuits")
        await dead_webhooks(world, 1)
        await world.api.get("/jobs")
        await world.scrape()
    await world.bench.jobs.accept(make_job("t2", priority="bulk"))
    await world.api.connections.pressure.look()
    await world.scrape()
    return world


async def test_what_is_told_of_a_run_is_what_is_described(real: World) -> None:
    families = {family.name: family for family in text_string_to_metric_families(await real.scrape())}
    codes = {*error_classes(), "succeeded", "canceled"}
    for what in DESCRIPTIONS.values():
        family = families[what.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (what.kind, what.help)
        assert family.samples, what.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(what.labels), sample
            if "outcome" in sample.labels and "webhook" not in what.name:
                assert sample.labels["outcome"] in codes
            if "model" in sample.labels:
                assert sample.labels["model"] in {*real.bench.catalog.models, "none"}
    ours = {name for name in families if name.startswith("edit_studio_")}
    assert ours == {what.name.removesuffix("_total") for what in DESCRIPTIONS.values()}


async def test_edits_calls_times_and_money_are_counted_once(real: World) -> None:
    found = samples((await real.scrape()).encode())
    ended = {name: value for name, value in found.items() if name.startswith("edit_studio_edits_finished_total")}
    labels = 'model="{}",operation="general_edit",outcome="{}",state="{}"'
    assert ended == {
        f"edit_studio_edits_finished_total{{{labels.format(model, outcome, state)}}}": 2
        for model, outcome, state in (
            (MODEL, "succeeded", "succeeded"),
            (MODEL, "bad_output", "failed"),
            (MODEL, "moderated", "failed"),
            ("none", "canceled", "canceled"),
        )
    }
    assert found['edit_studio_edit_seconds_count{priority="interactive"}'] == 6
    assert found['edit_studio_pickup_seconds_count{priority="interactive"}'] == 6
    calls = {name.split('"')[3]: value for name, value in found.items() if name.startswith("edit_studio_provider_calls_total")}
    assert calls["general_edit"] > 0
    assert found[f'edit_studio_provider_call_seconds_count{{model="{MODEL}"}}'] == 2
    billed = sum(float(entry["usd"]) for entry in await real.bench.simulator.ledger())
    assert found[f'edit_studio_provider_spend_usd_total{{model="{MODEL}"}}'] == pytest.approx(billed)
    assert found['edit_studio_webhook_attempts_total{outcome="retried"}'] == 2
    assert found["edit_studio_webhook_backlog"] == 2
    assert found["edit_studio_edits_unfinished"] == 1
    assert found['edit_studio_queue_depth{lane="local"}'] == 1


async def test_expressions_name_only_metrics_and_labels_that_are_told(real: World) -> None:
    wrong = []
    for where, expression in EXPRESSIONS.items():
        for selector in selectors(parse(expression)):
            known = real.scrapes.labels_of(selector.name)
            if not known:
                wrong.append(f"{where}: nothing is called {selector.name}")
            wrong += [
                f"{where}: {selector.name} has no label {one.name}" for one in selector.matchers.matchers if one.name not in known
            ]
    assert not wrong, "\n".join(wrong)


async def test_a_panel_shows_something_of_a_real_run(real: World) -> None:
    empty = [
        where
        for where, expression in EXPRESSIONS.items()
        if where.startswith("panel ") and not evaluate(expression, real.scrapes, at_s=real.at_s)
    ]
    assert set(empty) <= {"panel Circuits that are not closed A"}
