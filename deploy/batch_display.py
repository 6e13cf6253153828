"""What `edit-studio batch` shows while it works: bars on a terminal, a line now and then everywhere else."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from gateway.client.answers import Batch

_LINE_EVERY_S = 10.0


class BatchDisplay:
    """Preparations and the course of one batch. Use it in `with`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[more]}"))
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[str, float]] = {}
        self._is_told = False

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """One line, never cut or wrapped."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def step(self, title: str, done: int, total: int) -> None:
        """How far a preparation is."""
        self._show(title, done, total, "", is_last=done == total)

    def stands(self, batch: Batch, saved: int | None = None) -> None:
        """How far the batch is, and how many of its edits are dealt with here, if any are to be."""
        counts, cost = batch["counts"], batch["cost"]
        if not self._is_told:
            self._is_told = True
            self.say(f"{batch['id']}: {counts['total']} edits, about {cost['estimated']:.2f} USD")
        ended = counts["succeeded"] + counts["failed"] + counts["canceled"]
        parts = [f"{counts['failed']} failed"] if counts["failed"] else []
        parts += [f"{counts['canceled']} canceled"] if counts["canceled"] else []
        parts += [f"{cost['actual']:.2f} USD", *([] if saved is None else [f"{saved} saved"])]
        parts += [] if batch["eta_s"] is None or ended == counts["total"] else [f"{_time(batch['eta_s'])} left"]
        self._show("editing", ended, counts["total"], " · ".join(parts))

    def _show(self, title: str, done: int, total: int, more: str, *, is_last: bool = False) -> None:
        if self._console.is_terminal:
            if title not in self._tasks:
                self._tasks[title] = self._bars.add_task(title, total=total, more=more)
            self._bars.update(self._tasks[title], completed=done, total=total, more=more)
            return
        line, now = f"{title} {done}/{total}" + (f" · {more}" if more else ""), time.monotonic()
        last, said_at = self._said.setdefault(title, ("", now - _LINE_EVERY_S / 2))
        if line != last and (is_last or now - said_at >= _LINE_EVERY_S):
            self._said[title] = (line, now)
            self.say(line)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"
