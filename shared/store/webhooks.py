"""Webhook deliveries in Redis: the outbox is queue and visibility time-out in one, with a line for each address."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from shared.errors import EndpointDisabled, NotFound
from shared.ids import new_id
from shared.job import JobState
from shared.store.connection import Scripts, pairs
from shared.store.listing import read_cursor, scored, write_cursor

_KEEP_MS = 7 * 86_400_000
#: An endpoint that has taken nothing for so long is disabled.
_FAILING_MS = 5 * 86_400_000
_CHUNK = 100
_SCANNED_A_PAGE = 2_000
_REPLAYED_AT_ONCE = 500
_REPLAYED_MAX = 100_000

DeliveryState = Literal["pending", "delivered", "failed", "stopped"]
#: Whose doing the outcome of an attempt is. `nobody`: there was no attempt.
_By = Literal["receiver", "us", "nobody"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one address. `tries` counts the attempt that `take` handed out.

    `state`: `pending`, `delivered`, `failed` (all attempts used up), `stopped` (the receiver answered 410, or its endpoint was
    disabled). `job_id`: the edit, or the batch, that the event is about; empty for a test event. `endpoint`: the id of the
    tenant's endpoint that it goes to; empty for an address that came with the edit or the batch.
    """

    id: str
    event_id: str
    tenant: str
    job_id: str
    event: str
    url: str
    endpoint: str
    state: DeliveryState
    tries: int
    created_ms: int
    next_attempt_ms: int | None
    last_status: int | None
    last_error: str


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Newest first. `next_cursor`: None when there is no more."""

    deliveries: list[Delivery]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many are on their way again. `next_cursor`: None when there are no more."""

    count: int
    next_cursor: str | None


