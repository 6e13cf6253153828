"""What is shown of a batch, on a terminal and in a log."""

import io
from typing import Any

import pytest
from rich.console import Console

from deploy import batch_display
from deploy.batch_display import BatchDisplay


def batch(**counts: int) -> Any:
    return {
        "id": "batch_1",
        "counts": {"total": 5, "succeeded": 0, "failed": 0, "canceled": 0, **counts},
        "cost": {"estimated": 0.25, "actual": 0.1},
        "eta_s": 130.0,
    }


def test_a_terminal_shows_bars_with_counts_cost_and_time_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with BatchDisplay(console) as display:
        display.step("uploading", 3, 3)
        display.stands(batch(succeeded=2, failed=1), 2)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "batch_1: 5 edits, about 0.25 USD" in shown
    assert "3/5 1 failed · 0.10 USD · 2 saved · 2 min left" in shown


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(batch_display.time, "monotonic", lambda: now)
    console = Console(file=io.StringIO())
    with BatchDisplay(console) as display:
        for done in range(1, 4):
            display.step("uploading", done, 3)
        for done in range(5):
            now += 6
            display.stands(batch(succeeded=done), done)
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "uploading 3/3",
        "batch_1: 5 edits, about 0.25 USD",
        "editing 1/5 · 0.10 USD · 1 saved · 2 min left",
        "editing 3/5 · 0.10 USD · 3 saved · 2 min left",
    ]
