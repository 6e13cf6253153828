"""Webhooks: a full outbox sent by the real sender, signed and settled, beside plain POSTs of the same size.

`python -m tests.bench.webhooks` is the receiver: one process that listens on 16 ports, since one endpoint gets 4 sends at once.
"""

import asyncio
import contextlib
import json
import os
import sys

import aiohttp
import uvloop
from aiohttp import web

from shared.parent import watch_parent
from shared.store.tenants import Tenants
from shared.store.webhooks import Delivery, Outbox
from tests.bench.figures import Figure, Goal, Rounds, interleaved
from tests.bench.machine import measured
from tests.bench.processes import TENANT, Stack, child, stack
from worker.deliver_webhook import WebhookSender
from worker.fetch import open_guarded

NAME = "webhooks"
_EVENTS = 2_000
_PORTS = 16
_SENDS = 64
_BODY = json.dumps({"id": "edit_" + "0" * 26, "status": "succeeded", "padding": "x" * 1_400}).encode()
_LONGEST_S = 60.0
_LOOK_S = 0.02


async def run(rounds: Rounds) -> list[Figure]:
    """Sender and plain client in this process, in turn."""
    count = rounds.some(_EVENTS)
    async with stack(allow_private_urls=True) as servers, child("tests.bench.webhooks") as receiver:
        urls = [f"http://127.0.0.1:{port}/hook" for port in receiver.said.split(",")]
        found = await interleaved(rounds, baseline=lambda: _plain(urls, count), ours=lambda: _signed(servers, urls, count))
    baseline, ours = found["baseline"], found["ours"]
    notes = {"baseline cpu_us": baseline["cpu_us sender"], "cpu_us": ours["cpu_us sender"], "redis cpu_us": ours["cpu_us redis"]}
    return [Figure(NAME, "due events, 16 endpoints", "posts/s", ours["per_s"], baseline["per_s"], Goal(0.7), notes)]


async def _plain(urls: list[str], count: int) -> dict[str, float]:
    numbers = iter(range(count))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post_on() -> None:
            for number in numbers:
                async with session.post(urls[number % len(urls)], data=_BODY) as answer:
                    await answer.read()

        with measured({"sender": os.getpid()}) as meter:
            await asyncio.gather(*(post_on() for _ in range(_SENDS)))
    return meter.each(count)


async def _signed(servers: Stack, urls: list[str], count: int) -> dict[str, float]:
    outbox = Outbox(servers.scripts)
    made = [outbox.add_test(TENANT, urls[number % len(urls)]) for number in range(count)]
    for start in range(0, count, 500):
        await asyncio.gather(*made[start : start + 500])

    async def render(delivery: Delivery) -> bytes:
        return _BODY

    http = open_guarded(servers.settings)
    tenants = Tenants(servers.scripts, servers.settings)
    sender = WebhookSender(outbox=outbox, tenants=tenants, http=http, settings=servers.settings, render=render)
    room = asyncio.Event()
    sender.on_room = room.set
    try:
        async with asyncio.timeout(_LONGEST_S):
            with measured({"sender": os.getpid(), "redis": servers.redis_server.pid}) as meter:
                while int(await servers.scripts.command("ZCARD", "outbox")):
                    await sender.run_once()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(room.wait(), _LOOK_S)
                    room.clear()
    finally:
        await sender.close(within_s=5)
        await http.close()
    return meter.each(count)


async def _serve() -> None:
    watch_parent(int(os.environ["EDIT_STUDIO_PARENT_PID"]))

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    for _ in range(_PORTS):
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    ports = ",".join(str(address[1]) for address in runner.addresses)
    sys.stdout.write(f"ready {ports}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
