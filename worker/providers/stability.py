"""Stability's edit API, v2beta: forms in, the picture's bytes out; relighting by submit and poll.

Source: the facts page `stability.md`; numbers like (4) are its sections.
"""

import asyncio
import json
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import aiohttp

from shared.catalog.model import Model, ProviderEntry
from shared.errors import (
    ProviderAmbiguous,
    ProviderBadOutput,
    ProviderError,
    ProviderModelGone,
    ProviderModerated,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTransient,
    ProviderUnusable,
)
from shared.settings import ProviderAccess, Settings
from worker.pixel_pool import PixelPool
from worker.providers.base import AdaptedEdit, Done, Failed, Outcome, Pending, Source
from worker.providers.wire import Reply, exchange, fit_for_caller

_BASE_URL = "https://api.stability.ai"
_READ_S = 60.0
_SUBMIT_S = 140.0  # Not documented; a worker that is told to stop waits 150 s for calls that it cannot resume.
_POLL_S = 10.0  # Faster polling may be refused (4.4).
_TIMED_OUT_S = 60.0  # How long an account is shut out after too many requests (1); no header says so.
_REQUEST_MAX_BYTES = 10 * 1024 * 1024  # All pictures and fields together (1).
_TASK_PATH = (
    "edit/replace-background-and-relight"  # What is answered by a task's name is told by the path, not by the status (4.1).
)
_ROLES = {"background_image": "background_reference", "lighting_image": "light_reference"}
_POLICY = frozenset({"content_moderation", "public_figure"})
_INPUT = frozenset({400, 413, 422})


def create(
    access: ProviderAccess, entry: ProviderEntry, settings: Settings, http: aiohttp.ClientSession, _pool: PixelPool
) -> "Stability | None":
    """The provider, or None without a key."""
    if access.api_key is None:
        return None
    return Stability(
        api_key=access.api_key.get_secret_value(),
        base_url=access.base_url or entry.base_url,
        http=http,
        picture_max_bytes=settings.download_max_bytes,
    )


class Stability:
    """One account. `http` is the caller's, with no headers of its own; `submit_timeout_s`: longest wait for the paid call.

    A call that is answered with the picture cannot be looked up afterwards (1): where its answer is lost, so is the picture.
    """

    name = "stability"
    has_history = False

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None,
        http: aiohttp.ClientSession,
        picture_max_bytes: int,
        submit_timeout_s: float = _SUBMIT_S,
    ) -> None:
        self._key = api_key
        self._base_url = (base_url or _BASE_URL).rstrip("/")
        self._http = http
        self._picture_max_bytes = picture_max_bytes
        self._submit_timeout_s = submit_timeout_s

    async def submit(self, edit: AdaptedEdit) -> Outcome:
        """Make the paid call. Its answer is the picture, except of relighting, which is polled for."""
        fields = _fields(edit)
        with ExitStack() as files:
            form = aiohttp.FormData()
            for name, source in _pictures(edit).items():
                if source.file is None:
                    raise ValueError("a source needs a file: Stability fetches no links")
                file = files.enter_context(await asyncio.to_thread(source.file.open, "rb"))
                filename = f"{edit.call_id}-{name}.{source.content_type.rpartition('/')[2]}"
                form.add_field(name, file, filename=filename, content_type=source.content_type)
            for name, value in fields.items():
                form.add_field(name, value)
            body = form()
            if (body.size or 0) > _REQUEST_MAX_BYTES:
                raise ProviderRefused(f"the pictures have {body.size} bytes together; Stability takes {_REQUEST_MAX_BYTES}")
            path, timeout_s = f"stable-image/{edit.model.path}", self._submit_timeout_s
            reply = await self._call("POST", path, accept="image/*", timeout_s=timeout_s, body=body)
        if reply.status == 504:  # A gateway gave up waiting; what is behind it may have taken the request.
            raise ProviderAmbiguous("Stability answered 504", billed=None)
        if not 200 <= reply.status < 300:
            raise self._error(reply)
        if edit.model.path != _TASK_PATH:
            return _picture(reply)
        task_id = _data(reply).get("id")
        if not isinstance(task_id, str) or not task_id:
            raise ProviderAmbiguous("Stability's answer names no task", billed=None)
        return Pending(task_id, _POLL_S)

    async def poll(self, task_id: str) -> Outcome:
        """Look at the task; its picture comes with the answer."""
        reply = await self._call("GET", f"results/{quote(task_id, safe='')}", accept="*/*", timeout_s=_READ_S)
        if reply.status == 202:
            return Pending(task_id, _POLL_S)
        if reply.status == 404:
            return Failed(ProviderTransient("Stability no longer knows the task", billed=None))
        try:
            if reply.status != 200:
                raise self._error(reply)
            return _picture(reply, task_id=task_id)
        except (ProviderBadOutput, ProviderModerated, ProviderRefused) as error:
            return Failed(error)

    async def find(self, call_id: str, model: Model, *, submitted_at_ms: int) -> str | None:  # noqa: ARG002
        """None: Stability keeps no history, and takes no name of ours (1)."""
        return None

    def may_fetch(self, url: str) -> bool:  # noqa: ARG002
        """Never: results come as bytes."""
        return False

    async def close(self) -> None:
        """Nothing to give back: the session is the caller's."""

    async def _call(
        self, method: str, path: str, *, accept: str, timeout_s: float, body: aiohttp.payload.Payload | None = None
    ) -> Reply:
        """One call of the API. Raises as `exchange` does."""
        return await exchange(
            self._http,
            method,
            f"{self._base_url}/v2beta/{path}",
            who="Stability",
            headers={"Authorization": f"Bearer {self._key}", "Accept": accept},
            body=body,
            timeout_s=timeout_s,
            is_paid=body is not None,
            max_bytes=self._picture_max_bytes,
        )

    def _error(self, reply: Reply) -> ProviderError:
        """The class of what went wrong (1), by HTTP status and, where one status stands for two things, its name."""
        status, data = reply.status, _data(reply)
        name, errors = str(data.get("name") or ""), data.get("errors")
        words = "; ".join(map(str, errors)) if isinstance(errors, list) else ""
        said = f"Stability said {status} {fit_for_caller(f'{name}: {words}', self._key)}"
        if status == 429:
            return ProviderRateLimited(said, retry_after_s=_TIMED_OUT_S if reply.retry_after_s is None else reply.retry_after_s)
        if name in _POLICY and status < 500:
            return ProviderModerated(said)
        if status in (401, 402, 403) or 300 <= status < 400:
            return ProviderUnusable(said)
        if status == 404:
            return ProviderModelGone(said)
        return ProviderRefused(said) if status in _INPUT else ProviderTransient(said)


