"""What guarded HTTP is tested against: a web application with many moods, and a name server of our own."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from worker.fetch import GuardedHttp

OpenHttp = Callable[..., Awaitable[GuardedHttp]]
StartServer = Callable[..., Awaitable[TestServer]]

# Two addresses of this machine. With the fixture `two_worlds`, the first stands for the public internet.
PUBLIC, PRIVATE = "127.0.0.2", "127.0.0.1"


def port_of(server: TestServer) -> int:
    assert server.port is not None
    return server.port


class Names:
    """A name server of our own: each lookup of any name takes the next of `answers`, the last one for good."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


def free_on_every_address() -> int:
    """A port for servers on two addresses: one that was given out for the first may be taken on the second."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


class Place:
    """A web application that counts who came."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []
        self.release = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        match request.path:
            case "/picture":
                return web.Response(body=b"p" * 1000, content_type="image/png", headers={"Set-Cookie": "seen=1"})
            case "/to":
                # As it is: `web.HTTPFound` would write it anew.
                return web.Response(status=302, headers={"Location": request.query["url"]})
            case "/loop":
                raise web.HTTPFound(f"/loop?{len(self.requests)}")
            case "/hops":
                left = int(request.query["left"])
                raise web.HTTPFound(f"/hops?left={left - 1}" if left > 1 else "/picture")
            case "/nowhere":
                return web.Response(status=302)
            case "/silent":
                await self.release.wait()
            case "/stalls":
                stream = web.StreamResponse()
                await stream.prepare(request)
                await stream.write(b"p" * 10)
                await self.release.wait()
            case "/drips":
                stream = web.StreamResponse()
                await stream.prepare(request)
                while not self.release.is_set():
                    await stream.write(b"p")
                    await asyncio.sleep(0.01)
            case "/endless":
                stream = web.StreamResponse()
                await stream.prepare(request)
                for _ in range(10_000):
                    await stream.write(b"p" * 1000)
            case "/short":
                stream = web.StreamResponse(headers={"Content-Length": "1000"})
                await stream.prepare(request)
                await stream.write(b"p" * 10)
                assert request.transport is not None
                request.transport.close()
                return stream
            case "/packed":
                return web.Response(body=b"p" * 10, headers={"Content-Encoding": "gzip"})
        return web.Response(status=int(request.query.get("status", "404")), headers=[*request.query.items()], text="banner v1.2")
