"""The arq entry point."""

from typing import Any

from shared.job import JobRecord
from worker.hands import Hands
from worker.run_edit import EditRunner


async def run_edit(ctx: dict[str, Any], record: JobRecord) -> None:
    """Run one claimed edit under its lease."""
    hands: Hands = ctx["hands"]
    runner: EditRunner = ctx["runner"]
    await hands.hold(record, runner.run)