def _fields(edit: AdaptedEdit) -> dict[str, str]:
    """The form's text fields. Raises ProviderRefused for what the operation does not take or cannot do without."""
    model, given = edit.model, dict(edit.parameters)
    if edit.prompt:
        given[next((key for key, parameter in model.parameters.items() if parameter.field == "prompt"), "prompt")] = edit.prompt
    if undeclared := given.keys() - model.parameters.keys():
        raise ProviderRefused(f"model {model.id} declares no parameter {', '.join(sorted(undeclared))}")
    if missing := [key for key, parameter in model.parameters.items() if parameter.required and key not in given]:
        raise ProviderRefused(f"model {model.id} needs {', '.join(missing)}")
    if model.path == _TASK_PATH:
        if "background_prompt" not in given and "background_image" not in edit.others:
            raise ProviderRefused(f"model {model.id} needs a prompt or a background picture")
        if "light_source_direction" in given and "lighting_image" in edit.others:  # The picture would win, without a word (3).
            raise ProviderRefused(f"model {model.id} takes light_source_direction or a lighting picture, not both")
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in given.items()}


def _pictures(edit: AdaptedEdit) -> dict[str, Source]:
    """The pictures by the names that they have in the form. Raises ProviderRefused for one that the operation does not take."""
    model = edit.model
    pictures: dict[str, Source] = {model.image_parameter: edit.images[0]}
    if edit.mask is not None and model.mask.parameter is not None:
        pictures[model.mask.parameter] = edit.mask
    for role, source in edit.others.items():
        if model.path != _TASK_PATH:
            raise ProviderRefused(f"model {model.id} takes no {role}")
        pictures[_ROLES[role]] = source
    return pictures


def _picture(reply: Reply, *, task_id: str | None = None) -> Done:
    """The picture of a success. Anything but SUCCESS is none (1).

    Raises:
        ProviderModerated: it was blurred; that counts as a generation, so it is taken to be billed (an estimate).
        ProviderBadOutput: the answer does not come from the API, or is in a shape that was not asked for.
    """
    reason = reply.headers.get("finish-reason")
    if reason == "CONTENT_FILTERED":
        raise ProviderModerated("Stability's content filter blurred the output", billed=True)
    if reason != "SUCCESS":
        said = f"finish-reason {reason[:50]!r}" if reason else "no finish-reason"
        raise ProviderBadOutput(f"Stability answered {reply.status} with {said}", billed=None)
    named = {"task_id": task_id, "request_id": reply.headers.get("x-request-id"), "seed": reply.headers.get("seed")}
    raw = {name: value for name, value in named.items() if value is not None}
    return Done(data=reply.body, content_type=reply.headers.get("Content-Type"), raw={"finish_reason": reason, **raw})


def _data(reply: Reply) -> dict[str, Any]:
    """The body as a JSON object, empty if it is none."""
    try:
        data = json.loads(reply.body)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
