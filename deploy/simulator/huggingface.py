"""Hugging Face's router, as the facts page tells it (section 2): the queue of fal-ai, Replicate's predictions, WaveSpeed's tasks.

Unlike the real ones, the sub-providers refuse parameters that they do not know. Other sub-providers are not simulated.
"""

import asyncio
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from deploy.simulator import wavespeed
from deploy.simulator.account import Account
from deploy.simulator.envelope import read_object, refused_bare
from deploy.simulator.faults import Fault, FaultUnknown, parse, split_prompt
from deploy.simulator.schema import Invalid, load_models
from deploy.simulator.silence import break_off, hang
from deploy.simulator.tasks import Task, Tasks
from deploy.simulator.uploads import serve

_FAULT_TEXTS = {
    401: "Invalid username or password.",
    402: "You have exceeded your monthly included credits for Inference Providers.",
    403: "This authentication method does not have sufficient permissions to call Inference Providers.",
    404: "Not Found",
    429: "Too many requests",
}
_IMAGE_NAMES = ("image_url", "image_urls", "image", "images", "input_image", "input_images")
_QUEUE_STATUS = {"created": "IN_QUEUE", "processing": "IN_PROGRESS", "cancelled": "CANCELED"}
_QUEUE_ERRORS = {
    1200: (422, "content_policy_violation"),
    1400: (422, "missing"),
    1401: (422, "value_error"),
    1402: (422, "file_download_error"),
    5004: (504, "generation_timeout"),
}
_PREDICTION_STATUS = {"created": "starting", "completed": "succeeded", "cancelled": "canceled", "timeout": "aborted"}


