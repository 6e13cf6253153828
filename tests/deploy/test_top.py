"""`edit-studio top` against a gateway: it prints what /metrics tells, and draws the queue of its own load."""

import asyncio
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from deploy.calling import call_async
from deploy.cli import _parser
from deploy.exit_codes import Exit
from deploy.top_figures import figures, look_at
from gateway.client.api_error import Unreachable
from tests.conftest import make_job
from tests.gateway.conftest import Api, api, gateway_settings
from tests.gateway.played_worker import working
from tests.servers import free_port

__all__ = ["api", "gateway_settings"]


async def top(api: Api, folder: Path, *words: str, url: str = "") -> tuple[Exit, str]:
    key = folder / "key"
    key.write_text(api.key)
    out = io.StringIO()
    options = _parser().parse_args(["top", *words, "--api", url or api.url, "--key-file", str(key)])
    async with asyncio.timeout(30):
        code = await call_async(options, Console(file=out, width=200))
    return code, out.getvalue()


async def test_a_load_is_submitted_watched_and_told_of_until_its_end(api: Api, tmp_path: Path) -> None:
    async with working(api):
        code, text = await top(api, tmp_path, "--load", "30", "--json")
    looks = [json.loads(line) for line in text.splitlines()]
    assert code is Exit.DONE
    assert looks[-1]["ended"] == {"succeeded": 30}
    assert looks[-1]["unfinished"] == 0
    assert looks[-1]["pickup_s"]["p50"] <= looks[-1]["pickup_s"]["p99"]
    assert looks[-1]["edit_s"]["p99"] > 0


async def test_a_look_shows_what_waits(api: Api, tmp_path: Path) -> None:
    for _ in range(7):
        await api.connections.jobs.accept(make_job())
    code, text = await top(api, tmp_path, "--once")
    assert code is Exit.DONE
    lines = {line[:20].strip(): line[20:].strip() for line in text.splitlines()}
    assert lines["queue"] == "█  7"
    assert lines["ready"].startswith("local 7 (oldest ")
    assert (lines["edits"], lines["workers"]) == ("0 running, 7 unfinished", "0 with 0 slots")
    assert lines["circuits"] == "all closed"


async def test_a_service_that_does_not_answer_is_said_to_be_unreachable(api: Api, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="tells no metrics"):
        await top(api, tmp_path, "--once", url=f"http://127.0.0.1:{free_port()}")


def test_quantiles_and_rates_are_of_what_happened_between_the_looks() -> None:
    def scrape(fast: int, slow: int) -> str:
        name = "edit_studio_pickup_seconds"
        rows = (("0.1", fast), ("1.0", fast + slow), ("+Inf", fast + slow))
        buckets = [f'{name}_bucket{{priority="interactive",le="{bound}"}} {number}' for bound, number in rows]
        ended = f'edit_studio_edits_finished_total{{outcome="succeeded"}} {fast + slow}'
        head = [f"# TYPE {name} histogram", *buckets, f"{name}_count {fast + slow}", f"{name}_sum 1"]
        return "\n".join([*head, "# TYPE edit_studio_edits_finished counter", ended, ""])

    first, before, now = (look_at(scrape(*at), at_s=at_s) for at_s, *at in ((0.0, 100, 0), (5.0, 100, 10), (10.0, 190, 20)))
    told = figures(first, before, now)
    assert told["ended"] == {"succeeded": 110}
    assert told["ended_per_s"] == 20
    assert told["pickup_s"] == {"p50": 0.0611, "p95": 0.7525, "p99": 0.9505}
    assert told["edit_s"]["p50"] is None
