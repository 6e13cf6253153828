"""What `up` and `demo` say while they work: a spinner on a terminal, plain lines everywhere else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status


class Display:
    """Lines for people, one for each thing that happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pending: list[str] = []
        self._status: Status | None = None

    @contextmanager
    def starting(self, name: str) -> Iterator[None]:
        """Show that `name` is being started, and how long it took. Several may start at once."""
        began = time.monotonic()
        self._pending.append(name)
        self._spin()
        try:
            yield
            self.say(f"{name:<14} ready in {time.monotonic() - began:.1f} s")
        finally:
            self._pending.remove(name)
            self._spin()

    def say(self, text: str) -> None:
        """One line; it is never cut or wrapped, so that paths can be copied."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """One line about something that went wrong and is being dealt with."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False, style="yellow")

    def _spin(self) -> None:
        if not self._console.is_terminal:
            return
        if not self._pending:
            if self._status:
                self._status.stop()
                self._status = None
            return
        text = f"starting {', '.join(self._pending)}"
        if self._status:
            self._status.update(text)
        else:
            self._status = self._console.status(text)
            self._status.start()