class Api:
    """The routes. One object per simulator."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._models = load_models("huggingface", account.options.models_dir)
        table = tomllib.loads((files("deploy.simulator") / "huggingface.toml").read_text("utf-8"))
        self._hub: dict[str, list[str]] = table["hub"]
        self._tasks = Tasks(account)
        self._forwarded = wavespeed.Api(account, "/wavespeed")

    def routes(self) -> list[web.RouteDef]:
        """All routes. Of WaveSpeed's API the router is known to lead to two."""
        forwarded = [
            route for route in self._forwarded.routes() if route.path.endswith(("/result", "/{model:.+}", "/1.{format}"))
        ]
        return [
            web.get("/api/models/{owner}/{name}", self._mapping),
            web.get("/fal-ai/{model:.+}/requests/{id}/status", self._guarded(self._queue_status)),
            web.get("/fal-ai/{model:.+}/requests/{id}", self._guarded(self._queue_result)),
            web.post("/fal-ai/{model:.+}", self._guarded(self._queue_submit)),
            web.post("/replicate/v1/models/{model:[^/]+/[^/]+}/predictions", self._guarded(self._predict)),
            web.post("/replicate/v1/predictions", self._guarded(self._predict)),
            web.get("/replicate/v1/predictions/{id}", self._guarded(self._prediction)),
            web.get("/huggingface/output/{id}/1.{format}", self._output),
            *forwarded,
        ]

    async def close(self) -> None:
        """Stop the tasks."""
        await self._tasks.close()
        await self._forwarded.close()

    def _guarded(self, handler: Handler) -> Handler:
        """`handler` for callers with a token, while the API is up."""

        async def run(request: web.Request) -> web.StreamResponse:
            if self._account.is_down:
                return web.Response(status=503, text="Service Temporarily Unavailable")
            scheme, _, key = request.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or not self._account.takes_key(key):
                return refused_bare(401, _FAULT_TEXTS[401])
            return await handler(request)

        return run

    async def _mapping(self, request: web.Request) -> web.StreamResponse:
        """What the Hub tells a client before its first call of a model."""
        name = f"{request.match_info['owner']}/{request.match_info['name']}"
        mapping = {}
        for path in self._hub.get(name, ()):
            sub_provider, _, model_id = path.partition("/")
            mapping[sub_provider] = {"status": "live", "providerId": model_id, "task": "image-to-image"}
        if not mapping:
            return refused_bare(404, "Repository not found")
        return web.json_response({"id": name, "pipeline_tag": "image-to-image", "inferenceProviderMapping": mapping})

    async def _queue_submit(self, request: web.Request) -> web.StreamResponse:
        task = await self._accepted(request, f"fal-ai/{request.match_info['model']}", await read_object(request))
        if isinstance(task, web.StreamResponse):
            return task
        # The real addresses keep only the model's owner and name, and lie on the sub-provider's own host.
        short = "/".join(request.match_info["model"].split("/")[:2])
        url = f"https://queue.fal.run/{short}/requests/{task.id}"
        urls = {"response_url": url, "status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}
        return web.json_response({"status": "IN_QUEUE", "request_id": task.id, **urls, "queue_position": 0})

    async def _queue_status(self, request: web.Request) -> web.StreamResponse:
        task = self._tasks.get(request.match_info["id"])
        if task is None or task.status == "deleted" or "_subdomain" not in request.query:
            return refused_bare(404, "Not Found")
        if status := task.later_status("poll"):
            return refused_bare(status, "simulated failure")
        status_word = _QUEUE_STATUS.get(task.status, "COMPLETED" if task.ended.is_set() else task.status)
        # Some failures show here already, others only in the result.
        shown = {"error": task.error, "error_type": _queue_error(task)[1]} if task.code >= 5000 else {}
        return web.json_response({"status": status_word, "request_id": task.id, **shown})

    async def _queue_result(self, request: web.Request) -> web.StreamResponse:
        task = self._tasks.get(request.match_info["id"])
        if task is None or "_subdomain" not in request.query:
            return refused_bare(404, "Not Found")
        if not task.ended.is_set():
            return web.json_response({"detail": "Request is still in progress"}, status=400)
        if task.status != "completed":
            status, kind = _queue_error(task)
            detail = [{"loc": ["body"], "msg": task.error, "type": kind}]
            return web.json_response({"detail": detail}, status=status, headers={"X-Fal-Error-Type": kind})
        images = [{"url": url, "content_type": f"image/{url.rpartition('.')[2]}"} for url in self._outputs(request, task)]
        seed = task.body.get("seed", 0)
        flags = ["nsfw" in task.faults] * len(images)
        return web.json_response({"images": images, "seed": seed, "has_nsfw_concepts": flags, "prompt": task.prompt})

    async def _predict(self, request: web.Request) -> web.StreamResponse:
        body = await read_object(request)
        model = request.match_info.get("model") or str(body.get("version"))
        values = body.get("input")
        task = await self._accepted(request, f"replicate/{model}", values if isinstance(values, dict) else {})
        if isinstance(task, web.StreamResponse):
            return task
        if request.headers.get("Prefer", "").startswith("wait"):
            with suppress(TimeoutError):
                await asyncio.wait_for(task.ended.wait(), self._account.options.hold_s)
        return web.json_response(self._prediction_view(request, task), status=201)

    async def _prediction(self, request: web.Request) -> web.StreamResponse:
        task = self._tasks.get(request.match_info["id"])
        if task is None or task.status == "deleted":
            return web.json_response({"title": "Not found", "detail": "The requested resource could not be found."}, status=404)
        if status := task.later_status("poll"):
            return web.json_response({"title": "Error", "detail": "simulated failure", "status": status}, status=status)
        return web.json_response(self._prediction_view(request, task))

    def _prediction_view(self, request: web.Request, task: Task) -> dict[str, Any]:
        outputs = self._outputs(request, task)
        status, error = _PREDICTION_STATUS.get(task.status, task.status), task.error or None
        if task.status == "completed" and "nsfw" in task.faults:
            status, error, outputs = "failed", "NSFW content detected. Try a different prompt.", []
        url = f"https://api.replicate.com/v1/predictions/{task.id}"
        return {
            "id": task.id,
            "model": task.model.path.partition("/")[2],
            "status": status,
            "input": task.body,
            "output": (outputs if "objects" in task.faults else outputs[0]) if outputs else None,
            "error": error,
            "urls": {"get": url, "cancel": f"{url}/cancel"},
            "metrics": {"predict_time": task.took_ms / 1000},
        }

    async def _accepted(self, request: web.Request, path: str, values: Mapping[str, Any]) -> Task | web.StreamResponse:
        """The task that the submit started, or the answer in its place."""
        model = self._models.get(path)
        if model is None:
            return refused_bare(404, "Not Found")
        body = _normal(values)
        prompt_as_sent = str(body.get("prompt", ""))
        try:
            model.check(body)
            prompt, faults = split_prompt(prompt_as_sent)
            faults += parse(request.headers.get("X-Sim", ""))
        except (Invalid, FaultUnknown) as error:
            detail = [{"loc": ["body"], "msg": str(error), "type": "value_error"}]
            return web.json_response({"detail": detail}, status=422)
        if not self._account.takes_another(self._tasks.running):
            return refused_bare(429, _FAULT_TEXTS[429])
        struck = await self._account.strike(faults, prompt=prompt_as_sent, picture=str(body["image"]))
        if struck and struck[0].is_answer:
            return await self._answer_with(request, struck[0])
        task = self._tasks.start(model, body, prompt=prompt, faults=struck)
        if "lost-answer" in task.faults:
            break_off(request)
        return task

    async def _answer_with(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        """The fault's answer in place of the submit's."""
        if fault.name == "hang":
            return await hang(self._account, request)
        status = int(fault.name)
        if status >= 500:
            return web.Response(status=status, text="<html><h1>Bad Gateway</h1></html>", content_type="text/html")
        answer = refused_bare(status, _FAULT_TEXTS.get(status, f"simulated failure {status}"))
        if fault.seconds is not None:
            answer.headers["Retry-After"] = f"{fault.seconds:.0f}"
        return answer

    async def _output(self, request: web.Request) -> web.StreamResponse:
        task = self._tasks.get(request.match_info["id"])
        if task is not None and (status := task.later_status("output")):
            return web.Response(status=status)
        return serve(self._account, request, task.output if task else None)

    def _outputs(self, request: web.Request, task: Task) -> list[str]:
        if task.status != "completed" or not task.output or "no-outputs" in task.faults:
            return []
        return [f"{request.url.origin()}/huggingface/output/{task.id}/1.{task.output.rpartition('.')[2]}"]


def _normal(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the picture as `image` and the size as `size`, under whichever of their names they came."""
    body = {name: value for name, value in values.items() if name not in (*_IMAGE_NAMES, "image_size")}
    given = [values[name] for name in _IMAGE_NAMES if name in values]
    first = given[0] if given else None
    if isinstance(first, list):
        first = first[0] if first else None
    if first is not None:
        body["image"] = first
    size = values.get("image_size")
    if isinstance(size, dict):
        body["size"] = f"{size.get('width')}*{size.get('height')}"
    elif size is not None:
        body["size"] = size
    return body


def _queue_error(task: Task) -> tuple[int, str]:
    return _QUEUE_ERRORS.get(
        task.code, (504, "generation_timeout") if task.status == "timeout" else (500, "internal_server_error")
    )
