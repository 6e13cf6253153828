"""Traces, if they are asked for: one for each edit, from its request through the queue to its calls and its webhooks.

Without `traces_url` OpenTelemetry is not imported, and a span is a function call. With it, spans hold ids, names and numbers:
no words of callers or providers, no keys, no addresses.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Literal, ParamSpec, Protocol, TypeVar

from shared.settings import Settings, SettingsInvalid

Kind = Literal["server", "consumer", "client", "internal"]
Note = str | int | float | bool
_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


class Tracing(Protocol):
    """What makes spans, see `shared.tracing`."""

    def span(self, name: str, *, kind: Kind, parent: str | None, notes: Mapping[str, Note]) -> AbstractContextManager[None]:
        """See `span`."""

    def note(self, name: str, value: Note) -> None:
        """See `note`."""

    def rename(self, name: str) -> None:
        """See `rename`."""

    def traceparent(self) -> str:
        """See `traceparent`."""

    def close(self) -> None:
        """Send what was not sent yet; wait no longer than a few seconds."""


_tracing: Tracing | None = None


def start_tracing(settings: Settings, *, process: str) -> None:
    """Begin to trace, if the settings say so. Raises SettingsInvalid where they do and the extra `otel` is not installed."""
    if settings.traces_url is None:
        return
    try:
        from shared.tracing import open_tracing
    except ImportError as error:
        raise SettingsInvalid("EDIT_STUDIO_TRACES_URL needs OpenTelemetry: pip install 'edit-studio[otel]'") from error
    use(open_tracing(settings.traces_url, process=process))


def use(tracing: Tracing | None) -> None:
    """Trace with this from now on; None: no more."""
    global _tracing
    _tracing = tracing


def stop_tracing() -> None:
    """Send what was not sent yet, at the end of the process."""
    if _tracing is not None:
        _tracing.close()
    use(None)


def is_tracing() -> bool:
    """Whether spans are made."""
    return _tracing is not None


def span(
    name: str, *, kind: Kind = "internal", parent: str | None = None, notes: Mapping[str, Note] | None = None
) -> AbstractContextManager[None]:
    """A span around a block; an error that leaves it is noted by its code. `parent`: the W3C `traceparent` that it belongs under,
    anything else for a trace of its own; None: the span around this one.
    """
    if _tracing is None:
        return nullcontext()
    return _tracing.span(name, kind=kind, parent=parent, notes=notes or {})


def spanned(
    name: str, *, kind: Kind = "internal"
) -> Callable[[Callable[_Arguments, Awaitable[_Answer]]], Callable[_Arguments, Awaitable[_Answer]]]:
    """A span around each call of a function."""

    def around(function: Callable[_Arguments, Awaitable[_Answer]]) -> Callable[_Arguments, Awaitable[_Answer]]:
        @wraps(function)
        async def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Answer:
            with span(name, kind=kind):
                return await function(*args, **kwargs)

        return call

    return around


def note(name: str, value: Note) -> None:
    """Write something down in the span around this. `name`: without our prefix, or one of OpenTelemetry's own."""
    if _tracing is not None:
        _tracing.note(name, value)


def rename(name: str) -> None:
    """Give the span around this a better name."""
    if _tracing is not None:
        _tracing.rename(name)


def traceparent() -> str:
    """What leads others to the span around this, as the W3C's header says it; empty without one."""
    return _tracing.traceparent() if _tracing is not None else ""
