"""A tenant's webhook endpoints in Redis. What the scripts announce to is written together with each change."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from shared.errors import IdempotencyMismatch, NotFound, ValidationFailed
from shared.ids import new_id
from shared.store.connection import Scripts
from shared.store.jobs import IDEMPOTENCY_MS, Idempotency

_MOST = 16  #: endpoints of a tenant

DisabledReason = Literal["gone", "failing", "by_owner"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a tenant's events go. `events`: none means all. Times are ms of Redis' clock, None: never yet.

    `disabled_reason`: None while it is enabled; `gone`: it answered 410; `failing`: it took nothing for five days.
    `last_status`: None if the last attempt got no answer. `failing_since`: the first failure after the last success.
    """

    id: str
    url: str
    events: tuple[str, ...]
    description: str
    disabled_reason: DisabledReason | None
    created_ms: int
    last_success_ms: int | None
    last_failure_ms: int | None
    failing_since_ms: int | None
    last_status: int | None
    last_error: str


@dataclass(frozen=True, slots=True)
class Created:
    """`replayed`: it was made by an earlier request with the same Idempotency-Key."""

    endpoint: Endpoint
    replayed: bool


class Endpoints:
    """Made, changed and deleted by their owner; `outbox_settle` notes what became of each attempt, and disables dead ones."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def create(
        self,
        tenant: str,
        *,
        url: str,
        events: Sequence[str],
        description: str,
        enabled: bool,
        idempotency: Idempotency | None = None,
    ) -> Created:
        """Raises ValidationFailed when the tenant has 16, IdempotencyMismatch, StoreUnavailable, Overloaded.

        NotFound: it was made by an earlier request with the same Idempotency-Key, and deleted since.
        """
        made = new_id("whe", now_ms=int(time.time() * 1000), random_bytes=secrets.token_bytes(10))
        key, fingerprint = (idempotency.key, idempotency.fingerprint) if idempotency else ("", "")
        state = "enabled" if enabled else "disabled"
        fields = ("url", url, "events", _written(events), "description", description)
        args = (made, tenant, _MOST, key, fingerprint, IDEMPOTENCY_MS, state, *fields)
        answer, *rest = await self._scripts.run("endpoint_create", f"endpoint:{made}", *args)
        if answer == "mismatch":
            raise IdempotencyMismatch("this Idempotency-Key was used for another request; use a new key for a new request")
        if answer == "full":
            raise ValidationFailed(f"there are {_MOST} endpoints already; delete one first")
        return Created(await self.get(tenant, rest[0]), answer == "replay")

    async def change(
        self,
        tenant: str,
        endpoint_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Endpoint:
        """Change what is given. Raises NotFound, StoreUnavailable, Overloaded."""
        given = {"url": url, "events": None if events is None else _written(events), "description": description}
        flat = [part for name, value in given.items() if value is not None for part in (name, value)]
        state = "" if enabled is None else "enabled" if enabled else "disabled"
        if not await self._scripts.run("endpoint_change", f"endpoint:{endpoint_id}", endpoint_id, tenant, state, *flat):
            raise _not_found()
        return await self.get(tenant, endpoint_id)

    async def delete(self, tenant: str, endpoint_id: str) -> None:
        """Raises NotFound, StoreUnavailable."""
        if not await self._scripts.run("endpoint_delete", f"endpoint:{endpoint_id}", endpoint_id, tenant):
            raise _not_found()

    async def get(self, tenant: str, endpoint_id: str) -> Endpoint:
        """Raises NotFound (also for another tenant's), StoreUnavailable."""
        fields: dict[str, str] = await self._scripts.command("HGETALL", f"endpoint:{endpoint_id}")
        if fields.get("tenant") != tenant:
            raise _not_found()
        return _endpoint(endpoint_id, fields)

    async def all(self, tenant: str) -> list[Endpoint]:
        """Oldest first, disabled ones too. Raises StoreUnavailable."""
        ids: list[str] = await self._scripts.command("ZRANGE", f"endpoints:{tenant}", 0, -1)
        rows = await asyncio.gather(*(self._scripts.command("HGETALL", f"endpoint:{one}") for one in ids))
        return [_endpoint(one, row) for one, row in zip(ids, rows, strict=True) if row]


def _written(events: Sequence[str]) -> str:
    """Between commas, as the scripts look for them."""
    return f",{','.join(events)}," if events else ""


def _not_found() -> NotFound:
    return NotFound("there is no endpoint with this id")


def _endpoint(endpoint_id: str, fields: dict[str, str]) -> Endpoint:
    def number(name: str) -> int | None:
        return int(fields[name]) if fields.get(name) else None

    reason = fields.get("disabled_reason")
    if reason is not None and reason not in get_args(DisabledReason):
        raise ValueError(f"unknown reason {reason!r}")
    return Endpoint(
        id=endpoint_id,
        url=fields["url"],
        events=tuple(fields["events"].strip(",").split(",")) if fields["events"] else (),
        description=fields["description"],
        disabled_reason=reason,  # type: ignore[arg-type]  # checked above
        created_ms=int(fields["created"]),
        last_success_ms=number("last_success"),
        last_failure_ms=number("last_failure"),
        failing_since_ms=number("failing_since"),
        last_status=number("last_status"),
        last_error=fields.get("last_error", ""),
    )
