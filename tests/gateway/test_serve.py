"""One gateway process: it says where it listens, and leaves in order."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from shared.settings import Settings
from tests.servers import RedisServer, S3Server

_PROGRAM = """
import sys
from gateway.serve import run_gateway
from shared.settings import load_settings
sys.exit(run_gateway(load_settings()))
"""
_WAIT_S = 20.0


@asynccontextmanager
async def process(settings: Settings, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    names = ("redis_url", "secret", "s3_access_key", "s3_secret_key")
    variables = {f"EDIT_STUDIO_{name.upper()}": getattr(settings, name).get_secret_value() for name in names}
    variables |= {"EDIT_STUDIO_S3_ENDPOINT_URL": str(settings.s3_endpoint_url), "EDIT_STUDIO_PORT": str(settings.port)}
    variables |= {"EDIT_STUDIO_PARENT_PID": str(os.getpid()), "EDIT_STUDIO_ALLOW_VOLATILE_REDIS": "1"}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROGRAM,
        env={**os.environ, **variables, **more},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


@pytest.fixture
def wired(redis_server: RedisServer, s3_server: S3Server, settings: Settings) -> Settings:
    return Settings(
        **{**settings.model_dump(exclude_unset=True), **redis_server.settings, **s3_server.settings, "allow_volatile_redis": True}
    )


async def test_it_prints_its_address_serves_and_stops_on_sigterm(wired: Settings) -> None:
    async with process(wired) as child:
        assert child.stdout is not None
        async with asyncio.timeout(_WAIT_S):
            line = (await child.stdout.readline()).decode()
            name, url = line.split()
            assert name == "gateway"
            assert url.startswith("http://127.0.0.1:")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{url}/readyz") as answer:
                    assert await answer.json() == {"status": "ready", "store": "ok", "storage": "ok", "load": "ok"}
                # The connection is kept alive; the stop does not wait for it.
                child.send_signal(signal.SIGTERM)
                assert await child.wait() == 0


async def test_a_port_that_is_taken_is_said_in_one_line(wired: Settings) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    taken = wired.model_copy(update={"port": server.sockets[0].getsockname()[1]})
    async with process(taken) as child:
        async with asyncio.timeout(_WAIT_S):
            _, stderr = await child.communicate()
    server.close()
    await server.wait_closed()
    assert child.returncode == 1
    assert stderr.startswith(b"gateway: ")
    assert b"Traceback" not in stderr


async def test_a_held_request_is_answered_when_the_process_stops(wired: Settings) -> None:
    from gateway.app import create_app
    from gateway.connections import CONNECTIONS
    from gateway.serve import Listener

    app = create_app(wired)
    listener = Listener(app, host="127.0.0.1", port=0)
    url = await listener.start() + "/api/image-studio/edit"
    key, _ = await app[CONNECTIONS].tenants.create_key("t1", tier="pro", scopes=frozenset({"submit", "read"}), name="x")
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        body = {"image_url": "https://example.com/x.png", "prompt": "x"}
        async with session.post(f"{url}/process", json=body) as made:
            job_id = (await made.json())["id"]
        stream = await session.get(f"{url}/jobs/{job_id}/events")
        await stream.content.readuntil(b"\n\n")
        held = asyncio.create_task(session.get(f"{url}/jobs/{job_id}?wait=120"))
        while app[CONNECTIONS].metrics.in_flight < 2:
            await asyncio.sleep(0.005)
        async with asyncio.timeout(_WAIT_S):
            await listener.stop()
            answer = await held
            assert (answer.status, (await answer.json())["status"]) == (200, "queued")
            assert await stream.content.read() == b""


async def test_readiness_goes_first_and_requests_are_answered_until_the_end(wired: Settings) -> None:
    async with process(wired, EDIT_STUDIO_LEAVE_S="3") as child:
        assert child.stdout is not None
        async with asyncio.timeout(_WAIT_S), aiohttp.ClientSession() as session:
            url = (await child.stdout.readline()).decode().split()[1]
            child.send_signal(signal.SIGTERM)
            while True:
                async with session.get(f"{url}/readyz") as answer:
                    if answer.status == 503:
                        assert (await answer.json())["status"] == "leaving"
                        break
            # A newcomer who was sent here before that was known is served.
            async with aiohttp.ClientSession() as other, other.get(f"{url}/healthz") as answer:
                assert answer.status == 200
            assert await child.wait() == 0
