"""A gateway and a worker's inside on the same servers, and what is scraped of them."""

import os
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.routes import health
from shared.job import JobRecord
from tests.gateway.conftest import Api, api, gateway_settings
from tests.model_pairs import SIZE
from tests.pictures import encoded, photo
from tests.servers import RedisServer
from tests.simulator_fixtures import http, picture_server, simulator, start_simulator
from tests.telemetry.promql import Scrapes
from tests.worker.edit_bench import BLUE, EditBench, faulty
from tests.worker.edit_fixtures import bench, open_bench, pixel_processes, pool
from worker.deliver_webhook import WebhookSender
from worker.event_data import EventData
from worker.fetch import open_guarded

__all__ = [
    "api",
    "bench",
    "gateway_settings",
    "http",
    "open_bench",
    "picture_server",
    "pixel_processes",
    "pool",
    "simulator",
    "start_simulator",
]

PICTURE = encoded(photo(size=SIZE), "PNG")
MODEL = "qwen-edit"


@dataclass(repr=False)  # asyncio tells what a fixture's task gave, and in all this there is a catalogue to tell.
class World:
    """`at_s`: the time that the scrapes are given, whatever a clock says."""

    api: Api
    bench: EditBench
    redis_server: RedisServer
    scrapes: Scrapes = field(default_factory=Scrapes)
    at_s: float = 1_000_000.0

    async def beat(self) -> None:
        """A worker's heartbeat."""
        await self.bench.leases.renew("w1", slots=8, providers=tuple(self.bench.providers), held=())

    async def edit(self, faults: str = "", *, turns: int = 6, **options: Any) -> JobRecord:
        """An edit by a model that the simulator stands for, after so many turns or its end."""
        prompt = faulty(faults) if faults else f"{BLUE} {os.urandom(4).hex()}"
        record = await self.bench.accept(PICTURE, **{"prompt": prompt, "model": MODEL, **options})
        for _ in range(turns):
            record = await self.bench.work()
            if record.state.terminal:
                break
            if record.at == "wait":
                await self.bench.make_due(record)
        return record

    async def send_webhooks(self) -> None:
        """One pass of a worker's sender."""
        guarded = open_guarded(self.bench.settings)
        settings, connections = self.bench.settings, self.api.connections
        data = EventData(jobs=self.bench.jobs, batches=connections.batches, storage=self.bench.storage, settings=settings)
        sender = WebhookSender(
            outbox=connections.outbox, tenants=connections.tenants, http=guarded, settings=settings, render=data.of
        )
        await sender.run_once()
        await sender.close(within_s=10)
        await guarded.close()

    async def scrape(self, *, after_s: float = 60.0) -> str:
        """What Prometheus gets of two gateways so long after the last time: both tell the same of the service."""
        self.at_s += after_s
        answer = await self.api.get("//metrics")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        text = answer.body.decode()
        for instance in ("gateway-1", "gateway-2"):
            self.scrapes.add(text, self.at_s, instance)
        return text


@pytest.fixture
async def world(api: Api, bench: EditBench, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> World:
    # What is told is up to a second old; here a second later is said, not waited for.
    monkeypatch.setattr(health, "_CHECKED_S", -1.0)
    monkeypatch.setattr("shared.store.experience._CIRCUITS_S", -1.0)
    made = World(api, bench, redis_server)
    await made.beat()
    return made
