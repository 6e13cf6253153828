"""All pairs of a model and an operation, run by the real inside of a worker against the simulator, and what became of each."""

import asyncio
import base64
import io
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any
from unittest.mock import patch

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler
from PIL import Image

from deploy.simulator.account import Options
from deploy.simulator.app import create_app
from shared.candidates import price_of
from shared.edit import EditSpec, InputRef, Role
from shared.job import JobRecord, JobState
from shared.operations import EXPAND_FIELDS
from shared.picture import read_info
from shared.settings import Settings
from shared.storage import Storage
from shared.store.connection import Scripts, open_redis
from shared.store.jobs import Jobs, NewJob
from tests import pictures, vendor_parameters
from tests.conftest import fresh_id
from tests.model_pairs import SIZE, SPOT, Pair
from tests.simulator_fixtures import serving
from worker.app import open_worker
from worker.providers import huggingface, stability, wavespeed

_SECRET = "only-for-the-table-of-models-0123456789"
_TENANT = "t1"
_ENDED_WITHIN_S = 120.0
_LOOK_S = 0.05


@dataclass(frozen=True)
class Request:
    """One paid call as it arrived. `body`: by name; texts as they were, pictures `described`."""

    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Ran:
    """One pair when its edit has ended. `price_usd`: what we say it costs; `billed_usd`: what the simulator wrote down for it.

    `delivered`: (width, height) of the stored file itself, None if there is none.
    """

    pair: Pair
    record: JobRecord
    delivered: tuple[int, int] | None
    requests: tuple[Request, ...]
    price_usd: Decimal
    billed_usd: tuple[Decimal, ...]

    def faults(self) -> list[str]:
        """What is not as it should be."""
        if self.record.state is not JobState.SUCCEEDED or self.record.course.geometry is None:
            return [f"{self.record.state}: {self.record.course.error}"]
        is_sent = self.pair.model.provider != "local"
        found = [] if len(self.requests) == is_sent else [f"{len(self.requests)} paid calls"]
        for request in self.requests:
            found += vendor_parameters.faults_of(self.pair.model.id, request.body)
            found += self._lost_wishes(request.body)
        if not self.delivered == self.record.course.geometry.delivered == self.pair.delivered:
            found.append(f"delivered {self.delivered}, {self.pair.delivered} were due")
        charged = self.record.cost_micro_usd or 0
        if not charged == round(self.price_usd * 1_000_000) == round(sum(self.billed_usd) * 1_000_000):
            found.append(f"charged {charged} µUSD, the price is {self.price_usd} USD, the provider took {sum(self.billed_usd)}")
        return found

    def _lost_wishes(self, body: Mapping[str, Any]) -> list[str]:
        """What was asked for and is not among the values that were sent; except what each model is told in its own way."""
        wishes = {**self.pair.wishes, **self.pair.wishes["options"]}
        sent = {str(value) for value in body.values()}
        ours = ("model", "operation", "options", "factor", *EXPAND_FIELDS)
        return [f"{name} was lost" for name, value in wishes.items() if name not in ours and value and str(value) not in sent]


class Recorder:
    """The paid calls that a simulator gets, before it looks at them itself."""

    def __init__(self) -> None:
        self._paths = vendor_parameters.declared_paths()
        self._requests: list[Request] = []

    @asynccontextmanager
    async def listening(self, app: web.Application) -> AsyncIterator[None]:
        """Watch the calls of `app`, which must not have been started."""
        async with aiohttp.ClientSession() as http:

            @web.middleware
            async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
                if request.path in self._paths:
                    self._requests.append(Request(request.path, await _received(request, http)))
                return await handler(request)

            app.middlewares.append(record)
            yield

    def requests_of(self, pair: Pair) -> tuple[Request, ...]:
        """Those to the pair's model that hold its prompt, if it has any."""
        return tuple(
            request
            for request in self._requests
            if self._paths[request.path] == pair.model.id and pair.prompt in (None, *request.body.values())
        )


async def run_pairs(pairs: Sequence[Pair], servers: Mapping[str, Any]) -> list[Ran]:
    """Run all of them together. `servers`: the fields of Settings that lead to an empty redis-server and an S3 server."""
    recorder, app = Recorder(), create_app(Options(latency_s=0.0, poll_pause_s=0.0, hold_s=0.0))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(recorder.listening(app))
        url = await stack.enter_async_context(serving(app))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        async with http.get(f"{url}/sim/env") as answer:
            variables = await answer.json()
        settings = Settings(
            secret=_SECRET,
            port=0,
            provider_env=variables,
            simulated=True,
            allow_volatile_redis=True,
            pool_processes=os.cpu_count() or 1,
            worker_slots=64,
            **servers,
        )
        redis = open_redis(settings)
        stack.push_async_callback(redis.aclose, close_connection_pool=True)
        jobs = Jobs(Scripts(redis, timeout_s=settings.redis_timeout_s), settings)
        stack.enter_context(_no_pauses())
        await stack.enter_async_context(_working(settings))
        storage = Storage(settings)
        ended = await asyncio.gather(*(_run(pair, jobs, storage) for pair in pairs))
        async with http.get(f"{url}/sim/ledger") as answer:
            ledger = (await answer.json())["submits"]
    return [
        Ran(pair, record, delivered, recorder.requests_of(pair), _price(pair, record), _billed(pair, ledger))
        for pair, (record, delivered) in zip(pairs, ended, strict=True)
    ]


