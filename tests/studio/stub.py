"""The page's real routes and a scripted API: what it answers is checked against the gateway's own types."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from gateway.routes import studio
from gateway.routes.models import ModelList, RecommendAnswer
from gateway.routes.reference import OperationFields, OperationList, OperationView
from shared.catalog.load import load_catalog
from shared.ids import new_id
from shared.job import API_PREFIX, Job
from shared.learned import Learned
from shared.model_view import model_detail, model_view
from shared.operations import OPERATIONS
from tests.pictures import encoded, photo

PNG = encoded(photo("coffee.png", (60, 40)).convert("RGB"), "PNG")
_CATALOG = load_catalog()
_PROVIDERS = tuple(_CATALOG.providers)
_T = "2026-01-02T03:04:05.000Z"


def problem(status: int, code: str, detail: str, **more: Any) -> web.Response:
    """An error as the gateway writes it."""
    document = {
        "status": status,
        "code": code,
        "title": code,
        "detail": detail,
        "retryable": status >= 429,
        "request_id": "req_1",
    }
    return web.Response(status=status, text=json.dumps({**document, **more}), content_type="application/problem+json")


@dataclass
class Sent:
    """One request that the page made. `files`: of a form, name to bytes."""

    path: str
    body: Any
    headers: dict[str, str]
    files: dict[str, bytes] = field(default_factory=dict)


class Service:
    """What a test scripts, and what the page asked for. Edits move only when the test says so."""

    def __init__(self) -> None:
        self.available: tuple[str, ...] = _PROVIDERS
        self.recommended = "qwen-edit"
        self.reason = "Lowest cost option, Supports 600×400 resolution"
        self.downscale = False
        self.spending: dict[str, Any] | None = None
        self.quote_usd: float | None = None
        self.jobs: dict[str, dict[str, Any]] = {}
        self.sent: list[Sent] = []
        self.uploads: dict[str, bytes] = {}
        self.streams_refused = False
        self.answers: dict[str, list[Callable[[], web.StreamResponse]]] = {}
        self.last_event_ids: list[str | None] = []
        self.changed = asyncio.Event()
        self.url = ""

    def fail(self, path: str, answer: Callable[[], web.StreamResponse], *, times: int = 1) -> None:
        """The next `times` requests to `path` get this answer."""
        self.answers.setdefault(path, []).extend([answer] * times)

    def requests(self, path: str) -> list[Sent]:
        """What was sent there, oldest first."""
        return [sent for sent in self.sent if sent.path == path]

    def new_job(self, **fields: Any) -> dict[str, Any]:
        """A queued edit."""
        job_id = new_id("edit", now_ms=int(time.time() * 1000), random_bytes=os.urandom(16))
        here = f"{self.url}{API_PREFIX}/jobs/{job_id}"
        job: dict[str, Any] = {
            **dict.fromkeys(("requested_model", "model", "provider", "selection", "prompt", "output", "geometry", "error"), None),
            **dict.fromkeys(("batch_id", "custom_id", "parent_id", "started_at", "finished_at", "expires_at"), None),
            "id": job_id,
            "status": "queued",
            "operation": "general_edit",
            "input": {"width": 60, "height": 40, "format": "png", "bytes": 1, "sha256": "ab"},
            "adaptations": [],
            "cost": {"estimated": 0.02, "actual": None, "max": None, "lines": []},
            "attempts": [],
            "progress": {"stage": "queued", "waiting_on": "worker", "queue_position": 2, "eta_s": None},
            "metadata": {},
            "request_id": "req_1",
            "simulated": True,
            "created_at": _T,
            "urls": {"self": here, "cancel": here, "events": here, "result": here},
            **fields,
        }
        self.jobs[job_id] = self._checked(job)
        return self.jobs[job_id]

    def move(self, job_id: str, status: str, **fields: Any) -> None:
        """An edit's next state; streams tell of it."""
        job = {
            **self.jobs[job_id],
            "status": status,
            "started_at": _T,
            "model": self.jobs[job_id]["model"] or "qwen-edit",
            **fields,
        }
        if status in ("succeeded", "failed", "canceled"):
            job |= {"finished_at": "2026-01-02T03:04:09.000Z", "progress": {"stage": "done", "waiting_on": None}}
            job["cost"] = {**job["cost"], "actual": 0.02 if status == "succeeded" else 0.0}
        if status == "succeeded":
            job["output"] = {"url": f"{self.url}/x", "url_expires_at": _T, "width": 60, "height": 40, "format": "png"}
            job["output"] |= {"bytes": len(PNG), "sha256": "ab"}
        if status == "running":
            job["progress"] = {"stage": "editing", "waiting_on": "provider", "eta_s": None, **fields.get("progress", {})}
        self.jobs[job_id] = self._checked(job)
        self.changed.set()

    def _checked(self, job: dict[str, Any]) -> dict[str, Any]:
        fields = {name: value for name, value in job.items() if name in Job.model_fields}
        return {"object": "edit", **json.loads(Job.model_validate_json(json.dumps(fields)).model_dump_json())}

    # The routes.

    @web.middleware
    async def script(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Note what was asked; answer as scripted where something is."""
        path = request.path.removeprefix(API_PREFIX)
        if request.method == "POST":
            self.sent.append(await _read(request, path))
        queued = self.answers.get(path)
        if queued:
            return queued.pop(0)()
        response: web.StreamResponse = await handler(request)
        return response

    async def models(self, _: web.Request) -> web.Response:
        views = tuple(model_view(model, self.available, Learned()) for model in _CATALOG.models.values())
        return _json(ModelList(models=views, total=len(views), recommended=None).model_dump_json())

    async def model(self, request: web.Request) -> web.Response:
        detail = model_detail(_CATALOG.models[request.match_info["id"]], self.available, Learned(), shows_spend=False)
        return _json(detail.model_dump_json())

    async def operations(self, _: web.Request) -> web.Response:
        views = [
            OperationView(
                id=rules.operation,
                label=rules.label,
                description=rules.description,
                fields=OperationFields(
                    required=rules.required, one_of=rules.one_of, optional=rules.optional, refused=rules.refused
                ),
                models=tuple(m.id for m in _CATALOG.models.values() if rules.operation in m.operations),
            )
            for rules in OPERATIONS.values()
        ]
        return _json(OperationList(operations=tuple(views)).model_dump_json())

    async def limits(self, _: web.Request) -> web.Response:
        return _json(json.dumps({"image_max_bytes": 20 << 20, "image_max_pixels": 50_000_000, "image_max_side": 16_384}))

    async def usage(self, _: web.Request) -> web.Response:
        nothing = {"limit": None, "spent": 0, "reserved": 0, "left": None}
        return _json(json.dumps({"spending": {"daily": nothing, "monthly": self.spending or nothing}}))

    async def recommend(self, _: web.Request) -> web.Response:
        operation = self.sent[-1].body["operation"]
        excluded = [
            {"model_id": m.id, "code": "operation", "why": f"does not do {operation}"}
            for m in _CATALOG.models.values()
            if operation not in m.operations
        ]
        fields = {
            "recommended_model": self.recommended,
            "reason": self.reason,
            "alternatives": [
                {"model_id": "seedream-v4.5-edit", "name": "ByteDance Seedream V4.5 Edit", "cost": 0.04, "reason": "x"}
            ],
            "estimated_cost": float(_CATALOG.models[self.recommended].price.base),
            "score": 120.0,
            "score_breakdown": {"cost": 100.0, "resolution": 20.0},
            "excluded": excluded,
            "requires_downscale": self.downscale,
            "estimated_seconds": None,
        }
        known = {name: value for name, value in fields.items() if name in RecommendAnswer.model_fields}
        return _json(RecommendAnswer.model_validate_json(json.dumps(known)).model_dump_json())

    async def quote(self, _: web.Request) -> web.Response:
        body = self.sent[-1].body
        list_price = float(_CATALOG.models[body.get("model") or self.recommended].price.base)
        usd = list_price if self.quote_usd is None else self.quote_usd
        seconds = {"p50": 9.0, "p90": 14.0}
        return _json(json.dumps({"quote_id": "quote_1", "models": [], "total": usd, "estimated_seconds": seconds}))

    async def process(self, _: web.Request) -> web.Response:
        body = self.sent[-1].body
        job = self.new_job(requested_model=body.get("model"), model=body.get("model"), prompt=body.get("prompt"))
        return _json(json.dumps(job), status=202)

    async def retry(self, request: web.Request) -> web.Response:
        job = self.new_job(parent_id=request.match_info["id"], model=(self.sent[-1].body or {}).get("model"))
        return _json(json.dumps(job), status=202)

    async def list_jobs(self, _: web.Request) -> web.Response:
        newest = sorted(self.jobs.values(), key=lambda job: job["id"], reverse=True)
        return _json(json.dumps({"jobs": newest, "next_cursor": None}))

    async def job(self, request: web.Request) -> web.Response:
        return _json(json.dumps(self.jobs[request.match_info["id"]]))

    async def cancel(self, request: web.Request) -> web.Response:
        self.move(request.match_info["id"], "canceled")
        return await self.job(request)

    async def picture(self, _: web.Request) -> web.Response:
        return web.Response(body=PNG, content_type="image/png")

    async def events(self, request: web.Request) -> web.StreamResponse:
        """The edit at every change, cut in the middle of lines, with comments and CRLF."""
        self.last_event_ids.append(request.headers.get("Last-Event-ID"))
        if self.streams_refused:
            return problem(503, "overloaded", "no streams now")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        shown = None
        for number in range(1, 100):
            job = self.jobs[request.match_info["id"]]
            if job is not shown:
                shown = job
                text = f": hello\r\nevent: status\r\nid: {number}\r\ndata: {json.dumps(job)}\r\n\r\n".encode()
                for cut in range(0, len(text), 700):
                    await response.write(text[cut : cut + 700])
            if job["finished_at"] or self.streams_refused:
                break
            self.changed.clear()
            await self.changed.wait()
        await response.write_eof()
        return response

    async def feed(self, request: web.Request) -> web.Response:
        if request.query["wait"] == "0":
            return _json(json.dumps({"events": [], "next_cursor": "0-0"}))
        await asyncio.Event().wait()
        raise AssertionError

    async def batches(self, _: web.Request) -> web.Response:
        return _json(json.dumps({"batches": [], "next_cursor": None}))

    async def upload(self, _: web.Request) -> web.Response:
        upload_id = new_id("upl", now_ms=int(time.time() * 1000), random_bytes=os.urandom(16))
        return _json(json.dumps({"id": upload_id, "image_id": upload_id}), status=201)

    async def upload_content(self, request: web.Request) -> web.Response:
        self.uploads[request.match_info["id"]] = await request.read()
        return _json("{}")

    async def done(self, _: web.Request) -> web.Response:
        return _json("{}")

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """The service on a free port."""
        app = web.Application(middlewares=[self.script], client_max_size=64 << 20)
        studio.mount(app)
        job = f"{API_PREFIX}/jobs/{{id}}"
        gets = {"/models": self.models, "/models/{id}": self.model, "/operations": self.operations, "/limits": self.limits}
        gets |= {"/usage": self.usage, "/jobs": self.list_jobs, "/events": self.feed, "/batches": self.batches}
        for path, handler in gets.items():
            app.router.add_get(API_PREFIX + path, handler)
        for name, handler in {"": self.job, "/events": self.events, "/result": self.picture, "/input": self.picture}.items():
            app.router.add_get(job + name, handler)
        app.router.add_get(f"{job}/thumbnail", self.picture)
        posts = {"/recommend": self.recommend, "/quote": self.quote, "/process": self.process, "/jobs/{id}/retry": self.retry}
        posts |= {"/jobs/{id}/cancel": self.cancel, "/jobs/{id}/feedback": self.done}
        posts |= {"/uploads": self.upload, "/logout": self.done}
        app.router.add_put(f"{API_PREFIX}/uploads/{{id}}/content", self.upload_content)
        for path, handler in posts.items():
            app.router.add_post(API_PREFIX + path, handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = site.name if not site.name.endswith(":0") else f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.changed.set()
            await runner.cleanup()

    def counted(self) -> Counter[str]:
        """How often each path was asked for by POST."""
        return Counter(sent.path for sent in self.sent)


async def _read(request: web.Request, path: str) -> Sent:
    headers = dict(request.headers)
    if request.content_type != "multipart/form-data":
        text = await request.text()
        return Sent(path, json.loads(text) if text else None, headers)
    body, files = None, {}
    async for part in await request.multipart():
        data = await part.read(decode=True)  # type: ignore[union-attr]
        if part.name == "request":  # type: ignore[union-attr]
            body = json.loads(data)
        else:
            files[str(part.name)] = bytes(data)  # type: ignore[union-attr]
    return Sent(path, body, headers, files)


def _json(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="application/json", status=status)
