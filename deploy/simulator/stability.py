"""Stability's API, v2beta, as the facts page tells it: forms in, a picture or JSON out, a task for the one slow operation.

Not simulated: the limit of 150 requests in 10 s (`Options.per_minute` stands for it), and the end of a result after a day.
"""

import asyncio
import base64
import io
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from PIL import Image

from deploy.simulator.account import Account
from deploy.simulator.faults import Fault, FaultUnknown, parse, split_prompt
from deploy.simulator.paint import NotAPicture, blur, cut_out, extend, paint
from deploy.simulator.schema import SimulatedModel, load_models
from deploy.simulator.silence import break_off, hang
from deploy.simulator.stability_form import Form, FormRefused, read_form
from deploy.simulator.tasks import Task

_TASK_PATH = "edit/replace-background-and-relight"
_SAME_PICTURE = ("edit/remove-background", "upscale/fast")
_SPOILS = ("truncated", "html", "blank", "placeholder", "echo")
_NAMES = {
    400: "bad_request",
    401: "unauthorized",
    402: "payment_required",
    403: "content_moderation",
    404: "not_found",
    413: "payload_too_large",
    422: "invalid_language",
    429: "rate_limit_exceeded",
}
_FAULT_TEXTS = {
    401: "missing or invalid API key",
    402: "You lack sufficient credits to make this request",
    403: "Your request was flagged by our content moderation system",
    422: "prompt: only English is supported",
    429: "You have exceeded the rate limit of 150 requests within a 10 second period, and have been timed out for 60 seconds.",
}
_MODERATED = 1200  # The simulator's number for it, see deploy/simulator/faults.py.
_KEPT_MAX = 20_000
_SEED_MAX = 4_294_967_294
_USD_PER_CREDIT = 0.01
_logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Generation(Task):
    """One accepted call. `key`: of who made it; `polled_at`: monotonic seconds; `status`: processing, completed or failed."""

    key: str = ""
    seed: int = 0
    polled_at: float | None = None


