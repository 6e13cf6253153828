"""What the router and the providers behind it answer: successes read, errors classed.

Source: the facts pages `huggingface.md` (1, errors raised; 2) and `other_providers.md` (fal.ai, Replicate).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from shared.errors import (
    ProviderBadOutput,
    ProviderError,
    ProviderModelGone,
    ProviderModerated,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTransient,
    ProviderUnusable,
)
from worker.providers.base import Done, Failed
from worker.providers.wire import Reply, fit_for_caller, origin

_ACCOUNT, _INPUT = frozenset({401, 402, 403}), frozenset({400, 405, 413, 415, 422})
_MODERATION = re.compile(r"sensitive|nsfw|moderat|content[ _]polic|flagged", re.IGNORECASE)
_PASSING = re.compile(
    r"internal_server_error|generation_timeout|downstream_\w+|request_timeout|startup_timeout|runner_\w+|file_download_error"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `data`: its JSON object, else empty; `kind`: the type that a sub-provider gives its error, else empty."""

    status: int
    data: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    kind: str = ""
    retry_after_s: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether it is a success that could be read."""
        return 200 <= self.status < 300 and bool(self.data)

    @property
    def is_unreadable(self) -> bool:
        """Whether it is a success that could not be read."""
        return 200 <= self.status < 300 and not self.data

    def word(self, name: str) -> str:
        """The text under this name, else empty."""
        value = self.data.get(name)
        return value if isinstance(value, str) else ""

    def path_of(self, name: str) -> str:
        """The path of the address under this name, else empty. Only the path counts: its host is not the router's (2)."""
        try:
            return urlsplit(self.word(name)).path
        except ValueError:
            return ""


def answer_of(reply: Reply) -> Answer:
    """The reply, with its error in whichever of the shapes it came."""
    try:
        body = json.loads(reply.body)
    except ValueError:
        body = None
    data = body if isinstance(body, dict) else {}
    kind = reply.headers.get("X-Fal-Error-Type") or data.get("error_type")
    said = next((value for name in ("error", "detail", "message", "title") if (value := data.get(name))), "")
    first = said[0] if isinstance(said, list) else said
    if isinstance(first, dict):
        kind = kind or first.get("type")
        said = first.get("msg") or first.get("message") or ""
    return Answer(reply.status, data, str(said), str(kind or ""), reply.retry_after_s)


def error_of(answer: Answer, key: str, *, billed: bool | None = False) -> ProviderError:
    """The class of what went wrong. `billed`: what holds for a task that had begun; a refused one may be charged."""
    status, text = answer.status, fit_for_caller(f"{answer.kind}: {answer.message}" if answer.kind else answer.message, key)
    said = f"Hugging Face: {text or 'the task failed'}" if 200 <= status < 300 else f"Hugging Face said {status}: {text}"
    if status in _ACCOUNT or 300 <= status < 400:
        return ProviderUnusable(said)
    if status == 429:
        return ProviderRateLimited(said, retry_after_s=answer.retry_after_s)
    if _PASSING.fullmatch(answer.kind):
        return ProviderTransient(said)
    if status < 500 and _MODERATION.search(text):
        return ProviderModerated(said, billed=billed)
    if answer.kind == "no_media_generated":
        return ProviderBadOutput(said, billed=billed)
    if status in (404, 410):
        return ProviderModelGone(said)
    is_input = status in _INPUT or (status < 300 and answer.kind)
    return ProviderRefused(said, billed=billed) if is_input else ProviderTransient(said, billed=billed)


def ended_queue(task_id: str, answer: Answer) -> Done | Failed:
    """What a completed task of the queue came to."""
    if answer.data.get("has_nsfw_concepts") in ([True], True):
        return Failed(ProviderModerated("Hugging Face: the output was flagged as not safe", billed=None))
    images = answer.data.get("images")
    first = images[0] if isinstance(images, list) and images else answer.data.get("image")
    raw = {name: answer.data[name] for name in ("seed", "has_nsfw_concepts", "timings") if name in answer.data}
    return _done(task_id, first.get("url") if isinstance(first, dict) else first, raw)


def ended_prediction(task_id: str, answer: Answer) -> Done | Failed:
    """What a prediction that succeeded came to."""
    output = answer.data.get("output")
    raw = {name: answer.data[name] for name in ("model", "status", "created_at", "metrics") if name in answer.data}
    return _done(task_id, output[0] if isinstance(output, list) and output else output, raw)


def _done(task_id: str, url: Any, raw: Mapping[str, Any]) -> Done | Failed:
    if not isinstance(url, str) or origin(url) is None:
        return Failed(ProviderBadOutput("Hugging Face completed the task without an output", billed=True))
    return Done(url=url, raw={"task_id": task_id, **raw})