class Outbox:
    """Deliveries; those of an edit's end are made by the `finish` of the scripts."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def take(self, limit: int, *, hidden_s: float = 60.0) -> list[Delivery]:
        """Due deliveries, hidden from other senders for `hidden_s`; no more than 4 to one address are out at once.

        Raises StoreUnavailable.
        """
        hidden_ms = int(hidden_s * 1000)
        rows: list[tuple[str, list[str]]] = await self._scripts.run("outbox_take", "outbox", limit, hidden_ms, _KEEP_MS)
        return [_delivery(delivery_id, pairs(flat)) for delivery_id, flat in rows]

    async def trace_of(self, delivery: Delivery) -> str:
        """The `traceparent` that the delivery of an edit's event belongs under; empty without one. Raises StoreUnavailable."""
        return await self._scripts.command("HGET", f"job:{delivery.job_id}", "trace") or ""

    # Each of these answers whether there is something more to send to the same address now.

    async def delivered(self, delivery: Delivery, status: int) -> bool:
        """The receiver took it."""
        return await self._settle(delivery, "delivered", "receiver", status=status)

    async def retry(self, delivery: Delivery, *, delay_s: float, status: int | None, error: str, ours: bool = False) -> bool:
        """The attempt failed; the next one is in `delay_s`. `ours`: it is not the receiver that failed."""
        return await self._settle(delivery, "pending", "us" if ours else "receiver", delay_s=delay_s, status=status, error=error)

    async def give_up(self, delivery: Delivery, *, stopped: bool, status: int | None, error: str, ours: bool = False) -> bool:
        """No more attempts; `stopped`: the receiver asked for that. `ours`: it is not the receiver that failed."""
        by: _By = "us" if ours else "receiver"
        return await self._settle(delivery, "stopped" if stopped else "failed", by, status=status, error=error)

    async def postpone(self, delivery: Delivery, delay_s: float) -> bool:
        """No attempt was made; due again in `delay_s`."""
        return await self._settle(delivery, "pending", "nobody", delay_s=delay_s)

    async def of_job(self, tenant: str, job_id: str, state: JobState) -> list[Delivery]:
        """The deliveries of an edit in this state. The caller has checked that the edit is the tenant's."""
        name = f"whd_{job_id.partition('_')[2]}_{state.value}"
        endpoints: list[str] = await self._scripts.command("ZRANGE", f"endpoints:{tenant}", 0, -1)
        names = [name, *(f"{name}_{endpoint.partition('_')[2]}" for endpoint in endpoints)]
        return [delivery for delivery in await self._load(tenant, names) if delivery is not None]

    async def page(
        self,
        tenant: str,
        *,
        state: DeliveryState | None = None,
        endpoint: str | None = None,
        since_ms: int = 0,
        limit: int = 20,
        cursor: str | None = None,
    ) -> DeliveryPage:
        """Some of the tenant's deliveries of the last week, newest first.

        Looks at no more than 2 000: a short page may still have a next. Raises ValidationFailed for a cursor that is not ours.
        """
        start = await self._rank_after(tenant, cursor)
        found: list[Delivery] = []
        for first in range(start, start + _SCANNED_A_PAGE, _CHUNK):
            listed = await self._listed(tenant, first, _CHUNK, since_ms)
            for (name, created_ms), delivery in zip(listed, await self._load(tenant, [n for n, _ in listed]), strict=True):
                if delivery is None or state not in (None, delivery.state) or endpoint not in (None, delivery.endpoint):
                    continue
                found.append(delivery)
                if len(found) == limit:
                    return DeliveryPage(found, write_cursor(created_ms, name))
            if len(listed) < _CHUNK:
                return DeliveryPage(found, None)
        name, created_ms = listed[-1]
        return DeliveryPage(found, write_cursor(created_ms, name))

    async def replay(self, tenant: str, delivery_id: str) -> Delivery:
        """Deliver again from the first attempt, under the same webhook-id.

        Raises NotFound, EndpointDisabled, StoreUnavailable.
        """
        replayed = await self._scripts.run("outbox_replay", f"whds:{tenant}", tenant, "any", "", delivery_id)
        (delivery,) = await self._load(tenant, [delivery_id])
        if delivery is None:
            raise NotFound("there is no delivery with this id")
        if not replayed:
            raise EndpointDisabled("the endpoint of this delivery is disabled or deleted; enable it first")
        return delivery

    async def replay_since(
        self,
        tenant: str,
        since_ms: int,
        *,
        state: DeliveryState | None = None,
        endpoint: str | None = None,
        cursor: str | None = None,
    ) -> Replayed:
        """Deliver again what was made since then: all that has ended, or that ended so. Looks at no more than 100 000.

        Raises ValidationFailed for a cursor that is not ours, StoreUnavailable.
        """
        # Newest first: what is new meanwhile moves the others on, so that some may come twice but none is left out.
        start, count = await self._rank_after(tenant, cursor), 0
        for first in range(start, start + _REPLAYED_MAX, _REPLAYED_AT_ONCE):
            listed = await self._listed(tenant, first, _REPLAYED_AT_ONCE, since_ms)
            names = [name for name, _ in listed]
            count += await self._scripts.run("outbox_replay", f"whds:{tenant}", tenant, state or "", endpoint or "", *names)
            if len(listed) < _REPLAYED_AT_ONCE:
                return Replayed(count, None)
        name, created_ms = listed[-1]
        return Replayed(count, write_cursor(created_ms, name))

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
        await self._scripts.command("ZADD", f"whds:{tenant}", now_ms, name)
        return await self.replay(tenant, name)

    async def _settle(
        self,
        delivery: Delivery,
        state: DeliveryState,
        by: _By,
        *,
        delay_s: float = 0.0,
        status: int | None = None,
        error: str = "",
    ) -> bool:
        shown = "" if status is None else status
        args = (delivery.id, state, int(delay_s * 1000), delivery.tries, by, shown, error, _KEEP_MS, _FAILING_MS)
        return bool(await self._scripts.run("outbox_settle", f"whd:{delivery.id}", *args))

    async def _rank_after(self, tenant: str, cursor: str | None) -> int:
        """Where the listing goes on, also when its last entry is no longer there."""
        created_ms, name = read_cursor(cursor)
        if created_ms is None:
            return 0
        rank = await self._scripts.command("ZREVRANK", f"whds:{tenant}", name)
        if rank is not None:
            return int(rank) + 1
        return int(await self._scripts.command("ZCOUNT", f"whds:{tenant}", created_ms, "+inf"))

    async def _listed(self, tenant: str, first: int, count: int, since_ms: int) -> list[tuple[str, int]]:
        """Names and times, newest first, from the `first` on."""
        rows = await self._scripts.command("ZREVRANGE", f"whds:{tenant}", first, first + count - 1, "WITHSCORES")
        return [(name, int(score)) for name, score in scored(rows) if score >= since_ms]

    async def _load(self, tenant: str, names: Sequence[str]) -> list[Delivery | None]:
        rows: list[dict[str, str]] = await asyncio.gather(*(self._scripts.command("HGETALL", f"whd:{name}") for name in names))
        return [_delivery(name, row) if row.get("tenant") == tenant else None for name, row in zip(names, rows, strict=True)]


def _delivery(delivery_id: str, fields: dict[str, str]) -> Delivery:
    state = fields["state"]
    if state not in get_args(DeliveryState):
        raise ValueError(f"unknown delivery state {state!r}")
    return Delivery(
        id=delivery_id,
        event_id=fields["event_id"],
        tenant=fields["tenant"],
        job_id=fields["job"],
        event=fields["event"],
        url=fields["url"],
        endpoint=fields.get("endpoint", ""),
        state=state,  # type: ignore[arg-type]  # checked above
        tries=int(fields["tries"]),
        created_ms=int(fields["created"]),
        next_attempt_ms=int(fields["next"]) if fields.get("next") else None,
        last_status=int(fields["status"]) if fields.get("status") else None,
        last_error=fields.get("error", ""),
    )
