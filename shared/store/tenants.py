"""Keys, tenants and their limits in Redis. Of a key only its SHA-256 is stored."""

import asyncio
import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import Literal

from shared.errors import Unauthorized
from shared.settings import Settings
from shared.store.connection import Scripts, pairs

SCOPES = ("read", "submit", "admin")
TIERS = ("free", "pro", "enterprise")
ROTATION_MS = 24 * 3_600_000
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CACHED_S = 1.0
_CACHED_KEYS_MAX = 10_000

Kind = Literal["submit", "read"]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key's record. `id`: the first 12 hex digits of its SHA-256."""

    id: str
    tenant: str
    tier: str
    scopes: frozenset[str]
    name: str
    created_ms: int


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
        self, tenant: str, *, tier: str, scopes: frozenset[str], name: str, key: str | None = None
    ) -> tuple[str, ApiKey]:
        """Make a key (or make `key` valid) and answer it: the only time that it can be seen."""
        text = key or "es_" + "".join(secrets.choice(_BASE62) for _ in range(24))
        digest = hashlib.sha256(text.encode()).hexdigest()
        created_ms = int(time.time() * 1000)
        record = ApiKey(digest[:12], tenant, tier, scopes, name, created_ms)
        fields = {"id": record.id, "tenant": tenant, "tier": tier, "scopes": ",".join(sorted(scopes)), "name": name}
        flat = [part for pair in fields.items() for part in pair]
        await self._scripts.command("HSET", f"key:{digest}", *flat, "created", created_ms)
        await self._scripts.command("HSET", "keys", record.id, digest)
        return text, record

    async def list_keys(self) -> list[ApiKey]:
        """All keys that are not revoked, oldest first."""
        digests: dict[str, str] = await self._scripts.command("HGETALL", "keys")
        rows = [await self._scripts.command("HGETALL", f"key:{digest}") for digest in digests.values()]
        return sorted((_key_of(row) for row in rows if row), key=lambda key: key.created_ms)

    async def revoke_key(self, key_id: str) -> bool:
        """Make a key invalid; False if there is none with this id."""
        digest = await self._scripts.command("HGET", "keys", key_id)
        if digest is None:
            return False
        await self._scripts.command("DEL", f"key:{digest}")
        await self._scripts.command("HDEL", "keys", key_id)
        return True

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
    )
