"""A provider that answers each call after a while and does nothing else. `python -m tests.bench.slow_provider <seconds>`."""

import asyncio
import os
import sys

import uvloop
from aiohttp import web

from shared.parent import watch_parent
from tests.bench.submit import serve


async def _serve(seconds: float) -> None:
    watch_parent(int(os.environ["EDIT_STUDIO_PARENT_PID"]))

    async def call(_: web.Request) -> web.Response:
        await asyncio.sleep(seconds)
        return web.json_response({"status": "completed"})

    app = web.Application()
    app.router.add_post("/call", call)
    await serve(app)


if __name__ == "__main__":
    uvloop.run(_serve(float(sys.argv[1])))
