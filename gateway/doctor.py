"""`doctor`: is everything there that the service needs, and what to do about what is not."""

import argparse
import asyncio
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import aiohttp
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from shared.catalog.load import Catalog, CatalogInvalid, load_catalog
from shared.errors import EditStudioError, StorageUnavailable
from shared.redis_address import read_sentinel_address
from shared.settings import Settings
from shared.storage import ObjectMissing, Storage
from shared.store.connection import open_redis
from shared.store.durability import failover_of

_REDIS_LEAST = (6, 2)
_CLOCK_SKEW_MAX_S = 2.0
_MEMORY_FULL = 0.8
# The longest field of a record: how its model was chosen among all there are, 2 kB.
_COMPACT_BYTES = 4_096
_LINK_S = 10.0
_FETCHED_MAX_BYTES = 1024
_INPUT_AREAS = ("in", "sent", "rejected")


class Verdict(StrEnum):
    """How a check came out."""

    GOOD = "ok"  #: as it should be
    WARNING = "warning"  #: works, but not as well as it could
    BAD = "failed"  #: the service cannot keep its promises like this


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `advice`: what to do, empty where nothing is to be done."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(prog="edit-studio doctor", description="Check Redis, S3 and the providers' keys.")
    command.add_argument("--json", action="store_true", help="print one JSON document")
    return command


async def run(settings: Settings) -> list[Check]:
    """Every check, in the order in which faults should be mended. Never raises for what it checks.

    Writes and deletes one small object in the bucket, and makes the bucket if it is missing, as the gateway would.
    """
    return [*await _check_redis(settings), *await _check_storage(settings), *_check_providers(settings)]


def report(checks: list[Check], console: Console, *, as_json: bool = False) -> int:
    """Print them as a table, or as one JSON document; the exit code: 0 unless one is bad."""
    code = int(any(check.verdict is Verdict.BAD for check in checks))
    if as_json:
        console.out(json.dumps({"checks": [asdict(check) for check in checks]}), highlight=False)
        return code
    colours = {Verdict.GOOD: "green", Verdict.WARNING: "yellow", Verdict.BAD: "red"}
    table = Table("check", "", "found", "what to do", box=None, pad_edge=False)
    for check in checks:
        table.add_row(check.name, Text(check.verdict, style=colours[check.verdict]), escape(check.found), escape(check.advice))
    console.print(table)
    return code


async def _check_redis(settings: Settings) -> list[Check]:
    client, sentinels = open_redis(settings), read_sentinel_address(settings.redis_url.get_secret_value())
    try:
        async with asyncio.timeout(settings.redis_timeout_s):
            sent_at = time.time()
            seconds, microseconds = await client.time()
            answered_at = time.time()
            info: dict[str, Any] = await client.info()
            fsync = await _config(client, "appendfsync")
            compact = await _config(client, "hash-max-listpack-value") or await _config(client, "hash-max-ziplist-value")
        failover = [await _failover(client, settings)] if sentinels else []
    except AuthenticationError:
        return [Check("Redis", Verdict.BAD, "refuses the password", "put the right one into EDIT_STUDIO_REDIS_URL")]
    except (RedisError, EditStudioError, OSError, TimeoutError, ValueError) as error:
        advice = "start redis-server, or set EDIT_STUDIO_REDIS_URL; `edit-studio up` brings its own"
        return [Check("Redis", Verdict.BAD, f"does not answer ({type(error).__name__})", advice)]
    finally:
        await client.aclose(close_connection_pool=True)
    skew_s = seconds + microseconds / 1e6 - (sent_at + answered_at) / 2
    return [
        _version(info),
        _persistence(info, fsync, settings),
        _eviction(info, settings),
        _memory(info),
        _clock(skew_s),
        _compactness(compact),
        *failover,
    ]


async def _config(client: "Redis", name: str) -> str | None:
    """A configuration value; None where the server does not know it, or hides it as hosted ones do."""
    try:
        values = await client.config_get(name)
    except ResponseError:
        return None
    found = values.get(name)
    return None if found is None else str(found)


def _version(info: dict[str, Any]) -> Check:
    version = str(info["redis_version"])
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None or (int(match[1]), int(match[2])) < _REDIS_LEAST:
        return Check("Redis version", Verdict.BAD, version, f"use Redis {'.'.join(map(str, _REDIS_LEAST))} or later")
    return Check("Redis version", Verdict.GOOD, version)


