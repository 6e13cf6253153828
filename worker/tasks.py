"""The arq entry point."""

from typing import Any

from shared.job import JobRecord
from shared.log import logging_under
from shared.telemetry import span
from worker.hands import Hands
from worker.run_edit import EditRunner


async def run_edit(ctx: dict[str, Any], record: JobRecord) -> None:
    """Run one claimed edit under its lease."""
    hands: Hands = ctx["hands"]
    runner: EditRunner = ctx["runner"]
    ids = {"job_id": record.id, "tenant": record.tenant, "request_id": record.request_id}
    with logging_under(**ids), span("edit", kind="consumer", parent=record.trace, notes={**ids, "turn": record.gen}):
        await hands.hold(record, runner.run)
