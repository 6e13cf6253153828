"""What an edit of a megapixel JPEG costs the real worker, and how soon its result is there once the provider is done.

Same size and format back. The baseline fetches the same result, decodes it and stores it, and nothing else:
`python -m tests.bench.one_edit <url of the result>` does so at each request. Ours also fetches the input, checks the result
against it, makes two thumbnails and stores five objects. The time between two polls is the provider's pace and not counted.
"""

import asyncio
import hashlib
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from io import BytesIO

import aiohttp
import uvloop
from aiohttp import web
from PIL import Image

from shared.edit import EditSpec, InputRef, Role
from shared.parent import watch_parent
from shared.picture import read_info
from shared.settings import load_settings
from shared.storage import Storage
from shared.store.jobs import NewJob
from tests.bench.figures import Figure, Goal, Rounds, interleaved, percentile
from tests.bench.machine import measured
from tests.bench.polled_provider import LANE, MODEL, access, picture_bytes
from tests.bench.processes import TENANT, Child, Stack, child, stack, variables_of
from tests.bench.submit import serve
from tests.conftest import fresh_id

NAME = "edit"
_TOGETHER = 16
_ONE_BY_ONE = 6
_LONGEST_S = 60.0


async def run(rounds: Rounds) -> list[Figure]:
    """Many together for the processor time, one by one for the time that passes."""
    async with stack(storage=True) as servers, child("tests.bench.polled_provider", "0") as provider:
        picture = await stored_picture(servers)
        plain = await servers.start("tests.bench.one_edit", f"{provider.said}/result.jpg")
        worker = await servers.exits.enter_async_context(
            child("worker", **variables_of(servers.settings), **access(provider.said))
        )
        together, one_by_one = rounds.some(_TOGETHER), rounds.some(_ONE_BY_ONE)
        async with aiohttp.ClientSession() as session:

            async def fetch() -> None:
                async with session.post(f"{plain.said}/once") as answer:
                    if answer.status != 200:
                        raise RuntimeError(await answer.text())

            async def ours_together() -> None:
                await _ended(servers, await accept(servers, picture, together))

            async def plain_together() -> None:
                await asyncio.gather(*(fetch() for _ in range(together)))

            async def seen() -> dict[str, float]:
                seconds = []
                for _ in range(one_by_one):
                    (job,) = await accept(servers, picture, 1)
                    seconds.append(await _ended(servers, [job]) - await _told(session, provider, job))
                return {"p50": percentile(seconds, 0.5) * 1e3, "max": max(seconds) * 1e3}

            found = await interleaved(
                Rounds(max(1, rounds.count // 2), rounds.scale),
                plain_cpu=lambda: _cpu(plain, plain_together, together),
                cpu=lambda: _cpu(worker, ours_together, together),
                plain=lambda: _one_by_one(fetch, one_by_one),
                ours=seen,
            )
    notes = {"wall ms an edit": found["cpu"]["wall_ms"]}
    slowest = {"slowest": found["ours"]["max"]}
    ours, floor = found["cpu"]["ms"], found["plain_cpu"]["ms"]
    return [
        Figure(NAME, "worker around 1 MP JPEG", "ms CPU", ours, floor, Goal(1.3, "at most"), notes),
        Figure(
            NAME,
            "result seen after the provider is done",
            "ms",
            found["ours"]["p50"],
            found["plain"]["p50"],
            Goal(50, "at most", "ours"),
            slowest,
        ),
    ]


async def stored_picture(servers: Stack) -> InputRef:
    """A megapixel in storage, as the gateway leaves it."""
    data = picture_bytes()
    info = read_info(data, max_bytes=10**8, max_pixels=10**8, max_side=10**5, animated_first=True)
    key = f"in/{TENANT}/edit/image-0.jpg"
    await Storage(servers.settings).put(key, data, content_type="image/jpeg")
    return InputRef(role=Role.IMAGE, key=key, info=info, sha256=hashlib.sha256(data).hexdigest())


async def accept(servers: Stack, picture: InputRef, count: int) -> list[NewJob]:
    """So many edits by the provider, each with a prompt of its own."""
    jobs = []
    for _ in range(count):
        spec = EditSpec(prompt=f"paint it like {secrets.token_hex(8)}", inputs=(picture,), model=MODEL)
        jobs.append(NewJob(id=fresh_id(), tenant=TENANT, lane=LANE, spec=spec, deadline_s=900, request_id="req-bench"))
    await asyncio.gather(*(servers.jobs.accept(job) for job in jobs))
    return jobs


async def _ended(servers: Stack, jobs: list[NewJob]) -> float:
    """When the last of them ended, by Redis' clock."""
    async with asyncio.timeout(_LONGEST_S):
        while True:
            records = await asyncio.gather(*(servers.jobs.get(TENANT, job.id) for job in jobs))
            if failed := [record for record in records if record.state.terminal and record.course.output is None]:
                raise RuntimeError(f"an edit ended as {failed[0].state}: {failed[0].course.error}")
            if all(record.finished for record in records):
                return max(record.finished or 0 for record in records) / 1000
            await asyncio.sleep(0.1)


async def _told(session: aiohttp.ClientSession, provider: Child, job: NewJob) -> float:
    async with session.get(f"{provider.said}/told") as answer:
        return float((await answer.json())[job.spec.prompt])


async def _cpu(process: Child, work: Callable[[], Awaitable[None]], count: int) -> dict[str, float]:
    with measured({"process": process.pid}) as meter:
        await work()
    return {"ms": meter.cpu_s["process"] / count * 1e3, "wall_ms": meter.wall_s / count * 1e3}


async def _one_by_one(work: Callable[[], Awaitable[None]], count: int) -> dict[str, float]:
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        await work()
        seconds.append(time.perf_counter() - started)
    return {"p50": percentile(seconds, 0.5) * 1e3}


async def _serve(url: str) -> None:
    settings = load_settings()
    watch_parent(settings.parent_pid)
    storage, session = Storage(settings), aiohttp.ClientSession()

    def verify(data: bytes) -> None:
        with Image.open(BytesIO(data)) as picture:
            picture.load()

    async def once(_: web.Request) -> web.Response:
        async with session.get(url) as answer:
            data = await answer.read()
        await asyncio.to_thread(verify, data)
        await storage.put(f"out/{TENANT}/plain/{secrets.token_hex(8)}.jpg", data, content_type="image/jpeg")
        return web.Response()

    app = web.Application()
    app.router.add_post("/once", once)
    await serve(app)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
