"""Webhook deliveries in Redis: the outbox is queue and visibility time-out in one."""

import secrets
import time
from dataclasses import dataclass
from typing import Literal

from shared.errors import NotFound
from shared.ids import new_id
from shared.job import JobState
from shared.store.connection import Scripts, pairs

_VISIBILITY_MS = 60_000
_KEEP_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one address. `tries` counts the attempt that `take` handed out.

    `state`: `pending`, `delivered`, `failed` (all attempts used up), `stopped` (the receiver answered 410).
    `job_id` is empty for a test event.
    """

    id: str
    event_id: str
    tenant: str
    job_id: str
    event: str
    url: str
    state: Literal["pending", "delivered", "failed", "stopped"]
    tries: int
    created_ms: int
    next_attempt_ms: int | None
    last_status: int | None
    last_error: str


class Outbox:
    """Deliveries; those of an edit's end are made by the `finish` of the scripts."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def take(self, limit: int) -> list[Delivery]:
        """Due deliveries, hidden from other senders for 60 s. Raises StoreUnavailable."""
        rows: list[tuple[str, list[str]]] = await self._scripts.run("outbox_take", "outbox", limit, _VISIBILITY_MS)
        return [_delivery(delivery_id, pairs(flat)) for delivery_id, flat in rows]

    async def delivered(self, delivery: Delivery, status: int) -> None:
        """The receiver took it."""
        await self._settle(delivery, "delivered", status=status)

    async def retry(self, delivery: Delivery, *, delay_s: float, status: int | None, error: str) -> None:
        """The attempt failed; the next one is in `delay_s`."""
        await self._settle(delivery, "pending", delay_s=delay_s, status=status, error=error)

    async def give_up(self, delivery: Delivery, *, stopped: bool, status: int | None, error: str) -> None:
        """No more attempts; `stopped`: the receiver asked for that."""
        await self._settle(delivery, "stopped" if stopped else "failed", status=status, error=error)

    async def postpone(self, delivery: Delivery, delay_s: float) -> None:
        """No attempt was made; due again in `delay_s`."""
        await self._settle(delivery, "pending", delay_s=delay_s, give_back=True)

    async def of_job(self, tenant: str, job_id: str) -> list[Delivery]:
        """The deliveries of an edit. The caller has checked that the edit is the tenant's."""
        names = [f"whd_{job_id.partition('_')[2]}_{state.value}" for state in JobState if state.terminal]
        rows = [(name, await self._scripts.command("HGETALL", f"whd:{name}")) for name in names]
        return [_delivery(name, row) for name, row in rows if row and row["tenant"] == tenant]

    async def replay(self, tenant: str, delivery_id: str) -> Delivery:
        """Deliver again from the first attempt, under the same webhook-id. Raises NotFound, StoreUnavailable."""
        if not await self._scripts.run("outbox_replay", f"whd:{delivery_id}", delivery_id, tenant):
            raise NotFound("there is no delivery with this id")
        return _delivery(delivery_id, await self._scripts.command("HGETALL", f"whd:{delivery_id}"))

    async def add_test(self, tenant: str, url: str) -> Delivery:
        """A `webhook.test` event for `url`, due at once."""
        now_ms = int(time.time() * 1000)
        name = new_id("whd", now_ms=now_ms, random_bytes=secrets.token_bytes(10))
        fields = {
            "event_id": f"evt_{name[4:]}",
            "tenant": tenant,
            "job": "",
            "event": "webhook.test",
            "url": url,
            "state": "pending",
        }
        flat = [part for pair in fields.items() for part in pair]
        await self._scripts.command("HSET", f"whd:{name}", *flat, "tries", 0, "created", now_ms)
        await self.replay(tenant, name)
        return _delivery(name, await self._scripts.command("HGETALL", f"whd:{name}"))

    async def _settle(
        self,
        delivery: Delivery,
        state: Literal["pending", "delivered", "failed", "stopped"],
        *,
        delay_s: float = 0.0,
        give_back: bool = False,
        status: int | None = None,
        error: str = "",
    ) -> None:
        shown = "" if status is None else status
        args = (delivery.id, state, int(delay_s * 1000), delivery.tries, int(give_back), shown, error, _KEEP_MS)
        await self._scripts.run("outbox_settle", f"whd:{delivery.id}", *args)


def _delivery(delivery_id: str, fields: dict[str, str]) -> Delivery:
    state = fields["state"]
    if state not in ("pending", "delivered", "failed", "stopped"):
        raise ValueError(f"unknown delivery state {state!r}")
    return Delivery(
        id=delivery_id,
        event_id=fields["event_id"],
        tenant=fields["tenant"],
        job_id=fields["job"],
        event=fields["event"],
        url=fields["url"],
        state=state,  # type: ignore[arg-type]  # checked above
        tries=int(fields["tries"]),
        created_ms=int(fields["created"]),
        next_attempt_ms=int(fields["next"]) if fields.get("next") else None,
        last_status=int(fields["status"]) if fields.get("status") else None,
        last_error=fields.get("error", ""),
    )
