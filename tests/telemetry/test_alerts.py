"""Each alert fires when its reason is there, and not before: the reason is caused, /metrics scraped, the expression computed.

How long it has to hold (`for`) is Prometheus' part, and not waited for.
"""

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from shared.errors import error_classes
from tests.conftest import make_job
from tests.servers import free_port
from tests.telemetry.conftest import World
from tests.telemetry.promql import evaluate, parse, selectors

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
}


async def wait_long(world: World) -> None:
    record = await world.edit(turns=0)
    await world.bench.redis.hincrby(f"job:{record.id}", "created", -400_000)
    await world.api.connections.pressure.look()


async def kill_the_worker(world: World) -> None:
    await world.bench.redis.zadd("workers", {"w1": int(time.time() * 1000) - 16_000})


async def end_all_gateways(world: World) -> None:
    world.at_s += 600.0


async def be_overloaded(world: World) -> None:
    await wait_long(world)
    for _ in range(5):
        answer = await world.api.post("/process", json={"image_url": "https://example.com/a.png", "prompt": "make it red"})
        assert answer.status == 503


async def fail(world: World, faults: str = "html") -> None:
    record = await world.edit(faults)
    assert record.error_code, record
    # The next one may try again at once.
    await world.bench.redis.delete("circuits")


async def open_a_circuit(world: World) -> None:
    for _ in range(2):
        await world.edit("503")


async def spend_most_of_a_limit(world: World) -> None:
    await world.api.connections.tenants.set_limits("t1", {"daily_limit_micro_usd": 100_000})
    await world.bench.jobs.accept(make_job(reserved_micro_usd=27_000))


async def spend(world: World) -> None:
    # After the second time, the second scrape of all was a day ago.
    await world.scrape(after_s=43_140.0)
    for _ in range(5):
        await world.edit(model="gpt-image-1", options={"quality": "high"})


async def dead_webhooks(world: World, count: int = 2) -> None:
    url = f"http://127.0.0.1:{free_port()}/hook"

    async def end_one() -> None:
        record = (await world.bench.jobs.accept(make_job(webhook_url=url))).record
        await world.bench.jobs.cancel(record.tenant, record.id)

    await asyncio.gather(*(end_one() for _ in range(count)))
    await world.send_webhooks()


async def let_webhooks_lie(world: World) -> None:
    await dead_webhooks(world)
    minutes_ago = int(time.time() * 1000) - 120_000
    for line in await world.bench.redis.zrange("outbox", 0, -1):
        await world.bench.redis.zadd("outbox", {line: minutes_ago})


async def stop_redis(world: World) -> None:
    world.redis_server.freeze()


async def fill_redis(world: World) -> None:
    used = (await world.bench.redis.info("memory"))["used_memory"]
    await world.bench.redis.config_set("maxmemory", int(used / 0.75))
    await world.api.connections.pressure.look()


async def block_the_loop(_: World) -> None:
    # The first look must be under way, or nobody sees that it is late.
    await asyncio.sleep(0.01)
    time.sleep(1.0)
    await asyncio.sleep(0.01)


CAUSES: dict[str, Callable[[World], Awaitable[None]]] = {
    "QueueTooOld": wait_long,
    "WorkersGone": kill_the_worker,
    "GatewaysGone": end_all_gateways,
    "EditsFail": fail,
    "RequestsFail": be_overloaded,
    "CircuitOpen": open_a_circuit,
    "SpendingLimitNear": spend_most_of_a_limit,
    "SpendingFast": spend,
    "WebhookBacklog": lambda world: dead_webhooks(world, 600),
    "WebhooksFail": dead_webhooks,
    "WebhooksOverdue": let_webhooks_lie,
    "StoreDown": stop_redis,
    "StoreFull": fill_redis,
    "LoopLag": block_the_loop,
    "ModerationRate": lambda world: fail(world, "moderated"),
    "BadOutputRate": fail,
}


@pytest.fixture
async def mended(world: World) -> Any:
    """The world, its Redis as it was afterwards."""
    yield world
    world.redis_server.thaw()
    await world.bench.redis.config_set("maxmemory", 0)


@pytest.mark.parametrize("name", RULES)
async def test_an_alert_fires_for_its_reason_and_not_before(name: str, mended: World) -> None:
    world, expression = mended, RULES[name]["expr"]
    for _ in range(2):
        await world.edit()
        await world.scrape()
    assert not evaluate(expression, world.scrapes, at_s=world.at_s)
    # Twice: what was never counted before has no rate after the first time.
    for _ in range(2):
        await CAUSES[name](world)
        if name != "GatewaysGone":
            await world.scrape()
    assert evaluate(expression, world.scrapes, at_s=world.at_s)


def test_every_alert_says_what_to_do() -> None:
    for name, rule in RULES.items():
        assert rule["labels"]["severity"] in ("page", "warn"), name
        assert rule["annotations"]["summary"], name
        assert len(rule["annotations"]["runbook"]) > 40, name


def test_every_outcome_that_an_alert_names_is_an_error_code() -> None:
    codes = {*error_classes(), "delivered"}
    for rule in RULES.values():
        for selector in selectors(parse(rule["expr"])):
            for matcher in selector.matchers.matchers:
                if matcher.name == "outcome":
                    for pattern in matcher.value.split("|"):
                        assert any(re.fullmatch(pattern, code) for code in codes), pattern


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool: apt-get install prometheus")
@pytest.mark.parametrize(("what", "file"), [("config", "prometheus.yml"), ("rules", "alerts.yml")])
def test_promtool_finds_no_fault(what: str, file: str) -> None:
    run = subprocess.run(["promtool", "check", what, FOLDER / file], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
