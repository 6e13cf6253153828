"""`edit-studio listen`: the feed becomes signed webhooks on this machine, over restarts of either side."""

import asyncio
import base64
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from gateway.app import create_app
from gateway.client.api_error import ApiError
from gateway.client.async_client import AsyncClient
from gateway.client.listen import KINDS, LATEST, Forwarded, Listener
from gateway.connections import CONNECTIONS
from gateway.serve import Listener as Gateway
from shared.settings import Settings
from shared.signing import webhook_secret
from tests.conftest import SECRET
from tests.gateway.conftest import Api
from tests.pictures import samples
from tests.servers import free_port

PNG = samples()["png"]
_WAIT_S = 20.0


class Receiver:
    """Verifies what it gets; answers from `answers`, the last one for good. "hang": only when it is released."""

    def __init__(self) -> None:
        self.answers: list[int | str] = [204]
        self.events: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.release = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        event = Webhook(webhook_secret(SECRET, "t1", 1)).verify(body, dict(request.headers))
        self.events.append(event)
        self.ids.append(request.headers["webhook-id"])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == "hang":
            await self.release.wait()
            answer = 204
        return web.Response(status=int(answer))

    def told(self) -> list[tuple[str, str]]:
        return [(event["type"], event["data"]["id"]) for event in self.events]


class Notes:
    """What a listener said, and how far it got."""

    def __init__(self) -> None:
        self.forwarded: list[Forwarded] = []
        self.troubles: list[str] = []
        self.cursor = LATEST

    async def reached(self, cursor: str) -> None:
        self.cursor = cursor


@pytest.fixture
async def receiver(aiohttp_server: Any) -> AsyncIterator[tuple[Receiver, str]]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/hook", made.take)
    server = await aiohttp_server(app)
    yield made, str(server.make_url("/hook"))
    made.release.set()


@pytest.fixture
async def listening() -> AsyncIterator[Callable[..., Awaitable[Notes]]]:
    """Starts listeners; each has found its place when it is handed out."""
    tasks: list[asyncio.Task[Any]] = []
    async with contextlib.AsyncExitStack() as stack:

        async def start(url: str, key: str, forward_to: str, *, after: str = LATEST, kinds: tuple[str, ...] = KINDS) -> Notes:
            notes = Notes()
            client = await stack.enter_async_context(AsyncClient(url, key))
            listener = Listener(client, forward_to, kinds, notes.forwarded.append, notes.troubles.append, notes.reached)
            tasks.append(asyncio.create_task(listener.run(after)))
            await until(lambda: notes.cursor != LATEST or tasks[-1].done())
            return notes

        yield start
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WAIT_S):
        while not fact():
            await asyncio.sleep(0.01)


async def submitted(api: Api) -> str:
    body = {"image_base64": base64.b64encode(PNG).decode(), "prompt": "x"}
    job_id: str = (await api.post("/process", json=body)).json["id"]
    return job_id


async def ended(api: Api) -> str:
    job_id = await submitted(api)
    await api.finish(job_id, PNG)
    return job_id


async def canceled(api: Api) -> str:
    job_id = await submitted(api)
    await api.post(f"/jobs/{job_id}/cancel")
    return job_id


async def test_ends_are_forwarded_signed_in_order_and_once(api: Api, receiver: Any, listening: Any) -> None:
    taken, url = receiver
    await ended(api)
    notes = await listening(api.url, api.key, url)
    good, bad = await ended(api), await canceled(api)
    await until(lambda: len(taken.events) == 2)
    assert taken.told() == [("edit.succeeded", good), ("edit.canceled", bad)]
    assert taken.events[0]["data"]["status"] == "succeeded"
    page = (await api.get("/events")).json["events"]
    assert taken.ids == [event["event_id"] for event in page if event["type"] in KINDS][1:]
    assert [(one.status, one.fault) for one in notes.forwarded] == [(204, "")] * 2
    await until(lambda: notes.cursor == page[-1]["id"])
    assert notes.troubles == []


async def test_only_the_events_that_were_asked_for_are_forwarded(api: Api, receiver: Any, listening: Any) -> None:
    taken, url = receiver
    await listening(api.url, api.key, url, kinds=("edit.canceled",))
    await ended(api)
    bad = await canceled(api)
    await until(lambda: len(taken.events) > 0)
    assert taken.told() == [("edit.canceled", bad)]


async def test_what_the_receiver_answers_is_told_and_nothing_stops(api: Api, receiver: Any, listening: Any) -> None:
    taken, url = receiver
    taken.answers = [500, 301, 204]
    notes = await listening(api.url, api.key, url)
    for _ in range(3):
        await ended(api)
    await until(lambda: len(notes.forwarded) == 3)
    assert [one.status for one in notes.forwarded] == [500, 301, 204]


