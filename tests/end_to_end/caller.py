"""What a caller of the stack does and sees: submits, webhooks, results; and what an edit must have come to."""

import asyncio
import io
import json
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import redis.asyncio
from aiohttp import web
from PIL import Image, ImageChops

from shared.job import API_PREFIX
from shared.signing import verify, webhook_secret
from tests.audit import audit
from tests.end_to_end.stack import SECRET, Stack
from tests.pictures import encoded, photo
from tests.simulator_fixtures import serving

SIZE = (384, 256)
PICTURE = encoded(photo(size=SIZE), "PNG")
LOCAL_PROMPT = "make it black and white"
TERMINAL = frozenset({"succeeded", "failed", "canceled"})
_POLL_S = 0.02
_CALL_S = 20.0
DEADLINE_S = 45.0
_TOLD_S = 75.0  #: a webhook whose sender was killed is due again after a minute


@dataclass
class Receiver:
    """Takes webhooks. `refuse`: how many more it answers with 503."""

    url: str = ""
    refuse: int = 0
    tries: int = 0
    ids: defaultdict[str, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )  #: job → webhook-id → how often taken
    states: dict[str, str] = field(default_factory=dict)

    async def take(self, request: web.Request) -> web.Response:
        """Refuses what is not signed with the tenant's secret, as a receiver should."""
        body = await request.read()
        self.tries += 1
        verify(webhook_secret(SECRET, "default", 1), request.headers, body, now_s=time.time())
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=503)
        job = json.loads(body)["data"]
        self.ids[job["id"]][request.headers["webhook-id"]] += 1
        self.states[job["id"]] = job["status"]
        return web.Response()


@dataclass(frozen=True)
class Answer:
    """Of the gateway. `status` 0: there was none."""

    status: int
    headers: dict[str, str]
    json: Any


