"""Whether a Redis keeps what is promised on its word."""

import asyncio
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from shared.errors import StoreUnavailable
from shared.settings import Settings


class VolatileRedis(Exception):
    """This Redis may lose or evict jobs; the message says what to set."""


async def check_durability(redis: "Redis", settings: Settings) -> None:
    """Refuse to run on a Redis without append-only file or with eviction, unless `allow_volatile_redis`.

    A hosted Redis that does not answer CONFIG is judged by INFO alone.

    Raises VolatileRedis, StoreUnavailable.
    """
    faults = await durability_faults(redis, timeout_s=settings.redis_timeout_s)
    if faults and not settings.allow_volatile_redis:
        advice = "; ".join(faults)
        raise VolatileRedis(f"{advice}. Accepted edits could be lost. EDIT_STUDIO_ALLOW_VOLATILE_REDIS=1 starts all the same.")


async def durability_faults(redis: "Redis", *, timeout_s: float) -> list[str]:
    """What is wrong with it, one sentence each with what to set. Raises StoreUnavailable."""
    try:
        async with asyncio.timeout(timeout_s):
            info: dict[str, Any] = await redis.info()
            faults = []
            if not info.get("aof_enabled"):
                faults.append("Redis has no append-only file: set appendonly yes")
            if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
                faults.append(f"Redis evicts keys ({policy}): set maxmemory-policy noeviction")
            try:
                sync = await redis.config_get("appendfsync")
            except ResponseError:
                sync = {}
            if info.get("aof_enabled") and sync.get("appendfsync", "always") == "no":
                faults.append("Redis leaves syncing to the system: set appendfsync always (or everysec: up to 2 s may be lost)")
            return faults
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable("the job store did not answer") from error
