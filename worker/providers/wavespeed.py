"""WaveSpeed's API, v3: submit, poll, history, uploads.

Source: the facts page `wavespeed.md`; numbers like (1.4) are its sections.
"""

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

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
from worker.providers.wire import CONNECT_S, Reply, data_uri, exchange, fit_for_caller, origin

_BASE_URL = "https://api.wavespeed.ai"
_READ_S, _SUBMIT_S, _UPLOAD_S = 30.0, 60.0, 120.0  # Those of the vendor's own client (1.12).
_POLL_S = 1.0  # The same; polls are not known to be limited (1.5).
_DATA_URI_MAX_BYTES = 1024 * 1024
_HISTORY_PAGE, _HISTORY_PAGES_MAX = 100, 20
_CLOCK_SKEW = timedelta(minutes=5)

_WAITING = frozenset({"created", "processing"})
_ENDED_OTHERWISE = frozenset({"cancelled", "timeout", "deleted"})
_ACCOUNT, _INPUT = frozenset({401, 402, 403, 1407}), frozenset({400, 413, 415, 422, 1400, 1401})
_UPLOAD_REFUSALS = frozenset({400, 403, 404, 405, 413, 415, 422})
_MODERATION = re.compile(r"sensitive|nsfw|moderat|content polic", re.IGNORECASE)

_logger = logging.getLogger(__name__)


