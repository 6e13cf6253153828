"""WaveSpeed's API, v3, as the facts page tells it (section 1): envelope, tasks, history, uploads, prices, both error shapes.

Webhooks are not simulated; a submit that asks for one is refused.
"""

import asyncio
import base64
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from deploy.simulator.account import Account
from deploy.simulator.envelope import enveloped, read_object, refused, refused_bare
from deploy.simulator.faults import Fault, FaultUnknown, parse, split_prompt
from deploy.simulator.schema import Invalid, load_models
from deploy.simulator.silence import break_off, hang
from deploy.simulator.tasks import Task, Tasks
from deploy.simulator.uploads import Uploads, serve

_SYNC_WINDOW_S = 90.0
_FAULT_TEXTS = {
    401: "Invalid API key",
    402: "Insufficient balance",
    403: "Your API key lacks the role for this model",
    404: "model not found",
    429: "You have reached your concurrency limit",
}


class Api:
    """The routes. `prefix`: where they begin when they lie behind a router of somebody else's."""

    def __init__(self, account: Account, prefix: str = "") -> None:
        self._account = account
        self._prefix = prefix
        self._models = load_models("wavespeed", account.options.models_dir)
        self._tasks = Tasks(account)
        self._uploads = Uploads(account)

    def routes(self) -> list[web.RouteDef]:
        """All routes; the one that takes any model's path comes last."""
        api = f"{self._prefix}/api/v3"
        return [
            web.get(f"{api}/predictions/{{id}}/result", self._guarded(self._result)),
            web.get(f"{api}/predictions/{{id}}", self._guarded(self._result)),
            web.post(f"{api}/predictions", self._guarded(self._history)),
            web.post(f"{api}/predictions/delete", self._guarded(self._delete)),
            web.post(f"{api}/media/uploads", self._guarded(self._uploads.ticket)),
            web.post(f"{api}/media/upload/binary", self._guarded(self._uploads.form)),
            web.get(f"{api}/models", self._guarded(self._list_models)),
            web.post(f"{api}/model/price", self._guarded(self._price)),
            web.get(f"{api}/balance", self._guarded(self._balance)),
            web.put("/storage/{name}", self._uploads.put),
            web.get("/storage/{name}/{filename}", self._uploads.download),
            web.get(f"{self._prefix}/output/{{id}}/1.{{format}}", self._output),
            web.post(f"{api}/{{model:.+}}", self._guarded(self._submit)),
        ]

    async def close(self) -> None:
        """Stop the tasks."""
        await self._tasks.close()

    def _guarded(self, handler: Handler) -> Handler:
        """`handler` for callers with a key, while the API is up."""

        async def run(request: web.Request) -> web.StreamResponse:
            if self._account.is_down:
                return web.Response(status=503, text="Service Temporarily Unavailable")
            scheme, _, key = request.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or not key:
                return refused_bare(401, "missing API key")
            if not self._account.takes_key(key):
                return refused(401, "Invalid API key")
            return await handler(request)

        return run

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        model = self._models.get(request.match_info["model"])
        if model is None:
            return refused(404, "model not found")
        body = await read_object(request)
        try:
            model.check(body)
            prompt, faults = split_prompt(str(body.get("prompt", "")))
            faults += parse(request.headers.get("X-Sim", ""))
        except (Invalid, FaultUnknown) as error:
            return refused(400, str(error))
        if "webhook" in request.query:
            return refused_bare(400, "this server has no webhooks, with or without base64 output")
        if not self._account.takes_another(self._tasks.running):
            return refused(429, _FAULT_TEXTS[429])
        images, _ = model.media(body)
        struck = await self._account.strike(faults, prompt=str(body.get("prompt", "")), picture=images[0])
        if struck and struck[0].is_answer:
            return await self._answer_with(request, struck[0])
        task = self._tasks.start(model, body, prompt=prompt, faults=struck)
        if "lost-answer" in task.faults:
            break_off(request)
        if body.get("enable_sync_mode"):
            try:
                await asyncio.wait_for(task.ended.wait(), _SYNC_WINDOW_S)
            except TimeoutError:
                view = await self._view(request, task)
                return enveloped({**view, "code": 5004, "error": f"Sync mode timed out after {_SYNC_WINDOW_S:.0f} seconds"})
        return enveloped(await self._view(request, task))

    async def _answer_with(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        """The fault's answer in place of the submit's."""
        if fault.name == "hang":
            return await hang(self._account, request)
        status = int(fault.name)
        if status >= 500:  # What stands before the real API answers no JSON.
            return web.Response(status=status, text="<html><h1>Bad Gateway</h1></html>", content_type="text/html")
        answer = refused(status, _FAULT_TEXTS.get(status, f"simulated failure {status}"))
        if fault.seconds is not None:
            answer.headers["Retry-After"] = f"{fault.seconds:.0f}"
        return answer

    async def _result(self, request: web.Request) -> web.StreamResponse:
        task = self._tasks.get(request.match_info["id"])
        if task is None:
            return refused(404, "prediction not found")
        if status := task.later_status("poll"):
            return refused_bare(status, "simulated failure")
        return enveloped(await self._view(request, task))

    async def _history(self, request: web.Request) -> web.StreamResponse:
        body = await read_object(request)
        try:
            page, page_size = int(body.get("page", 1)), int(body.get("page_size", 20))
            after, before = (_unix(body.get(name)) for name in ("created_after", "created_before"))
        except (TypeError, ValueError):
            return refused(400, "invalid parameters")
        if page < 1 or not 1 <= page_size <= 100:
            return refused(400, "page from 1, page_size from 1 to 100")
        found = [
            task
            for task in self._tasks.newest_first()
            if body.get("model") in (None, task.model.path)
            and body.get("status") in (None, task.status)
            and (after is None or task.created_at >= after)
            and (before is None or task.created_at <= before)
        ]
        items = []
        for task in found[(page - 1) * page_size : page * page_size]:
            inputs = {"inputs": task.body} if self._account.options.history_inputs else {}
            items.append({**await self._view(request, task, inline=False), **inputs})
        return enveloped({"page": {"page": page, "page_size": page_size, "total": len(found)}, "items": items})

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        body = await read_object(request)
        if not isinstance(body.get("ids"), list):
            return refused(400, "ids must be a list")
        tasks = [task for task in map(self._tasks.get, map(str, body["ids"])) if task]
        for task in tasks:
            task.status, task.output = "deleted", None
        return enveloped({"deleted_count": len(tasks)})

    async def _output(self, request: web.Request) -> web.StreamResponse:
        task = self._tasks.get(request.match_info["id"])
        if task is not None and (status := task.later_status("output")):
            return web.Response(status=status)
        return serve(self._account, request, task.output if task else None)

    async def _list_models(self, _: web.Request) -> web.StreamResponse:
        return enveloped(
            [
                {
                    "model_id": model.path,
                    "name": model.name,
                    "type": "image-to-image",
                    "base_price": model.usd,
                    "description": model.name,
                }
                for model in self._models.values()
            ]
        )

    async def _price(self, request: web.Request) -> web.StreamResponse:
        body = await read_object(request)
        model = self._models.get(str(body.get("model_id")))
        if model is None:
            return refused(404, "model not found")
        usd = model.price_usd(body.get("inputs") or {})
        price = {"model_id": model.path, "price": usd, "discounted_price": usd, "discount_rate": 1, "currency": "USD"}
        return enveloped(price)

    async def _balance(self, _: web.Request) -> web.StreamResponse:
        return enveloped({"balance": round(self._account.options.balance_usd - self._account.ledger.total_usd, 6)})

    async def _view(self, request: web.Request, task: Task, *, inline: bool = True) -> dict[str, Any]:
        """The task as it is answered. `inline`: with base64 outputs where the submit asked for them."""
        outputs: list[Any] = []
        if task.status == "completed" and task.output and "no-outputs" not in task.faults:
            url = f"{request.url.origin()}{self._prefix}/output/{task.id}/1.{task.output.rpartition('.')[2]}"
            outputs = [{"url": url, "type": "image"} if "objects" in task.faults else url]
            if inline and task.body.get("enable_base64_output") and (found := self._account.files.get(task.output)):
                outputs = [await asyncio.to_thread(lambda: base64.b64encode(found[0].read_bytes()).decode())]
        created_at = datetime.fromtimestamp(task.created_at, UTC).isoformat(timespec="microseconds").replace("+00:00", "000Z")
        return {
            "id": task.id,
            "model": task.model.path,
            "status": task.status,
            "outputs": outputs,
            "has_nsfw_contents": ["nsfw" in task.faults] * len(outputs),
            "urls": {"get": f"{request.url.origin()}/api/v3/predictions/{task.id}/result"},
            "created_at": created_at,
            "error": task.error,
            "executionTime": task.took_ms,
            "timings": {"inference": task.took_ms},
            **({"code": task.code} if task.code else {}),
        }


def _unix(text: Any) -> float | None:
    return None if text is None else datetime.fromisoformat(str(text)).timestamp()
