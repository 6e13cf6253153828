"""Hugging Face's router: one key and one bill for the models that other providers serve.

The vendor's own client polls and downloads without any time limit (1), so this speaks the wire itself: the queue of fal-ai,
Replicate's predictions and, with the class that knows it, WaveSpeed's tasks. A path of the catalogue is the sub-provider and
its model; a task's name is where its state is found on the router. Addresses in answers give at most a path: the key goes
nowhere but to the router, and where a result lies it is fetched without one.
Source: the facts pages `huggingface.md` (numbers like (2) are its sections) and `other_providers.md` (fal.ai, Replicate).
"""

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp

from shared.catalog.model import Model, ProviderEntry
from shared.errors import ProviderAmbiguous, ProviderError, ProviderModelGone, ProviderRefused, ProviderTransient
from shared.settings import ProviderAccess, Settings
from worker.pixel_pool import PixelPool
from worker.providers.base import AdaptedEdit, Done, Failed, Outcome, Pending, Source
from worker.providers.huggingface_answers import Answer, answer_of, ended_prediction, ended_queue, error_of
from worker.providers.wavespeed import WaveSpeed
from worker.providers.wire import data_uri, exchange, origin

_BASE_URL = "https://router.huggingface.co"
_READ_S = 30.0
_SUBMIT_S = 90.0  # Replicate holds a request for up to 60 s (2).
_POLL_S = 1.0

_QUEUE, _PREDICTIONS, _FORWARDED = "fal-ai/", "replicate/", "wavespeed/"
_IN_QUEUE = "?_subdomain=queue"
_TASK = re.compile(r"fal-ai/(?:(?!\.)[\w.~-]+/)+requests/[\w-]+|replicate/v1/predictions/[\w-]+", re.ASCII)
_WAITING = frozenset({"IN_QUEUE", "IN_PROGRESS", "starting", "processing"})
_UNKNOWN = Failed(ProviderTransient("Hugging Face no longer knows the task", billed=None))
_NOT_SERVED = re.compile(r"not enabled for provider|not supported by provider", re.IGNORECASE)

_logger = logging.getLogger(__name__)


def create(
    access: ProviderAccess, entry: ProviderEntry, _settings: Settings, http: aiohttp.ClientSession, _pool: PixelPool
) -> "HuggingFace | None":
    """The provider, or None without a key."""
    if access.api_key is None:
        return None
    return HuggingFace(api_key=access.api_key.get_secret_value(), base_url=access.base_url or entry.base_url, http=http)


