"""Whether a Redis keeps what is promised on its word."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from shared.errors import StoreUnavailable
from shared.redis_address import read_sentinel_address
from shared.settings import Settings

_LAG_MAX_S = 10
_log = logging.getLogger(__name__)


class VolatileRedis(Exception):
    """This Redis may lose or evict jobs; the message says what to set."""


@dataclass(frozen=True, slots=True)
class Failover:
    """What is lost when a replica takes the master's place. `advice`: what to set; empty where it is as little as can be."""

    found: str
    advice: str = ""


async def check_durability(redis: "Redis", settings: Settings) -> None:
    """Refuse to run on a Redis without append-only file or with eviction, unless `allow_volatile_redis`.

    A hosted Redis that does not answer CONFIG is judged by INFO alone. What a failover by Sentinel may lose is logged.

    Raises VolatileRedis, StoreUnavailable.
    """
    faults = await durability_faults(redis, timeout_s=settings.redis_timeout_s)
    if faults and not settings.allow_volatile_redis:
        advice = "; ".join(faults)
        raise VolatileRedis(f"{advice}. Accepted edits could be lost. EDIT_STUDIO_ALLOW_VOLATILE_REDIS=1 starts all the same.")
    if read_sentinel_address(settings.redis_url.get_secret_value()):
        failover = await failover_of(redis, timeout_s=settings.redis_timeout_s)
        if failover.advice:
            _log.warning("%s: %s", failover.found, failover.advice)


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


async def failover_of(redis: "Redis", *, timeout_s: float) -> Failover:
    """Judge a master that Sentinels watch over. Raises StoreUnavailable.

    Source: Redis, "High availability with Redis Sentinel", sections on guarantees and on `min-replicas-to-write`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            replicas = int((await redis.info("replication")).get("connected_slaves", 0))
            try:
                config = {**await redis.config_get("min-replicas-to-write"), **await redis.config_get("min-replicas-max-lag")}
            except ResponseError:
                config = {}
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable("the job store did not answer") from error
    least, lag_s = int(config.get("min-replicas-to-write", 0)), int(config.get("min-replicas-max-lag", 0))
    if not replicas:
        return Failover("the master has no replica: nothing can take its place", "start two replicas, on other machines")
    if not config:
        return Failover(f"{replicas} replicas; whether a cut-off master stops is hidden", "ask for min-replicas-to-write 1")
    if least < 1 or not 0 < lag_s <= _LAG_MAX_S:
        return Failover(
            f"{replicas} replicas, followed asynchronously: a failover loses the last acknowledged writes, and a master that is "
            "cut off from the others goes on acknowledging what will be lost",
            "redis.conf of all of them: min-replicas-to-write 1, min-replicas-max-lag 5",
        )
    return Failover(
        f"{replicas} replicas, followed asynchronously: a failover loses the writes of the last moments; a master that is cut "
        f"off stops within {lag_s} s"
    )
