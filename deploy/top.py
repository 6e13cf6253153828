"""`edit-studio top`: what /metrics tells, once a second, on a terminal; with `--load`, of edits that it submits itself."""

import argparse
import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import aiohttp
from rich.console import Console
from rich.live import Live
from rich.table import Table

from deploy.arguments import add_output_options, count
from deploy.calling import print_json
from deploy.exit_codes import Exit
from deploy.service_access import access, add_access_options
from deploy.standalone.demo_pictures import PHOTOGRAPH
from deploy.top_figures import Look, figures, look_at
from gateway.client.api_error import Unreachable
from gateway.client.async_client import AsyncClient

_EVERY_S = 1.0
_LOOK_S = 10.0
_SUBMITS_AT_ONCE = 16
_BARS = " ▁▂▃▄▅▆▇█"
_SHOWN = 60


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    command = commands.add_parser("top", help="queues, workers, models and money as they stand", allow_abbrev=False)
    command.add_argument("--load", type=count, metavar="N", help="submit N free edits, and end when as many have ended")
    command.add_argument("--once", action="store_true", help="one look")
    add_output_options(command)
    add_access_options(command)
    command.set_defaults(verb=top)


async def top(options: argparse.Namespace, client: AsyncClient, console: Console) -> Exit:
    """With --json a line for each look. Raises ApiError."""
    address, _ = access(options)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_LOOK_S)) as http:
        first = before = await _look(http, address)
        depths: deque[int] = deque(maxlen=_SHOWN)
        load = asyncio.create_task(_submit(client, options.load or 0))
        try:
            with Live(console=console, auto_refresh=False) as live:
                while True:
                    now = await _look(http, address)
                    told = figures(first, before, now)
                    depths.append(sum(lane["ready"] for lane in told["queue"].values()))
                    if options.json:
                        print_json(told, console)
                    else:
                        live.update(_table(told, depths), refresh=True)
                    if load.done():
                        load.result()
                        if options.once or (options.load and sum(told["ended"].values()) >= options.load):
                            return Exit.DONE
                    before = now
                    await asyncio.sleep(_EVERY_S)
        finally:
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)


async def _look(http: aiohttp.ClientSession, address: str) -> Look:
    try:
        async with http.get(f"{address}/metrics") as answer:
            answer.raise_for_status()
            return look_at(await answer.text(), at_s=time.monotonic())
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Unreachable(0, Unreachable.code, f"{address} tells no metrics") from error


async def _submit(client: AsyncClient, number: int) -> None:
    """So many edits that cost nothing, some at once. Raises ApiError."""
    turns = asyncio.Semaphore(_SUBMITS_AT_ONCE)

    async def one(nth: int) -> None:
        async with turns:
            await client.submit(PHOTOGRAPH, prompt=f"brightness +{1 + nth % 50}%")

    async with asyncio.TaskGroup() as group:
        for nth in range(number):
            group.create_task(one(nth))


def _table(told: Mapping[str, Any], depths: deque[int]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    lanes = "   ".join(f"{lane} {one['ready']} (oldest {one['oldest_s']:.1f} s)" for lane, one in told["queue"].items())
    waits = "   ".join(f"{priority} {seconds:.1f} s" for priority, seconds in told["oldest_wait_s"].items())
    lags = "   ".join(f"{process} {seconds * 1000:.0f} ms" for process, seconds in told["loop_lag_s"].items())
    ended = "   ".join(f"{outcome} {number}" for outcome, number in told["ended"].items())
    rows = {
        "queue": _drawn(depths),
        "ready": lanes or "nothing",
        "waits for a worker": waits,
        "edits": f"{told['running']} running, {told['unfinished']} unfinished",
        "workers": f"{told['workers']} with {told['slots']} slots",
        "ended": f"{told['ended_per_s']:.1f}/s   {ended}",
        "accepted → taken": _times(told["pickup_s"]),
        "accepted → ended": _times(told["edit_s"]),
        "calls of models": _times(told["provider_call_s"]),
        "spend": f"{told['spend_usd']} USD",
        "circuits": ", ".join(told["circuits"]) or "all closed",
        "webhooks": f"{told['webhook_backlog']} not delivered, {told['webhook_attempts_per_s']:.1f} attempts/s",
        "requests": f"{told['requests_per_s']:.1f}/s",
        "event loops late by": lags,
        "Redis": f"{told['store_memory_share']:.0%} of its memory" if told["store_up"] else "[red]does not answer[/]",
    }
    for name, text in rows.items():
        table.add_row(f"[dim]{name}[/]", text)
    return table


def _drawn(depths: deque[int]) -> str:
    """The last minute of the queue."""
    most = max(1, *depths)
    return "".join(_BARS[-(-depth * (len(_BARS) - 1) // most)] for depth in depths) + f"  {depths[-1]}"


def _times(quantiles: Mapping[str, float | None]) -> str:
    return "   ".join(f"{name} {'–' if seconds is None else f'{seconds:.3f} s'}" for name, seconds in quantiles.items())
