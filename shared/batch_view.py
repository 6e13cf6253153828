"""The Batch that callers see, made of a record (pure)."""

import json

from shared.batch import Batch, BatchCost, BatchCounts, BatchUrls
from shared.job import API_PREFIX, time_of
from shared.store.batch_record import BatchRecord


def batch_view(record: BatchRecord, *, base_url: str, now_ms: int) -> Batch:
    """The Batch of a record. `base_url`: the gateway's address, no slash at the end."""
    here = f"{base_url}{API_PREFIX}/batches/{record.id}"
    return Batch(
        id=record.id,
        status=record.state,
        held_reason=record.held_reason or None,
        name=record.name,
        counts=BatchCounts(**record.counts),
        cost=BatchCost(
            estimated=record.estimated_micro_usd / 1e6,
            actual=record.spent_micro_usd / 1e6,
            max=None if record.max_micro_usd is None else record.max_micro_usd / 1e6,
        ),
        canary=record.canary or None,
        stop_on_failure_rate=record.stop_rate or None,
        priority="bulk" if record.bulk else "interactive",
        metadata=json.loads(record.metadata),
        parent_id=record.parent or None,
        eta_s=_eta_s(record, now_ms),
        created_at=time_of(record.created),
        finished_at=time_of(record.finished) if record.finished else None,
        expires_at=time_of(record.expires) if record.expires else None,
        urls=BatchUrls(
            self=here,
            items=f"{here}/items",
            results=f"{here}/results",
            archive=f"{here}/archive",
            events=f"{here}/events",
            cancel=f"{here}/cancel",
            release=f"{here}/release",
            retry_failed=f"{here}/retry-failed",
        ),
    )


def _eta_s(record: BatchRecord, now_ms: int) -> float | None:
    """The rest at the pace of what has ended since the beginning. Broken lines ended before it."""
    left = record.counts["queued"] + record.counts["running"]
    worked = record.counts["total"] - left - record.broken
    if record.state != "running" or worked < 1:
        return None
    return round(max(0, now_ms - record.created) / 1000 / worked * left, 1)