class HuggingFace:
    """One account. `http` is the caller's, with no headers of its own; `submit_timeout_s`: longest wait for the paid call."""

    name = "huggingface"
    has_history = False

    def __init__(
        self, *, api_key: str, base_url: str | None, http: aiohttp.ClientSession, submit_timeout_s: float = _SUBMIT_S
    ) -> None:
        self._key = api_key
        self._base_url = (base_url or _BASE_URL).rstrip("/")
        self._http = http
        self._submit_timeout_s = submit_timeout_s
        self._forwarded = WaveSpeed(
            api_key=api_key, base_url=f"{self._base_url}/{_FORWARDED}", http=http, submit_timeout_s=submit_timeout_s
        )
        self._odd_words: set[str] = set()

    async def submit(self, edit: AdaptedEdit) -> Outcome:
        """Make the paid call. A picture without a link goes inside of the request: the router takes no uploads (2)."""
        model = edit.model
        _check(edit)
        images = tuple([replace(source, url=await _address(source), file=None) for source in edit.images])
        sub_provider, _, path = model.path.partition("/")
        if model.path.startswith(_FORWARDED):
            forwarded = replace(edit, model=model.model_copy(update={"path": path}), images=images)
            try:
                return _renamed(await self._forwarded.submit(forwarded))
            except ProviderError as error:
                if (narrowed := _narrowed(error)) is error:
                    raise
                raise narrowed from error
        addresses = [source.url for source in images]
        values = {**edit.parameters, **({"prompt": edit.prompt} if edit.prompt else {})}
        values[model.image_parameter] = addresses if model.image_parameter.endswith("s") else addresses[0]
        if model.path.startswith(_QUEUE):
            answer = await self._pay(f"{sub_provider}/{path}{_IN_QUEUE}", {**values, **_image_size(edit)}, {})
            task_id = f"{sub_provider}{answer.path_of('response_url')}"
            if not _TASK.fullmatch(task_id):
                raise ProviderAmbiguous("Hugging Face's answer names no task", billed=None)
            return Pending(task_id, _POLL_S)
        name, _, version = path.partition(":")
        address = "predictions" if version else f"models/{name}/predictions"
        body = {"input": values, **({"version": version} if version else {})}
        answer = await self._pay(f"{sub_provider}/v1/{address}", body, {"Prefer": "wait"})
        task_id = f"{sub_provider}/v1/predictions/{answer.word('id')}"
        if not _TASK.fullmatch(task_id):
            raise ProviderAmbiguous("Hugging Face's answer names no task", billed=None)
        return self._outcome(task_id, answer)

    async def poll(self, task_id: str) -> Outcome:
        """Look at the task. A status that is not documented is waited out like a known one, and logged once."""
        if task_id.startswith(_FORWARDED):
            outcome = await self._forwarded.poll(task_id.removeprefix(_FORWARDED))
            return Failed(_narrowed(outcome.error)) if isinstance(outcome, Failed) else _renamed(outcome)
        if not _TASK.fullmatch(task_id):
            return _UNKNOWN
        suffix = f"/status{_IN_QUEUE}" if task_id.startswith(_QUEUE) else ""
        answer = await self._call("GET", f"{task_id}{suffix}")
        if answer.status == 404:
            return _UNKNOWN
        return await self._result(task_id, self._good(answer)) if suffix else self._outcome(task_id, self._good(answer))

    async def find(self, call_id: str, model: Model, *, submitted_at_ms: int) -> str | None:  # noqa: ARG002
        """Always None: the router has no history."""
        return None

    def may_fetch(self, url: str) -> bool:
        """Whether `url` is on the router itself: same scheme, host and port."""
        return origin(url) is not None and origin(url) == origin(self._base_url)

    async def close(self) -> None:
        """Nothing to give back: the session is the caller's."""

    async def _result(self, task_id: str, state: Answer) -> Outcome:
        """What became of a task in the queue: completed says only that there is a result to be read, or an error."""
        if state.word("status") == "COMPLETED" and not state.data.get("error"):
            answer = await self._call("GET", f"{task_id}{_IN_QUEUE}")
            if answer.is_good:
                return ended_queue(task_id, answer)
            if answer.status == 404:
                return _UNKNOWN
            if not answer.kind and answer.status != 422:
                raise error_of(answer, self._key)  # The router's own words, not the task's.
            return Failed(error_of(answer, self._key, billed=None))
        if state.word("status") in ("COMPLETED", "FAILED", "CANCELED", "CANCELLED"):
            return Failed(error_of(state, self._key, billed=None))
        return self._pending(task_id, state)

    def _outcome(self, task_id: str, answer: Answer) -> Outcome:
        """What a prediction has come to."""
        status = answer.word("status")
        if status in ("failed", "canceled", "aborted"):
            return Failed(error_of(answer, self._key, billed=None))
        return ended_prediction(task_id, answer) if status == "succeeded" else self._pending(task_id, answer)

    def _pending(self, task_id: str, answer: Answer) -> Pending:
        status = answer.word("status")
        if status not in _WAITING and status not in self._odd_words and len(self._odd_words) < 100:
            self._odd_words.add(status)
            _logger.warning("Hugging Face gave a task the undocumented status %r; it is polled on", status[:50])
        return Pending(task_id, _POLL_S)

    async def _pay(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
        """The answer to the paid call. Raises ProviderError for any that is no success."""
        encoded = await asyncio.to_thread(lambda: json.dumps(body).encode())
        answer = await self._call("POST", path, encoded, headers, timeout_s=self._submit_timeout_s, is_paid=True)
        if answer.status == 504:  # The router gave up waiting; what is behind it may have taken the request.
            raise ProviderAmbiguous("Hugging Face answered 504", billed=None)
        if answer.is_unreadable:
            raise ProviderAmbiguous("Hugging Face's answer cannot be read", billed=None)
        return self._good(answer)

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = _READ_S,
        is_paid: bool = False,
    ) -> Answer:
        """One call of the router. Raises as `exchange` does."""
        reply = await exchange(
            self._http,
            method,
            f"{self._base_url}/{path}",
            who="Hugging Face",
            headers={"Authorization": f"Bearer {self._key}", **(headers or {})},
            body=body,
            timeout_s=timeout_s,
            is_paid=is_paid,
        )
        return answer_of(reply)

    def _good(self, answer: Answer) -> Answer:
        """The answer, if it is a success. Raises ProviderError for anything else."""
        if not answer.is_good:
            raise _narrowed(error_of(answer, self._key))
        return answer


def _check(edit: AdaptedEdit) -> None:
    """Raises ProviderRefused for what the model has no parameter for."""
    model = edit.model
    wanted = {*edit.parameters, *(("prompt",) if edit.prompt else ())}
    if undeclared := wanted - model.parameters.keys():
        raise ProviderRefused(f"model {model.id} declares no parameter {', '.join(sorted(undeclared))}")
    if edit.mask is not None:
        raise ProviderRefused(f"model {model.id} takes no mask")


async def _address(source: Source) -> str:
    """Where the sub-provider finds the picture: our link, else the bytes themselves."""
    if source.url is not None:
        return source.url
    if source.file is None:
        raise ValueError("a source needs a url or a file")
    return await asyncio.to_thread(data_uri, source.file, source.content_type)


def _image_size(edit: AdaptedEdit) -> dict[str, Any]:
    """The size in the queue's shape, an object; empty if none is asked for."""
    for name, parameter in edit.model.parameters.items():
        if parameter.field == "size" and name in edit.parameters:
            width, _, height = str(edit.parameters[name]).partition("*")
            return {name: {"width": int(width), "height": int(height)}}
    return {}


def _renamed(outcome: Outcome) -> Outcome:
    """The forwarded task under the name that `poll` knows it by."""
    if isinstance(outcome, Pending):
        return replace(outcome, task_id=f"{_FORWARDED}{outcome.task_id}")
    if isinstance(outcome, Done):
        return replace(outcome, raw={**outcome.raw, "task_id": f"{_FORWARDED}{outcome.raw['task_id']}"})
    return outcome


def _narrowed(error: ProviderError) -> ProviderError:
    """The error, or that only this model is out of reach: its sub-provider cannot be billed, or no longer serves it (1)."""
    return ProviderModelGone(str(error)) if _NOT_SERVED.search(str(error)) else error
