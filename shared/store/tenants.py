"""Keys, tenants and their limits in Redis. Of a key only its SHA-256 is stored."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shared.errors import Unauthorized
from shared.settings import Settings
from shared.store.connection import Argument, Scripts, pairs

SCOPES = ("read", "submit", "admin")
TIERS = ("free", "pro", "enterprise")
ROTATION_MS = 24 * 3_600_000
#: What a tenant may be called: it is part of names in Redis and in storage.
TENANT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_TENANTS = "tenants"  # sorted set of all names
_KEYS = "keys:by_tenant"  # sorted set of {tenant}:{key id}
#: `TenantLimits` as the fields of the hash that the scripts read.
_LIMIT_FIELDS = {
    "daily_limit_micro_usd": "daily_limit",
    "monthly_limit_micro_usd": "monthly_limit",
    "queue_quota": "quota",
    "batch_quota": "batch_quota",
    "running_cap": "cap",
    "weight": "weight",
}
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CACHED_S = 1.0
_CACHED_KEYS_MAX = 10_000

Kind = Literal["submit", "read"]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key's record. `id`: the first 12 hex digits of its SHA-256. The limits: None means the service's own.

    `ends_ms`: when it stops working, None: when it is revoked.
    """

    id: str
    tenant: str
    tier: str
    scopes: frozenset[str]
    name: str
    created_ms: int
    submits_per_minute: int | None = None
    reads_per_minute: int | None = None
    ends_ms: int | None = None


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What is set for one tenant. Money in 1e-6 USD, None: no limit. The others: None means the service's own.

    `running_cap`: edits at once; `weight`: how many turns it gets for one of another tenant.
    """

    daily_limit_micro_usd: int | None = None
    monthly_limit_micro_usd: int | None = None
    queue_quota: int | None = None
    batch_quota: int | None = None
    running_cap: int | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A key's token bucket: `limit` a minute, `remaining` now, one more in `reset_s` seconds when it is empty."""

    limit: int
    remaining: int
    reset_s: float
    allowed: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that came in with a known key."""

    key: ApiKey
    bucket: Bucket


@dataclass(slots=True)
class _Allowance:
    """What this process may hand out for one key before it asks Redis again."""

    key: ApiKey
    limit: int
    granted: int
    tokens: int
    left: int
    until: float


class Tenants:
    """Keys are read, and tokens taken, for a second at a time: a revoked key works for at most one second more."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._per_minute: dict[Kind, int] = {"submit": settings.submits_per_minute, "read": settings.reads_per_minute}
        self._allowances: dict[tuple[str, Kind], _Allowance] = {}
        self._fetching: dict[tuple[str, Kind], asyncio.Task[_Allowance]] = {}

    async def enter(self, key: str, kind: Kind) -> Entry:
        """The key's record, and one token taken if there was one. Raises Unauthorized, StoreUnavailable."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        held = self._allowances.get((digest, kind))
        while held is None or held.tokens < 1 or held.until < time.monotonic():
            held = await self._fetch_once(digest, kind)
            if not held.granted:
                return Entry(held.key, Bucket(held.limit, held.left, 60 / held.limit, allowed=False))
        held.tokens -= 1
        return Entry(held.key, Bucket(held.limit, held.left + held.tokens, 60 / held.limit, allowed=True))

    async def _fetch_once(self, digest: str, kind: Kind) -> _Allowance:
        """What is fetched for all who wait for this key: if each fetched its own, all but the last one's tokens would be lost."""
        task = self._fetching.get((digest, kind))
        if task is None:
            task = self._fetching[digest, kind] = asyncio.create_task(self._fetch(digest, kind))
            task.add_done_callback(lambda _: self._fetching.pop((digest, kind)))
        return await asyncio.shield(task)

    async def _fetch(self, digest: str, kind: Kind) -> _Allowance:
        default = self._per_minute[kind]
        spent = self._allowances.pop((digest, kind), None)
        unused = spent.tokens if spent else 0
        answer = await self._scripts.run(
            "enter", f"key:{digest}", kind, default, default // 60, unused, more_keys=[f"rate:{digest}:{kind}"]
        )
        if not answer:
            raise Unauthorized("the API key is unknown or revoked")
        flat, granted, left, limit = answer
        until = time.monotonic() + _CACHED_S
        allowance = _Allowance(_key_of(pairs(flat)), int(limit), int(granted), int(granted), int(left), until)
        if len(self._allowances) >= _CACHED_KEYS_MAX:
            self._allowances.clear()
        self._allowances[digest, kind] = allowance
        return allowance

    async def create_key(
        self,
        tenant: str,
        *,
        tier: str,
        scopes: frozenset[str],
        name: str,
        submits_per_minute: int | None = None,
        reads_per_minute: int | None = None,
        key: str | None = None,
        life_s: int | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a key (or make `key` valid), for `life_s` if that is given, and answer it: the only time that it can be seen."""
        text = key or "es_" + "".join(secrets.choice(_BASE62) for _ in range(24))
        digest = hashlib.sha256(text.encode()).hexdigest()
        created_ms = int(time.time() * 1000)
        ends_ms = None if life_s is None else created_ms + life_s * 1000
        record = ApiKey(digest[:12], tenant, tier, scopes, name, created_ms, submits_per_minute, reads_per_minute, ends_ms)
        fields: dict[str, Argument] = {"id": record.id, "tenant": tenant, "tier": tier, "scopes": ",".join(sorted(scopes))}
        fields |= {"name": name, "created": created_ms}
        given = {"submit_per_minute": submits_per_minute, "read_per_minute": reads_per_minute, "ends": ends_ms}
        fields |= {field: value for field, value in given.items() if value is not None}
        await self._scripts.command("ZADD", _TENANTS, 0, tenant)
        await self._scripts.command("HSET", f"key:{digest}", *_flat(fields))
        if ends_ms is not None:
            await self._scripts.command("PEXPIREAT", f"key:{digest}", ends_ms)
        await self._scripts.command("HSET", "keys", record.id, digest)
        await self._scripts.command("ZADD", _KEYS, 0, f"{tenant}:{record.id}")
        return text, record

    async def list_keys(self, *, tenant: str | None = None, after: str = "", count: int = 100) -> tuple[list[ApiKey], str | None]:
        """Some keys that still work, by tenant, and what `after` has to be for the next ones; None: there are no more."""
        end = f"({tenant};" if tenant is not None else "+"
        start = f"({after}" if after else f"[{tenant}:" if tenant is not None else "-"
        names: list[str] = await self._scripts.command("ZRANGEBYLEX", _KEYS, start, end, "LIMIT", 0, count)
        found = await asyncio.gather(*(self._key(name.rpartition(":")[2]) for name in names))
        for name in (name for name, key in zip(names, found, strict=True) if key is None):
            # Its time is over: of such a key only its name is left.
            await self._scripts.command("ZREM", _KEYS, name)
            await self._scripts.command("HDEL", "keys", name.rpartition(":")[2])
        return [key for key in found if key is not None], names[-1] if len(names) == count else None

    async def revoke_key(self, key_id: str) -> bool:
        """Make a key invalid; False if there is none with this id."""
        key = await self._key(key_id)
        if key is None:
            return False
        digest = await self._scripts.command("HGET", "keys", key_id)
        await self._scripts.command("DEL", f"key:{digest}")
        await self._scripts.command("ZREM", _KEYS, f"{key.tenant}:{key_id}")
        await self._scripts.command("HDEL", "keys", key_id)
        return True

    async def _key(self, key_id: str) -> ApiKey | None:
        digest = await self._scripts.command("HGET", "keys", key_id)
        row: dict[str, str] = await self._scripts.command("HGETALL", f"key:{digest}") if digest else {}
        return _key_of(row) if row else None

    async def is_known(self, tenant: str) -> bool:
        """Whether this tenant ever had a key or a limit."""
        return await self._scripts.command("ZSCORE", _TENANTS, tenant) is not None

    async def names(self, *, after: str = "", count: int = 100) -> list[str]:
        """Some tenants, by name, those past `after`."""
        start = f"({after}" if after else "-"
        found: list[str] = await self._scripts.command("ZRANGEBYLEX", _TENANTS, start, "+", "LIMIT", 0, count)
        return found

    async def limits(self, tenant: str) -> TenantLimits:
        """What is set for a tenant; nothing for one that is not known."""
        row: list[str | None] = await self._scripts.command("HMGET", f"tenant:{tenant}", *_LIMIT_FIELDS.values())
        values = {name: _number(name, text) for name, text in zip(_LIMIT_FIELDS, row, strict=True) if text is not None}
        return TenantLimits(**values)

    async def set_limits(self, tenant: str, changes: Mapping[str, float | None]) -> None:
        """Set some limits by their names in `TenantLimits`; None takes one away. A tenant that is not known becomes known."""
        fields: dict[str, Argument] = {_LIMIT_FIELDS[name]: value for name, value in changes.items() if value is not None}
        gone = [_LIMIT_FIELDS[name] for name, value in changes.items() if value is None]
        await self._scripts.command("ZADD", _TENANTS, 0, tenant)
        if fields:
            await self._scripts.command("HSET", f"tenant:{tenant}", *_flat(fields))
        if gone:
            await self._scripts.command("HDEL", f"tenant:{tenant}", *gone)

    async def unfinished(self, tenant: str) -> tuple[int, int, int]:
        """How many edits, how many items of batches, and how many of both are running."""
        counts = await asyncio.gather(
            self._scripts.command("HGET", "open", tenant),
            self._scripts.command("HGET", "open:batches", tenant),
            self._scripts.command("SCARD", f"active:tenant:{tenant}"),
        )
        edits, items, running = (int(count or 0) for count in counts)
        return edits, items, running

    async def secret_versions(self, tenant: str) -> tuple[int, ...]:
        """Versions of the webhook secret that sign now: the current one, then the previous one while its rotation lasts."""
        current, previous_until = await self._scripts.command("HMGET", f"tenant:{tenant}", "secret_version", "previous_until")
        version = int(current or 1)
        return (version, version - 1) if int(previous_until or 0) > time.time() * 1000 else (version,)

    async def rotate_secret(self, tenant: str) -> tuple[int, ...]:
        """Start signing with a new secret, and with the old one for 24 h more."""
        current = await self._scripts.command("HGET", f"tenant:{tenant}", "secret_version")
        version = int(current or 1) + 1
        until = int(time.time() * 1000) + ROTATION_MS
        await self._scripts.command("HSET", f"tenant:{tenant}", "secret_version", version, "previous_until", until)
        return version, version - 1


def _key_of(fields: dict[str, str]) -> ApiKey:
    return ApiKey(
        fields["id"],
        fields["tenant"],
        fields["tier"],
        frozenset(fields["scopes"].split(",")),
        fields["name"],
        int(fields["created"]),
        int(fields["submit_per_minute"]) if "submit_per_minute" in fields else None,
        int(fields["read_per_minute"]) if "read_per_minute" in fields else None,
        int(fields["ends"]) if "ends" in fields else None,
    )


def _flat(fields: Mapping[str, Argument]) -> list[Argument]:
    return [part for pair in fields.items() for part in pair]


def _number(name: str, text: str) -> Any:
    return float(text) if name == "weight" else int(text)