class Api:
    """The routes. One object per simulator."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._models = load_models("stability", account.options.models_dir)
        self._tasks: OrderedDict[str, _Generation] = OrderedDict()
        self._runners: set[asyncio.Task[None]] = set()
        self._running = 0

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.post("/v2beta/stable-image/{path:.+}", self._guarded(self._submit)),
            web.get("/v2beta/results/{id}", self._guarded(self._result)),
            web.get("/v1/user/balance", self._guarded(self._balance)),
        ]

    async def close(self) -> None:
        """Stop the tasks."""
        for runner in self._runners:
            runner.cancel()
        await asyncio.gather(*self._runners, return_exceptions=True)

    def _guarded(self, handler: Handler) -> Handler:
        """`handler` for callers with a key, bare or as a bearer's, while the API is up."""

        async def run(request: web.Request) -> web.StreamResponse:
            if self._account.is_down:
                return _gateway_error(503)
            return await handler(request) if self._account.takes_key(_key(request)) else _error(401, _FAULT_TEXTS[401])

        return run

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        model = self._models.get(request.match_info["path"])
        if model is None:
            return _error(404, "there is no such operation")
        try:
            form = await read_form(request, model, self._account)
            prompt, faults = _prompt_and_faults(form)
            faults += parse(request.headers.get("X-Sim", ""))
        except FormRefused as refusal:
            return _error(refusal.status, *refusal.errors, name=refusal.name)
        except FaultUnknown as error:
            return _error(400, f"prompt: {error}")
        if any(letter.isalpha() and letter > "\u036f" for letter in prompt):  # English is what is written in Latin letters.
            return _error(422, _FAULT_TEXTS[422])
        if not self._account.takes_another(self._running):
            return _error(429, _FAULT_TEXTS[429])
        struck = await self._account.strike(faults, prompt="\n".join(_words(form)), picture=_pictures(model, form)[0])
        for fault in struck:
            if fault.is_answer or fault.code:
                return await self._answer_with(request, fault)
        task = self._accepted(request, model, form, prompt, struck)
        if model.path != _TASK_PATH:
            return await self._finished_at_once(request, task, form)
        runner = asyncio.create_task(self._work(task, form))
        self._runners.add(runner)
        runner.add_done_callback(self._runners.discard)
        if "lost-answer" in task.faults:
            break_off(request)
        return web.json_response({"id": task.id})

    def _accepted(
        self, request: web.Request, model: SimulatedModel, form: Form, prompt: str, struck: tuple[Fault, ...]
    ) -> _Generation:
        seed = int(form.values.get("seed") or 0) or secrets.randbelow(_SEED_MAX) + 1
        faults = {fault.name: fault for fault in struck}
        task = _Generation(secrets.token_hex(32), model, dict(form.values), prompt, faults, key=_key(request), seed=seed)
        task.status = "processing"
        if model.path == _TASK_PATH:
            self._tasks[task.id] = task
            while len(self._tasks) > _KEPT_MAX and next(iter(self._tasks.values())).ended.is_set():
                self._tasks.popitem(last=False)
        return task

    async def _finished_at_once(self, request: web.Request, task: _Generation, form: Form) -> web.StreamResponse:
        await self._work(task, form)
        if "lost-answer" in task.faults:
            break_off(request)
        return await self._outcome(request, task)

    async def _answer_with(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        """The fault's answer in place of the operation's."""
        if fault.name == "hang":
            return await hang(self._account, request)
        if fault.code:
            return _error(403, _FAULT_TEXTS[403]) if fault.code == _MODERATED else _error(500, "simulated failure")
        status = int(fault.name)
        if status > 500:  # What stands before the real API answers no JSON.
            return _gateway_error(status)
        answer = _error(status, _FAULT_TEXTS.get(status, f"simulated failure {status}"))
        if fault.seconds is not None:
            answer.headers["Retry-After"] = f"{fault.seconds:.0f}"
        return answer

    async def _work(self, task: _Generation, form: Form) -> None:
        """Make the picture, take the time that it takes, and bill it: failures are free."""
        started = time.monotonic()
        self._running += 1
        try:
            data = await asyncio.get_running_loop().run_in_executor(self._account.painters, partial(_rendered, task, form))
            if "stuck" in task.faults:
                await self._account.stopping.wait()
            slow = task.faults.get("slow")
            latency_s = self._account.options.latency_s if slow is None or slow.seconds is None else slow.seconds
            await asyncio.sleep(max(0.0, latency_s - (time.monotonic() - started)))
            output_format = task.model.output_format(task.body)
            name = f"{task.id}.{output_format}"
            await self._account.files.put(name, data, "text/html" if "html" in task.faults else f"image/{output_format}")
            usd = task.model.price_usd(task.body)
            self._account.bill(task.id, model=task.model.path, usd=usd, inputs=list(form.parts), prompt=task.prompt)
            task.status, task.output = "completed", name
        except NotAPicture:
            task.status, task.error = "failed", "a picture cannot be decoded"
        except Exception:
            _logger.exception("the simulator failed at task %s", task.id)
            task.status, task.error = "failed", "internal error"
        finally:
            self._running -= 1
            task.ended.set()

    async def _result(self, request: web.Request) -> web.StreamResponse:
        task = self._tasks.get(request.match_info["id"])
        if task is None or task.key != _key(request) or (task.ended.is_set() and "deleted" in task.faults):
            return _error(404, "the generation does not exist, or has expired", name="generation_not_found")
        now = time.monotonic()
        if task.polled_at is not None and now - task.polled_at < self._account.options.poll_pause_s:
            return _error(429, _FAULT_TEXTS[429])
        task.polled_at = now
        if status := task.later_status("poll"):
            return _gateway_error(status) if status > 500 else _error(status, _FAULT_TEXTS.get(status, "simulated failure"))
        if not task.ended.is_set():
            return web.json_response({"id": task.id, "status": "in-progress"}, status=202)
        return await self._outcome(request, task)

    async def _outcome(self, request: web.Request, task: _Generation) -> web.StreamResponse:
        """What the call came to: the bytes, or JSON for those who ask for it."""
        found = self._account.files.get(task.output) if task.output else None
        if found is None:
            return _error(500, task.error or "the picture is gone")
        file, content_type = found
        data = await asyncio.to_thread(file.read_bytes)
        if content_type == "text/html":  # Whatever stands in between knows nothing of the API's headers.
            return web.Response(body=data, content_type=content_type)
        reason = "CONTENT_FILTERED" if "nsfw" in task.faults else "SUCCESS"
        if "application/json" in request.headers.get("Accept", ""):
            body = {"image": base64.b64encode(data).decode(), "finish_reason": reason, "seed": task.seed}
            text = await asyncio.to_thread(json.dumps, body)
            return web.Response(body=text.encode(), headers={"Content-Type": f"application/json; type={content_type}"})
        headers = {"x-request-id": secrets.token_hex(16), "finish-reason": reason, "seed": str(task.seed)}
        return web.Response(body=data, content_type=content_type, headers=headers)

    async def _balance(self, _: web.Request) -> web.StreamResponse:
        left_usd = self._account.options.balance_usd - self._account.ledger.total_usd
        return web.json_response({"credits": round(left_usd / _USD_PER_CREDIT, 4)})


def _error(status: int, *errors: str, name: str | None = None) -> web.Response:
    """The one shape of an error."""
    name = name or _NAMES.get(status, "internal_error")
    identity = name if status == 429 else secrets.token_hex(16)  # So it stands in the vendor's example.
    return web.json_response({"id": identity, "name": name, "errors": list(errors)}, status=status)


def _gateway_error(status: int) -> web.Response:
    return web.Response(status=status, text="<html><h1>Bad Gateway</h1></html>", content_type="text/html")


def _key(request: web.Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer").strip()


def _prompt_and_faults(form: Form) -> tuple[str, tuple[Fault, ...]]:
    """All words of the form as one prompt without their tails, and the tails' faults. Raises FaultUnknown."""
    split = [split_prompt(words) for words in _words(form)]
    return ", ".join(text for text, _ in split), tuple(fault for _, own in split for fault in own)


def _words(form: Form) -> list[str]:
    return [str(value) for name, value in form.values.items() if name.endswith("prompt")]


def _pictures(model: SimulatedModel, form: Form) -> Sequence[bytes]:
    """The pictures in the operation's order, what is edited first; without the mask."""
    return [form.files[name] for name in model.parameters if name in form.files and name != "mask"]


def _rendered(task: _Generation, form: Form) -> bytes:
    """The output, encoded. Runs in a thread. Raises NotAPicture."""
    model, values, path = task.model, task.body, task.model.path
    pictures = list(_pictures(model, form))
    mask = form.files.get("mask")
    by_alpha = mask is None and "mask" in model.parameters
    if by_alpha:
        mask = pictures[0]
    elif path == "edit/outpaint":
        pictures[0], mask = extend(pictures[0], **_sides(values))
    elif path in _SAME_PICTURE:
        mask = _nothing_selected()
    spoiled_as = next((name for name in task.faults if name in _SPOILS), "")
    output_format = model.output_format(values)
    data = paint(
        pictures,
        prompt=task.prompt,
        seed=task.seed,
        size_for=partial(model.size_for, values),
        output_format=output_format,
        mask=mask,
        transparent_is_edit=by_alpha,
        spoiled_as="" if spoiled_as == "truncated" else spoiled_as,
    )
    if path == "edit/remove-background" and spoiled_as in ("", "truncated"):
        data = cut_out(data, output_format)
    if "nsfw" in task.faults:
        data = blur(data, output_format)
    return data[: len(data) // 2] if spoiled_as == "truncated" else data


def _sides(values: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(values.get(name, 0)) for name in ("left", "right", "up", "down")}


@lru_cache(maxsize=1)
def _nothing_selected() -> bytes:
    """A mask that keeps everything."""
    target = io.BytesIO()
    Image.new("L", (1, 1)).save(target, "PNG")
    return target.getvalue()