async def test_a_receiver_that_is_not_there_or_hangs_is_told(
    api: Api, receiver: Any, listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.client.listen._RECEIVER_S", 0.2)
    taken, url = receiver
    taken.answers = ["hang"]
    away = await listening(api.url, api.key, f"http://127.0.0.1:{free_port()}/hook")
    slow = await listening(api.url, api.key, url)
    await ended(api)
    await until(lambda: bool(away.forwarded and slow.forwarded))
    assert (away.forwarded[0].status, slow.forwarded[0].status) == (None, None)
    assert away.forwarded[0].fault.startswith("cannot be reached")
    assert slow.forwarded[0].fault.startswith("no answer within")


async def test_it_goes_on_after_the_gateway_was_away(
    gateway_settings: Settings, real_redis: Any, receiver: Any, listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.client.listen._AGAIN_S", 0.05)
    taken, url = receiver
    port = free_port()

    @contextlib.asynccontextmanager
    async def gateway() -> AsyncIterator[Any]:
        app = create_app(gateway_settings)
        serving = Gateway(app, host="127.0.0.1", port=port)
        await serving.start()
        try:
            yield app[CONNECTIONS]
        finally:
            await serving.stop()

    async with gateway() as connections:
        key, _ = await connections.tenants.create_key("t1", tier="pro", scopes=frozenset({"read", "admin"}), name="test")
        notes = await listening(f"http://127.0.0.1:{port}", key, url)
    await until(lambda: len(notes.troubles) == 1)
    await real_redis.xadd("feed:t1", {"type": "edit.queued", "id": "edit_1", "nth": ""})
    async with gateway():
        await until(lambda: len(notes.troubles) == 2)
        (told,) = [entry for entry, _ in await real_redis.xrange("feed:t1")]
        await until(lambda: notes.cursor == told)
    assert "does not answer" in notes.troubles[0]
    assert notes.troubles[1] == "the service answers again"
    assert taken.events == []


async def test_a_cursor_that_is_too_old_is_told_and_left(api: Api, receiver: Any, listening: Any) -> None:
    taken, url = receiver
    await ended(api)
    notes = await listening(api.url, api.key, url, after="1-0")
    await until(lambda: bool(notes.troubles))
    assert "no longer kept" in notes.troubles[0]
    await until(lambda: notes.cursor != LATEST)
    new = await ended(api)
    await until(lambda: bool(taken.events))
    assert taken.told() == [("edit.succeeded", new)]


async def test_a_refused_key_ends_it(api: Api, receiver: Any) -> None:
    _, url = receiver
    notes = Notes()
    async with AsyncClient(api.url, "es_wrong") as client:
        listener = Listener(client, url, KINDS, notes.forwarded.append, notes.troubles.append, notes.reached)
        with pytest.raises(ApiError) as refused:
            await listener.run(LATEST)
    assert refused.value.code == "unauthorized"


@contextlib.asynccontextmanager
async def command(*arguments: str) -> AsyncIterator["asyncio.subprocess.Process"]:
    """The command as users run it; ended with SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.cli", "listen", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), _WAIT_S)


async def test_the_command_goes_on_where_it_ended(api: Api, receiver: Any, tmp_path: Path) -> None:
    taken, url = receiver
    (tmp_path / "key").write_text(api.key)
    cursor = tmp_path / "cursor"
    asked = ("--api", api.url, "--key-file", str(tmp_path / "key"), "--cursor-file", str(cursor), "--forward-to", url)
    async with command(*asked) as first:
        await until(cursor.exists)
        one = await ended(api)
        await until(lambda: len(taken.events) == 1)
        last = (await api.get("/events")).json["next_cursor"]
        await until(lambda: cursor.read_text() == last)
    assert first.returncode == 0
    assert first.stdout is not None
    said = (await first.stdout.read()).decode()
    assert f"edit.succeeded   {one}  204" in said
    two = await ended(api)
    async with command(*asked):
        await until(lambda: len(taken.events) == 2)
    assert taken.told() == [("edit.succeeded", one), ("edit.succeeded", two)]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "--forward-to"),
        (("--forward-to", "ftp://x"), 2, "not an http"),
        (("--forward-to", "http://127.0.0.1:9/", "--events", "edit.sent"), 2, "edit.sent"),
        (("--forward-to", "http://127.0.0.1:9/", "--data-dir", "/nonexistent"), 5, "--key-file"),
    ],
)
async def test_what_is_wrong_with_the_command_is_said(arguments: tuple[str, ...], code: int, said: str) -> None:
    async with command(*arguments) as process:
        assert process.stdout is not None
        output = (await process.stdout.read()).decode()
        await asyncio.wait_for(process.wait(), _WAIT_S)
    assert process.returncode == code
    assert said in output
    assert "Traceback" not in output