def create(
    access: ProviderAccess, entry: ProviderEntry, _settings: Settings, http: aiohttp.ClientSession, _pool: PixelPool
) -> "WaveSpeed | None":
    """The provider, or None without a key."""
    if access.api_key is None:
        return None
    return WaveSpeed(api_key=access.api_key.get_secret_value(), base_url=access.base_url or entry.base_url, http=http)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back. `number`: what went wrong, a task code (1.9) or an HTTP status; `data`: of a success, else None."""

    number: int
    message: str = ""
    data: dict[str, Any] | None = None
    retry_after_s: float | None = None


class WaveSpeed:
    """One account. `http` is the caller's, with no headers of its own; `submit_timeout_s`: longest wait for the paid call."""

    name = "wavespeed"
    has_history = True

    def __init__(
        self, *, api_key: str, base_url: str | None, http: aiohttp.ClientSession, submit_timeout_s: float = _SUBMIT_S
    ) -> None:
        self._key = api_key
        self._base_url = (base_url or _BASE_URL).rstrip("/")
        self._http = http
        self._submit_timeout_s = submit_timeout_s
        self._odd_words: set[str] = set()

    async def submit(self, edit: AdaptedEdit) -> Outcome:
        """Hand over the pictures that have no link, then make the paid call, never in the synchronous mode (1.6)."""
        body = await self._body(edit)
        answer = await self._call("POST", edit.model.path, body, timeout_s=self._submit_timeout_s, is_paid=True)
        if answer.number == 504:  # A gateway gave up waiting; what is behind it may have taken the request.
            raise ProviderAmbiguous("WaveSpeed answered 504", billed=None)
        task_id = self._data(answer).get("id")
        if not isinstance(task_id, str) or not task_id:
            raise ProviderAmbiguous("WaveSpeed's answer names no task", billed=None)
        return Pending(task_id, _POLL_S)

    async def poll(self, task_id: str) -> Outcome:
        """Look at the task. A status that is not documented is waited out like a known one (1.4), and logged once."""
        answer = await self._call("GET", f"predictions/{quote(task_id, safe='')}/result")
        if answer.number == 404:  # The vendor's own client does not ask again either (1.12).
            return Failed(ProviderTransient("WaveSpeed no longer knows the task", billed=None))
        data = self._data(answer)
        status = str(data.get("status"))
        if status == "completed":
            return _ended(task_id, data)
        if status == "failed":
            code = data.get("code")
            return Failed(self._error(_Answer(code if isinstance(code, int) else 0, str(data.get("error") or "the task failed"))))
        if status in _ENDED_OTHERWISE:
            return Failed(ProviderTransient(f"WaveSpeed ended the task as {status}", billed=None))
        if status not in _WAITING and status not in self._odd_words and len(self._odd_words) < 100:
            self._odd_words.add(status)
            _logger.warning("WaveSpeed gave a task the undocumented status %r; it is polled on", status[:50])
        return Pending(task_id, _POLL_S)

    async def find(self, call_id: str, model: Model, *, submitted_at_ms: int) -> str | None:
        """Look through the history for the one task whose inputs contain `call_id`. It may list no inputs (1.2): then None."""
        since = datetime.fromtimestamp(submitted_at_ms / 1000, UTC) - _CLOCK_SKEW
        found: set[str] = set()
        for page in range(1, _HISTORY_PAGES_MAX + 1):
            wish = {"page": page, "page_size": _HISTORY_PAGE, "model": model.path, "created_after": since.isoformat()}
            items = self._data(await self._call("POST", "predictions", wish)).get("items")
            tasks = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
            found |= {str(task["id"]) for task in tasks if "id" in task and call_id in _inputs_text(task)}
            if len(tasks) < _HISTORY_PAGE:
                break
        return found.pop() if len(found) == 1 else None

    def may_fetch(self, url: str) -> bool:
        """Whether `url` is on the API's own server: same scheme, host and port."""
        return origin(url) is not None and origin(url) == origin(self._base_url)

    async def close(self) -> None:
        """Nothing to give back: the session is the caller's."""

    async def _body(self, edit: AdaptedEdit) -> dict[str, Any]:
        """The flat JSON of the submit. Raises ProviderError if a picture cannot be handed over."""
        model = edit.model
        body = {**edit.parameters, **({"prompt": edit.prompt} if edit.prompt else {})}
        if undeclared := body.keys() - model.parameters.keys():
            raise ProviderRefused(f"model {model.id} declares no parameter {', '.join(sorted(undeclared))}")
        if edit.mask is not None and model.mask.parameter is None:
            raise ProviderRefused(f"model {model.id} takes no mask")
        addresses = [await self._address(source, f"{edit.call_id}-{number}") for number, source in enumerate(edit.images)]
        body[model.image_parameter] = addresses if model.image_parameter.endswith("s") else addresses[0]
        if edit.mask is not None and model.mask.parameter is not None:
            body[model.mask.parameter] = await self._address(edit.mask, f"{edit.call_id}-mask")
        return body

    async def _address(self, source: Source, name: str) -> str:
        """Where WaveSpeed finds the picture: our link; else an upload; else, if it takes none, the bytes themselves (1.7)."""
        if source.url is not None:
            return source.url
        if source.file is None:
            raise ValueError("a source needs a url or a file")
        size = (await asyncio.to_thread(source.file.stat)).st_size
        filename = f"{name}.{source.content_type.rpartition('/')[2]}"
        wish = {"filename": filename, "size": size, "content_type": source.content_type}
        answer = await self._call("POST", "media/uploads", wish, timeout_s=_UPLOAD_S)
        if answer.data is not None:
            answer = await self._put(source.file, answer.data)
        if answer.number in _UPLOAD_REFUSALS and size <= _DATA_URI_MAX_BYTES:
            return await asyncio.to_thread(data_uri, source.file, source.content_type)
        return str(self._data(answer)["download_url"])

    async def _put(self, file: Path, ticket: Mapping[str, Any]) -> _Answer:
        """Send the file where the ticket says, with its headers and without our key. The answer's data is the ticket."""
        instruction = ticket.get("upload")
        url = str(instruction.get("url")) if isinstance(instruction, dict) else ""
        if not isinstance(instruction, dict) or not ticket.get("download_url"):
            return _Answer(0, "the upload ticket is not complete")
        if not (url.startswith("https://") or self.may_fetch(url)):
            return _Answer(0, "the upload ticket leads to an address that is not safe")
        headers = {str(name): str(value) for name, value in dict(instruction.get("headers") or {}).items()}
        body = await asyncio.to_thread(file.open, "rb")
        try:
            async with self._http.put(
                URL(url, encoded=True),
                data=body,
                headers=headers,
                skip_auto_headers=("Content-Type",),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=_UPLOAD_S, connect=CONNECT_S),
            ) as response:
                return _Answer(200, data=dict(ticket)) if response.ok else _Answer(response.status, "the upload was not taken")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ProviderTransient("the upload to WaveSpeed broke") from error
        finally:
            await asyncio.to_thread(body.close)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout_s: float = _READ_S, is_paid: bool = False
    ) -> _Answer:
        """One call of the API. Raises as `exchange` does; ProviderAmbiguous also for a paid call's answer that cannot be read."""
        reply = await exchange(
            self._http,
            method,
            f"{self._base_url}/api/v3/{path}",
            who="WaveSpeed",
            headers={"Authorization": f"Bearer {self._key}"},
            body=None if body is None else await asyncio.to_thread(_encoded, body),
            timeout_s=timeout_s,
            is_paid=is_paid,
        )
        answer = _answer(reply)
        if is_paid and answer is None:
            raise ProviderAmbiguous("WaveSpeed's answer cannot be read", billed=None)
        return answer or _Answer(0, "the answer cannot be read")

    def _data(self, answer: _Answer) -> dict[str, Any]:
        """What a success carries. Raises ProviderError for anything else."""
        if answer.data is None:
            raise self._error(answer)
        return answer.data

    def _error(self, answer: _Answer) -> ProviderError:
        """The class of what went wrong (1.9), by code, HTTP status and, where those are vague, words."""
        number = answer.number
        text = fit_for_caller(answer.message, self._key)
        said = f"WaveSpeed said {number}: {text}" if number else f"WaveSpeed: {text}"
        is_vague = number < 500 or 1000 < number < 5000
        if number in _ACCOUNT or 300 <= number < 400 or (is_vague and "insufficient" in text.lower()):
            return ProviderUnusable(said)
        if number == 429:
            return ProviderRateLimited(said, retry_after_s=answer.retry_after_s)
        if number == 404:
            return ProviderModelGone(said)
        if number == 1200 or (is_vague and _MODERATION.search(text)):
            return ProviderModerated(said, billed=None)  # What a refusal costs can only be read from the account.
        return ProviderRefused(said) if number in _INPUT else ProviderTransient(said)


