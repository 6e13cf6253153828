"""What every provider is to the worker: adapted edits in, outcomes out, classified errors.

Providers never touch jobs, Redis or settings. They raise the `ProviderError` family of `shared.errors`; an HTTP status or
a word of the provider becomes a class here and nowhere else. Waiting is not failing: `poll` answers `Pending`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shared.catalog.model import Model
from shared.edit import Operation
from shared.errors import ProviderError


@dataclass(frozen=True, slots=True)
class Source:
    """One picture on its way to a provider.

    `file`: the bytes in a spool file, removed by the caller afterwards. `url`: a link that the provider can fetch, or None
    when our storage cannot be reached from outside (then the provider uploads `file` by its own means).
    """

    content_type: str
    width: int
    height: int
    url: str | None
    file: Path | None


@dataclass(frozen=True, slots=True)
class AdaptedEdit:
    """One call, ready for one model: only parameters that the model declares, in its own names, sizes and units.

    `call_id`: our name of this paid call, 16 hex digits; it is part of each source's `url` and upload name, so that a lost
    call can be recognised in the provider's history.
    """

    call_id: str
    model: Model
    operation: Operation
    prompt: str | None
    parameters: Mapping[str, Any]
    images: tuple[Source, ...]
    mask: Source | None = None
    expand: tuple[int, int, int, int] = (0, 0, 0, 0)  #: left, right, up, down, pixels
    others: Mapping[str, Source] = field(default_factory=dict)  #: by role: background_image, lighting_image


@dataclass(frozen=True, slots=True)
class Pending:
    """The provider works. `task_id`: its name of the task; `check_after_s`: when to poll."""

    task_id: str
    check_after_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """The provider is done: the picture's bytes, or the address to fetch them from.

    `raw`: what the provider said, for the receipt; no pictures, no secrets.
    """

    url: str | None = None
    data: bytes | None = None
    content_type: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """The task has ended without a picture. (An error that `poll` raises says that the task could not be looked at.)"""

    error: ProviderError


Outcome = Pending | Done | Failed


class Provider(Protocol):
    """One provider's API. One object per worker process; safe for concurrent use.

    `has_history`: whether `find` has anything to look in.
    """

    name: str
    has_history: bool

    async def submit(self, edit: AdaptedEdit) -> Outcome:
        """Make the paid call. Raises ProviderError; ProviderAmbiguous if the request left and no answer came."""
        ...

    async def poll(self, task_id: str) -> Outcome:
        """Look at a task that `submit` started. Raises ProviderError if it cannot be looked at; its own failure is `Failed`."""
        ...

    async def find(self, call_id: str, model: Model, *, submitted_at_ms: int) -> str | None:
        """The task that an unanswered `submit` with this `call_id` started, or None if none can be shown to be it."""
        ...

    def may_fetch(self, url: str) -> bool:
        """Whether `url` is on the very server an operator configured (a result there may lie on a private address)."""
        ...

    async def close(self) -> None:
        """Give back connections and processes."""
        ...
