"""The vendor's own client runs against the simulator: what it understands, ours has to understand as well."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wavespeed import Client

from deploy.simulator.paint import paint
from tests.simulator_fixtures import PictureServer, Simulator, make_picture, opened

MODEL = "wavespeed-ai/qwen-image/edit"


@pytest.fixture
def client(simulator: Simulator) -> Client:
    return Client(api_key="simulated-key", base_url=simulator.url, retry_interval=0.01)


@pytest.fixture
def run(client: Client, picture_server: PictureServer) -> Callable[..., Any]:
    """Client.run in a thread, with an input behind a link."""
    image = picture_server.add("input.png", make_picture())

    async def call(prompt: str = "make it blue", **options: Any) -> Any:
        return await asyncio.to_thread(client.run, MODEL, {"prompt": prompt, "image": image}, poll_interval=0.01, **options)

    return call


async def test_it_runs_an_edit(run: Callable[..., Any], simulator: Simulator) -> None:
    [output] = (await run())["outputs"]
    async with simulator.http.get(output) as response:
        assert opened(await response.read()).size == (96, 64)


async def test_it_runs_an_edit_in_the_synchronous_mode(run: Callable[..., Any]) -> None:
    assert len((await run(enable_sync_mode=True))["outputs"]) == 1


async def test_it_uploads_a_file_and_edits_it(client: Client, simulator: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "input.png"
    file.write_bytes(make_picture(50, 40))
    url = await asyncio.to_thread(client.upload, str(file))
    body = {"prompt": "make it blue", "image": url, "output_format": "png", "seed": 3}
    [output] = (await asyncio.to_thread(client.run, MODEL, body, poll_interval=0.01))["outputs"]
    async with simulator.http.get(output) as response:
        expected = paint([file.read_bytes()], prompt="make it blue", seed=3, size_for=lambda size: size, output_format="png")
        assert await response.read() == expected


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("402", "HTTP 402"),
        ("429", "concurrency limit"),
        ("5xx", "HTTP 503"),
        ("lost-answer", "did not return a response"),
        ("moderated", "sensitive information"),
        ("cancelled", "Prediction cancelled"),
        ("timeout", "Prediction timeout"),
    ],
)
async def test_it_reports_a_fault_in_its_own_words(run: Callable[..., Any], fault: str, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        await run(f"make it blue [[sim: {fault}]]")


async def test_it_sits_out_polls_that_fail_for_a_while(run: Callable[..., Any]) -> None:
    assert len((await run("make it blue [[sim: poll-503*2, poll-429*1]]"))["outputs"]) == 1


async def test_it_reports_a_wrong_key(simulator: Simulator) -> None:
    client = Client(api_key="invalid", base_url=simulator.url)
    with pytest.raises(RuntimeError, match="HTTP 401"):
        await asyncio.to_thread(client.run, MODEL, {"prompt": "x", "image": "y"})