def _answer(reply: Reply) -> _Answer | None:
    """The answer in its envelope, in either error shape or in none; None for a success that cannot be read."""
    try:
        body = json.loads(reply.body)
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    code, data = body.get("code"), body.get("data")
    is_ok = 200 <= reply.status < 300
    if is_ok and code == 200 and isinstance(data, dict):
        return _Answer(200, data=data)
    if is_ok and (not isinstance(code, int) or code == 200):
        return None
    number = code if isinstance(code, int) and (is_ok or code >= 1000) else reply.status
    message = body.get("message") or body.get("error") or ""
    return _Answer(number, str(message), retry_after_s=reply.retry_after_s)


def _ended(task_id: str, data: Mapping[str, Any]) -> Done | Failed:
    """What a completed task came to."""
    outputs, flags = data.get("outputs"), data.get("has_nsfw_contents")
    if isinstance(flags, list) and flags[:1] == [True]:
        return Failed(ProviderModerated("WaveSpeed flagged the output as not safe", billed=None))
    first = outputs[0] if isinstance(outputs, list) and outputs else None
    if isinstance(first, dict):  # Some models answer objects (1.5); the address is the value that looks like one.
        first = next((value for value in first.values() if isinstance(value, str) and origin(value)), None)
    if not isinstance(first, str) or origin(first) is None:
        return Failed(ProviderBadOutput("WaveSpeed completed the task without an output", billed=True))
    raw = {name: data[name] for name in ("model", "status", "created_at", "executionTime", "has_nsfw_contents") if name in data}
    return Done(url=first, raw={"task_id": task_id, **raw})


def _inputs_text(task: Mapping[str, Any]) -> str:
    return json.dumps([task.get("inputs"), task.get("input")])


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode()