class Caller:
    """One test's view of a stack."""

    def __init__(
        self,
        stack: Stack,
        http: aiohttp.ClientSession,
        store: "redis.asyncio.Redis",
        receiver: Receiver,
        *,
        url: str = "",
        api_key: str = "",
    ) -> None:
        """`url`, `api_key`: another gateway's, another tenant's; the stack's first ones if they are left out."""
        self.stack = stack
        self.url = url or stack.url
        self.api_key = api_key or stack.api_key
        self.http = http
        self.store = store
        self.receiver = receiver

    @property
    def headers(self) -> dict[str, str]:
        """Of its every request."""
        return {"Authorization": f"Bearer {self.api_key}"}

    async def post(self, prompt: str, *, key: str | None = None, **wishes: Any) -> Answer:
        """One submit, once. `key`: the Idempotency-Key."""
        form = aiohttp.FormData()
        wishes = {"prompt": prompt, "webhook_url": self.receiver.url, **wishes}
        form.add_field("request", json.dumps(wishes), content_type="application/json")
        form.add_field("image", PICTURE, filename="image", content_type="application/octet-stream")
        headers = {"Idempotency-Key": key} if key else {}
        return await self.call("POST", "/process", data=form, headers=headers)

    async def call(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> Answer:
        """Any request of the API."""
        own = {**self.headers, **(headers or {})}
        try:
            async with self.http.request(method, self.url + API_PREFIX + path, headers=own, **options) as answer:
                return Answer(answer.status, dict(answer.headers), await answer.json(content_type=None))
        except (aiohttp.ClientError, TimeoutError):
            return Answer(0, {}, None)

    async def get(self, path: str) -> Answer:
        """`path`: below the API's prefix."""
        return await self.call("GET", path)

    async def cancel(self, job_id: str) -> Answer:
        """Ask for its end."""
        return await self.call("POST", f"/jobs/{job_id}/cancel")

    async def submit(self, prompt: str, **wishes: Any) -> str:
        """Submit as a caller should: again with the same key until it is accepted. The edit's id."""
        key = uuid.uuid4().hex
        async with asyncio.timeout(DEADLINE_S):
            while (answer := await self.post(prompt, key=key, **wishes)).status != 202:
                assert answer.status in (0, 502, 503), answer
                await asyncio.sleep(0.1)
        return str(answer.json["id"])

    async def simulated(self, faults: str = "", **wishes: Any) -> str:
        """An edit by a polled, paid model. `faults`: for the simulator, as in `[[sim: slow=3s]]`."""
        tail = f" [[sim: {faults}]]" if faults else ""
        return await self.submit(f"paint it like {uuid.uuid4().hex}{tail}", model="qwen-edit", **wishes)

    async def local(self, **wishes: Any) -> str:
        """An exact edit, made in the worker's own pixel process: a synchronous call."""
        return await self.submit(LOCAL_PROMPT, **wishes)

    async def record(self, job_id: str) -> dict[str, str]:
        """The hash in Redis; empty while Redis is away."""
        try:
            found: dict[str, str] = await self.store.hgetall(f"job:{job_id}")  # type: ignore[misc]
        except (redis.exceptions.RedisError, OSError):
            return {}
        return found

    async def until(self, job_id: str, **wanted: str) -> dict[str, str]:
        """Wait until the record's fields have these values."""
        record: dict[str, str] = {}

        async def so() -> bool:
            nonlocal record
            record = await self.record(job_id)
            return all(record.get(name) == value for name, value in wanted.items())

        await until(so, lambda: f"{job_id} did not come to {wanted}: {record}")
        return record

    async def ended(self, job_id: str, *, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """The Job once it has ended."""
        job: dict[str, Any] = {}

        async def so() -> bool:
            nonlocal job
            answer = await self.get(f"/jobs/{job_id}?wait=5")
            if answer.status == 200:
                job = answer.json
            return job.get("status") in TERMINAL

        await until(so, lambda: f"{job_id} did not end: {job}", deadline_s=deadline_s)
        return job

    async def succeeded(self, *job_ids: str) -> list[dict[str, Any]]:
        """All of them ended well: right pictures, one event each, the store in order. Their Jobs."""
        jobs = []
        for job_id in job_ids:
            job = await self.ended(job_id)
            assert job["status"] == "succeeded", job
            await self.has_right_result(job)
            jobs.append(job)
        await self.heard_once(job_ids)
        await audit(self.store)
        return jobs

    async def has_right_result(self, job: dict[str, Any]) -> None:
        """As large as the input, and not the input."""
        async with self.http.get(job["urls"]["result"], headers=self.headers) as answer:
            data = await answer.read()
            assert answer.status == 200, data
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == SIZE
            edited = picture.convert("RGB")
        red, green, blue = edited.split()
        if job["provider"] == "local":
            assert red.tobytes() == green.tobytes() == blue.tobytes()
        else:
            assert red.tobytes() != green.tobytes()
        assert ImageChops.difference(edited, photo(size=SIZE)).getbbox() is not None

    async def heard_once(self, job_ids: Iterable[str]) -> None:
        """Every one was told under one webhook-id, with its last state."""
        wanted = set(job_ids)

        async def so() -> bool:
            return wanted <= self.receiver.ids.keys()

        await until(so, lambda: f"not told: {wanted - self.receiver.ids.keys()}", deadline_s=_TOLD_S)
        for job_id in wanted:
            assert len(self.receiver.ids[job_id]) == 1, self.receiver.ids[job_id]
            assert self.receiver.states[job_id] == (await self.record(job_id))["state"]

    async def times_billed(self, job: dict[str, Any]) -> int:
        """How often the simulator took money for it; `simulated` gives each edit a prompt of its own."""
        ledger = await asyncio.to_thread(self.stack.ledger)
        return sum(submit["prompt"] == job["prompt"] for submit in ledger)


@asynccontextmanager
async def calling(stack: Stack) -> AsyncIterator[Caller]:
    """A caller with connections and a receiver of its own."""
    receiver = Receiver()
    app = web.Application()
    app.add_routes([web.post("/hook", receiver.take)])
    store = redis.asyncio.Redis(port=stack.redis.port, decode_responses=True, socket_timeout=2)
    timeout = aiohttp.ClientTimeout(total=_CALL_S)
    async with serving(app) as url, aiohttp.ClientSession(timeout=timeout) as http:
        receiver.url = f"{url}/hook"
        try:
            yield Caller(stack, http, store, receiver)
        finally:
            await store.aclose(close_connection_pool=True)


async def until(
    fact: Callable[[], Awaitable[bool]], otherwise: Callable[[], str], *, deadline_s: float = DEADLINE_S, poll_s: float = _POLL_S
) -> None:
    """Wait for a fact; `otherwise` says what there was instead when it does not come."""
    try:
        async with asyncio.timeout(deadline_s):
            while not await fact():
                await asyncio.sleep(poll_s)
    except TimeoutError:
        raise AssertionError(otherwise()) from None
