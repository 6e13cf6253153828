"""Bodies of 10 MB: the gateway's own intake beside a server that only reads them.

What is measured is the intake: read, check, decode, digest, picture's header; not the upload to S3 that follows it. The floor
of a form is a body that is written to a file and digested as it comes. `python -m tests.bench.body` serves all of them;
`python -m tests.bench.body <url> <kind>` sends bodies on four connections until it is ended.
"""

import asyncio
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import AsyncExitStack
from io import BytesIO

import pybase64
import uvloop
from aiohttp import web
from PIL import Image

from gateway.app import open_connections
from gateway.connections import CONNECTIONS
from gateway.intake import read_submission
from gateway.serve import Listener
from shared.parent import watch_parent
from shared.settings import load_settings
from tests.bench.figures import Figure, Goal, Measure, Rounds, interleaved, percentile
from tests.bench.http_load import request, send
from tests.bench.machine import measured
from tests.bench.processes import PROMPT, TENANT, Child, stack

NAME = "body"
_BODIES = 24
_SMALL = 300
_BODY_BYTES = 10_000_000
_BOUNDARY = "bench-boundary-7d1f"
_FLUSH_BYTES = 1024 * 1024


async def run(rounds: Rounds) -> list[Figure]:
    """One body at a time for the processor time, then four at once beside small requests."""
    async with stack(storage=True) as servers:
        server = await servers.start("tests.bench.body")
        bodies = {kind: _body(kind) for kind in ("json", "form")}
        count = rounds.some(_BODIES)

        def load(path: str, kind: str) -> Measure:
            async def measure() -> dict[str, float]:
                message = _message(f"{server.said}/{path}", kind, bodies[kind])
                with measured({"server": server.pid}) as meter:
                    await send(server.said, [message] * count, connections=1, expect=200)
                return {"ms": meter.cpu_s["server"] / count * 1e3, "wall": meter.wall_s / count * 1e3}

            return measure

        found = await interleaved(
            rounds,
            json_read=load("read", "json"),
            json=load("intake", "json"),
            form_read=load("spool", "form"),
            form=load("intake", "form"),
        )
        small = await interleaved(
            Rounds(max(1, rounds.count // 2), rounds.scale),
            alone=lambda: _small(server, None, rounds.some(_SMALL)),
            json=lambda: _small(server, "json", rounds.some(_SMALL)),
            form=lambda: _small(server, "form", rounds.some(_SMALL)),
        )

    def figure(what: str, name: str, floor: str, bound: float) -> Figure:
        notes = {"wall ms": found[name]["wall"], "baseline wall ms": found[floor]["wall"]}
        return Figure(NAME, what, "ms CPU", found[name]["ms"], found[floor]["ms"], Goal(bound, "at most"), notes)

    def beside(kind: str, what: str) -> Figure:
        notes = {"p50": small[kind]["p50"]}
        return Figure(NAME, what, "ms", small[kind]["p99"], small["alone"]["p99"], Goal(60, "at most", "ours"), notes)

    return [
        figure("10 MB base64 JSON against reading it only", "json", "json_read", 2.5),
        figure("10 MB form against spooling it", "form", "form_read", 1.3),
        beside("json", "small GET beside four of JSON, p99"),
        beside("form", "small GET beside four forms, p99"),
    ]


async def _small(server: Child, kind: str | None, count: int) -> dict[str, float]:
    """Latency in ms of small requests, a few a moment, while others send large bodies."""
    async with AsyncExitStack() as exits:
        if kind is not None:
            sender = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.bench.body", f"{server.said}/intake", kind, stdout=asyncio.subprocess.PIPE
            )

            async def end() -> None:
                sender.kill()
                await sender.wait()

            exits.push_async_callback(end)
            assert sender.stdout is not None
            await asyncio.wait_for(sender.stdout.readline(), 30)

        def paced() -> Iterable[bytes]:
            for _ in range(count):
                yield request("GET", f"{server.said}/small")

        answers = await send(server.said, paced(), connections=1, expect=200)
    return {"p50": percentile(answers.seconds, 0.5) * 1e3, "p99": percentile(answers.seconds, 0.99) * 1e3}


def _body(kind: str) -> bytes:
    """A noisy picture in a request of about 10 MB."""
    picture_bytes = _BODY_BYTES if kind == "form" else _BODY_BYTES * 3 // 4
    side = int((picture_bytes / 3) ** 0.5)
    file = BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).save(file, "PNG", compress_level=0)
    if kind == "json":
        return b'{"prompt":"%b","image_base64":"%b"}' % (PROMPT.encode(), pybase64.b64encode(file.getvalue()))
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n{PROMPT}\r\n--{_BOUNDARY}\r\n'
    head += 'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return head.encode() + file.getvalue() + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _message(url: str, kind: str, body: bytes) -> bytes:
    content_type = "application/json" if kind == "json" else f"multipart/form-data; boundary={_BOUNDARY}"
    return request("POST", url, headers={"Content-Type": content_type}, body=body)


async def _serve() -> None:
    settings = load_settings()
    watch_parent(settings.parent_pid)

    async def read(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    async def spool(request: web.Request) -> web.Response:
        held, digest = bytearray(), hashlib.sha256()
        with tempfile.TemporaryFile() as file:

            def write(data: bytes) -> None:
                file.write(data)
                digest.update(data)

            while piece := await request.content.readany():
                held += piece
                if len(held) >= _FLUSH_BYTES:
                    await asyncio.to_thread(write, bytes(held))
                    held.clear()
            await asyncio.to_thread(write, bytes(held))
        return web.Response()

    async def intake(request: web.Request) -> web.Response:
        async with read_submission(request, connections, TENANT) as submission:
            return web.Response(text=str(len(submission.pictures)))

    async def small(request: web.Request) -> web.Response:
        return web.Response()

    async with AsyncExitStack() as exits:
        app = web.Application(client_max_size=settings.body_max_bytes)
        connections = await open_connections(settings, exits)
        app[CONNECTIONS] = connections
        for path, handler in (("/read", read), ("/spool", spool), ("/intake", intake)):
            app.router.add_post(path, handler)
        app.router.add_get("/small", small)
        listener = Listener(app, host="127.0.0.1", port=0)
        sys.stdout.write(f"ready {await listener.start()}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def _send_for_ever(url: str, kind: str) -> None:
    message = _message(url, kind, _body(kind))

    def endless() -> Iterable[bytes]:
        while True:
            yield message

    sending = asyncio.create_task(send(url, endless(), connections=4, expect=200))
    await asyncio.sleep(0.5)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await sending


if __name__ == "__main__":
    uvloop.run(_send_for_ever(*sys.argv[1:3]) if len(sys.argv) > 2 else _serve())
