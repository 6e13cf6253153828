"""What Redis keeps of a batch."""

from dataclasses import dataclass
from typing import Literal, Self

from shared.errors import StoreUnavailable

BatchState = Literal["expanding", "running", "held", "canceled", "completed", "completed_with_errors"]
Counted = Literal["total", "queued", "running", "succeeded", "failed", "canceled"]


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """The hash `batch:{id}`. Times are ms of Redis' clock, money 1e-6 USD. `held_reason`: `canary`, `failure_rate`, `max_cost`.

    `version` grows with every change of a count or of the state. `reserved`: by items that have not ended. `broken`: how many
    of the failed ones failed before the batch began.
    """

    id: str
    tenant: str
    state: BatchState
    held_reason: str
    counts: dict[Counted, int]
    version: int
    name: str
    metadata: str
    parent: str
    bulk: bool
    webhook_url: str
    webhook_events: tuple[str, ...]
    canary: int
    stop_rate: float
    broken: int
    estimated_micro_usd: int
    reserved_micro_usd: int
    spent_micro_usd: int
    max_micro_usd: int | None
    created: int
    finished: int | None
    expires: int | None

    @classmethod
    def from_hash(cls, batch_id: str, fields: dict[str, str]) -> Self:
        """Of a batch that is promised. Raises StoreUnavailable for a state that this version does not know."""

        def number(name: str) -> int:
            return int(fields.get(name) or 0)

        state = fields["state"]
        if state not in ("running", "held", "canceled", "completed", "completed_with_errors"):
            raise StoreUnavailable(f"the batch is in a state that this version does not know: {state}")
        return cls(
            id=batch_id,
            tenant=fields["tenant"],
            state=state,  # type: ignore[arg-type]  # checked above
            held_reason=fields.get("held_reason", ""),
            counts={
                "total": number("total"),
                "queued": number("left") - number("running"),
                "running": number("running"),
                "succeeded": number("succeeded"),
                "failed": number("failed"),
                "canceled": number("canceled"),
            },
            version=number("version"),
            name=fields.get("name", ""),
            metadata=fields.get("metadata", "{}"),
            parent=fields.get("parent", ""),
            bulk=fields.get("bulk") != "0",
            webhook_url=fields.get("url", ""),
            webhook_events=tuple(f"batch.{event}" for event in fields.get("events", "").split(",") if event),
            canary=number("canary"),
            stop_rate=float(fields.get("stop_rate") or 0),
            broken=number("broken"),
            estimated_micro_usd=number("estimated"),
            reserved_micro_usd=number("reserved"),
            spent_micro_usd=number("spent"),
            max_micro_usd=int(fields["max_micro_usd"]) if fields.get("max_micro_usd") else None,
            created=number("created"),
            finished=number("finished") or None,
            expires=number("expires") or None,
        )