def _no_pauses() -> ExitStack:
    """The pace of polling is the vendors'; here it would only be waited for."""
    with ExitStack() as stack:
        for provider in (wavespeed, stability, huggingface):
            stack.enter_context(patch.object(provider, "_POLL_S", 0.05))
        return stack.pop_all()


@asynccontextmanager
async def _working(settings: Settings) -> AsyncIterator[None]:
    """A worker with all that it has, taking edits."""
    async with open_worker(settings) as worker:
        main = asyncio.create_task(worker.async_run())
        try:
            yield
        finally:
            main.cancel()
            await asyncio.wait((main,))
            await worker.close()


async def _run(pair: Pair, jobs: Jobs, storage: Storage) -> tuple[JobRecord, tuple[int, int] | None]:
    """Submit the pair's edit and wait for its end."""
    inputs = [await _put(storage, pictures.photo(size=SIZE), Role.IMAGE)]
    if pair.takes_mask:
        mask = Image.new("L", SIZE)
        mask.paste(255, SPOT)
        inputs.append(await _put(storage, mask, Role.MASK))
    if pair.takes_reference:
        inputs.append(await _put(storage, pictures.photo("chelsea.png", (320, 240)), Role.REFERENCE))
    spec = EditSpec(inputs=tuple(inputs), **pair.wishes)
    lane, deadline_s = pair.model.provider, int(_ENDED_WITHIN_S)
    job = NewJob(id=fresh_id(), tenant=_TENANT, lane=lane, spec=spec, deadline_s=deadline_s, request_id="req-table")
    record = (await jobs.accept(job)).record
    due = time.monotonic() + _ENDED_WITHIN_S
    while not record.state.terminal:
        if time.monotonic() > due:
            raise TimeoutError(f"{pair.name} is still {record.state}, waiting on {record.waiting_on or 'nothing'}")
        await asyncio.sleep(_LOOK_S)
        record = await jobs.get(_TENANT, record.id)
    output = record.course.output
    return record, pictures.opened(await storage.get(output.key)).size if output else None


async def _put(storage: Storage, picture: Image.Image, role: Role) -> InputRef:
    """A picture in storage, as the gateway leaves it."""
    data = pictures.encoded(picture, "PNG")
    info = read_info(data, max_bytes=10**8, max_pixels=10**8, max_side=10**5, animated_first=True)
    key = f"in/{_TENANT}/{os.urandom(8).hex()}/{role}.png"
    await storage.put(key, data, content_type="image/png")
    return InputRef(role=role, key=key, info=info, sha256=sha256(data).hexdigest())


def _price(pair: Pair, record: JobRecord) -> Decimal:
    return price_of(record.spec, pair.model, SIZE)


def _billed(pair: Pair, ledger: Sequence[Mapping[str, Any]]) -> tuple[Decimal, ...]:
    """What the simulator charged for calls of this model with this prompt."""
    return tuple(
        Decimal(str(entry["usd"]))
        for entry in ledger
        if pair.model.path in (entry["model"], f"edit/{entry['model']}") and entry["prompt"].startswith(pair.prompt or "")
    )


async def _received(request: web.Request, http: aiohttp.ClientSession) -> dict[str, Any]:
    """The body by name. What is read here can be read again by the handler."""
    if request.content_type == "application/json":
        body = await request.json()
        fields: Mapping[str, Any] = body.get("input", body)
        return {name: await _legible(value, http) for name, value in fields.items()}
    form: dict[str, Any] = {}
    for name, field in (await request.post()).items():
        if isinstance(field, web.FileField):
            form[name] = described(field.file.read())
            field.file.seek(0)
        else:
            form[name] = field
    return form


async def _legible(value: Any, http: aiohttp.ClientSession) -> Any:
    """The value with the pictures that lie behind its addresses in words."""
    if isinstance(value, list):
        return [await _legible(item, http) for item in value]
    if isinstance(value, str) and value.startswith("data:"):
        return described(base64.b64decode(value.partition(",")[2]))
    if isinstance(value, str) and value.startswith("http"):
        async with http.get(value) as answer:
            return described(await answer.read())
    return value


def described(data: bytes) -> str:
    """A picture in words: format, mode, size, digest of its pixels, so that another encoder's file counts as the same."""
    with Image.open(io.BytesIO(data)) as picture:
        digest = sha256(picture.tobytes()).hexdigest()[:16]
        return f"{(picture.format or '').lower()} {picture.mode} {picture.width}×{picture.height} {digest}"