def _persistence(info: dict[str, Any], fsync: str | None, settings: Settings) -> Check:
    bad = Verdict.WARNING if settings.allow_volatile_redis else Verdict.BAD
    if not int(info.get("aof_enabled", 0)):
        return Check("Redis persistence", bad, "no append-only file: a restart loses jobs", "redis.conf: appendonly yes")
    if info.get("aof_last_write_status", "ok") != "ok":
        return Check("Redis persistence", Verdict.BAD, "the append-only file cannot be written", "look at the disk of Redis")
    if fsync is None:
        return Check(
            "Redis persistence", Verdict.WARNING, "append-only file; how it is synced is hidden", "ask for appendfsync always"
        )
    if fsync != "always":
        found = f"appendfsync {fsync}: a power cut loses the last jobs"
        return Check("Redis persistence", Verdict.WARNING, found, "redis.conf: appendfsync always")
    return Check("Redis persistence", Verdict.GOOD, "append-only file, synced at every write")


def _eviction(info: dict[str, Any], settings: Settings) -> Check:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return Check("Redis eviction", Verdict.GOOD, policy)
    bad = Verdict.WARNING if settings.allow_volatile_redis else Verdict.BAD
    return Check("Redis eviction", bad, f"{policy}: a full Redis drops jobs", "redis.conf: maxmemory-policy noeviction")


def _memory(info: dict[str, Any]) -> Check:
    used, most = int(info["used_memory"]), int(info.get("maxmemory", 0))
    if not most:
        advice = "redis.conf: maxmemory, below what the machine has"
        return Check("Redis memory", Verdict.WARNING, f"{_mib(used)} used, no limit", advice)
    found = f"{_mib(used)} of {_mib(most)} used"
    if used > _MEMORY_FULL * most:
        return Check("Redis memory", Verdict.BAD, found, "raise maxmemory, or shorten EDIT_STUDIO_RETENTION_S")
    return Check("Redis memory", Verdict.GOOD, found)


async def _failover(client: "Redis", settings: Settings) -> Check:
    failover = await failover_of(client, timeout_s=settings.redis_timeout_s)
    verdict = Verdict.WARNING if failover.advice else Verdict.GOOD
    return Check("Redis failover", verdict, failover.found, failover.advice)


def _clock(skew_s: float) -> Check:
    found = f"{abs(skew_s):.3f} s apart"
    if abs(skew_s) > _CLOCK_SKEW_MAX_S:
        return Check("clocks", Verdict.BAD, f"this machine and Redis are {found}", "synchronise both (NTP)")
    return Check("clocks", Verdict.GOOD, f"this machine and Redis are {found}")


def _compactness(value: str | None) -> Check:
    if value is None or int(value) >= _COMPACT_BYTES:
        return Check("Redis compactness", Verdict.GOOD, value or "hidden by the server")
    advice = f"redis.conf: hash-max-listpack-value {_COMPACT_BYTES} (before Redis 7: hash-max-ziplist-value)"
    return Check("Redis compactness", Verdict.WARNING, f"{value}: a record takes half as much memory again", advice)


def _mib(count: int) -> str:
    return f"{count / 1024 / 1024:,.0f} MiB"


async def _check_storage(settings: Settings) -> list[Check]:
    """Put, get, presigned GET and delete; what comes after a failure is not tried."""
    try:
        storage = Storage(settings)
    except ValueError as error:
        return [Check("S3", Verdict.BAD, str(error), "mend EDIT_STUDIO_S3_ENDPOINT_URL")]
    key, body = f"doctor/{secrets.token_hex(8)}.txt", secrets.token_bytes(64)
    steps: list[tuple[str, Callable[[], Awaitable[str]], str]] = [
        (
            "S3 bucket",
            lambda: _bucket(storage, settings),
            "check EDIT_STUDIO_S3_ENDPOINT_URL, _ACCESS_KEY, _SECRET_KEY and _BUCKET",
        ),
        ("S3 put", lambda: _put(storage, key, body), "the keys need the right s3:PutObject"),
        ("S3 get", lambda: _get(storage, key, body), "the keys need the right s3:GetObject"),
        (
            "S3 presigned link",
            lambda: _fetch_link(storage, key, body),
            "check EDIT_STUDIO_S3_REGION and _PUBLIC_URL, and the clock",
        ),
        ("S3 delete", lambda: _delete(storage, key), "the keys need the right s3:DeleteObject"),
    ]
    checks = []
    for name, step, advice in steps:
        try:
            checks.append(Check(name, Verdict.GOOD, await step()))
        except (StorageUnavailable, ObjectMissing, _Unexpected) as error:
            checks.append(Check(name, Verdict.BAD, str(error) or "the object is not there", advice))
            return checks
    return [*checks, await _old_pictures(storage, settings)]


class _Unexpected(Exception):
    """A step of a check ended otherwise than it should."""


async def _bucket(storage: Storage, settings: Settings) -> str:
    await storage.ensure_bucket()
    return f"{settings.s3_bucket} at {settings.s3_endpoint_url or 'AWS'}"


async def _put(storage: Storage, key: str, body: bytes) -> str:
    await storage.put(key, body, content_type="text/plain")
    return f"{len(body)} bytes"


async def _get(storage: Storage, key: str, body: bytes) -> str:
    if await storage.get(key) != body:
        raise _Unexpected("other bytes came back than were put")
    return "the same bytes"


async def _fetch_link(storage: Storage, key: str, body: bytes) -> str:
    link, _ = await storage.link(key)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_LINK_S)) as session,
            session.get(link) as answer,
        ):
            if answer.status != 200 or await answer.content.read(_FETCHED_MAX_BYTES) != body:
                raise _Unexpected(f"the link answers {answer.status}")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _Unexpected(f"the link cannot be fetched ({type(error).__name__})") from error
    return "public" if storage.reachable_from(None) else "from inside only; providers get the bytes instead"


async def _delete(storage: Storage, key: str) -> str:
    await storage.delete([key])
    return "gone"


async def _old_pictures(storage: Storage, settings: Settings) -> Check:
    """Who removes what is old: the bucket's rules or the workers, and whether too early."""
    name, shown = "S3 old pictures", "deploy/s3-lifecycle.json"
    workers = dict.fromkeys(_INPUT_AREAS, settings.input_retention_days) | {"out": settings.output_retention_days}
    try:
        rules = await storage.lifecycle_days()
    except StorageUnavailable as error:
        return Check(name, Verdict.WARNING, f"the bucket's rules are hidden: {error}", "allow s3:GetLifecycleConfiguration")
    ruled = {area: min(days) for area in workers if (days := [n for prefix, n in rules.items() if f"{area}/".startswith(prefix)])}
    needed_days = -(-settings.retention_s // 86_400) + 2
    if early := [area for area, days in ruled.items() if area in ("in", "out") and days < needed_days]:
        advice = f"{shown}: in/ and out/ at least {needed_days} days, or shorten EDIT_STUDIO_RETENTION_S"
        return Check(name, Verdict.WARNING, f"the bucket's rules remove what records still show ({', '.join(early)})", advice)
    if twice := [area for area in ruled if workers[area]]:
        advice = "EDIT_STUDIO_INPUT_RETENTION_DAYS=0 and EDIT_STUDIO_OUTPUT_RETENTION_DAYS=0"
        return Check(name, Verdict.WARNING, f"the bucket's rules and workers both remove {', '.join(twice)}", advice)
    if nobody := [area for area, days in workers.items() if not days and area not in ruled]:
        advice = f"set the rules of {shown}, or EDIT_STUDIO_INPUT_RETENTION_DAYS and EDIT_STUDIO_OUTPUT_RETENTION_DAYS"
        return Check(name, Verdict.WARNING, f"nobody removes {', '.join(nobody)}: the bucket grows for ever", advice)
    after = ", ".join(f"{area} {ruled.get(area, days)}" for area, days in workers.items())
    return Check(name, Verdict.GOOD, f"removed by {'the bucket' if ruled else 'workers'}, after days: {after}")


def _check_providers(settings: Settings) -> list[Check]:
    """Which providers can be used. Nothing is asked over the network: a key may be set and wrong."""
    try:
        catalog = load_catalog(settings.catalog_dir)
    except CatalogInvalid as error:
        return [Check("catalogue", Verdict.BAD, str(error), "mend the file, or unset EDIT_STUDIO_CATALOG_DIR")]
    return [*_provider_checks(catalog, settings)]


def _provider_checks(catalog: Catalog, settings: Settings) -> list[Check]:
    checks = []
    for name, entry in catalog.providers.items():
        models = f"{len(entry.models)} models"
        if not entry.needs_key:
            checks.append(Check(entry.label, Verdict.GOOD, f"needs no key, {models}"))
        elif settings.provider_access(name).api_key:
            checks.append(Check(entry.label, Verdict.GOOD, f"{name.upper()}_API_KEY is set, {models}"))
        else:
            advice = f"set {name.upper()}_API_KEY to use it"
            checks.append(Check(entry.label, Verdict.WARNING, f"no key, {models} out of use", advice))
    return checks
