"""`doctor` against real servers: what it calls good, and what it says about each fault."""

import asyncio
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from rich.console import Console

from gateway.doctor import Check, Verdict, report, run
from shared.settings import Settings
from shared.storage import Storage
from tests.redis_group import RedisGroup
from tests.servers import RedisServer, S3Server, free_port


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    with S3Server(tmp_path / "s3") as server:
        yield server


def _redis(folder: Path, **options: str) -> RedisServer:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return RedisServer(folder / "redis", aof=True, options={"maxmemory": "64mb", "hash-max-ziplist-value": "4096", **named})


def _settings(**fields: Any) -> Settings:
    return Settings(secret=SecretStr("x" * 32), **{"provider_env": {}, **fields})


def _by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


async def test_everything_in_order_is_good_and_leaves_nothing_behind(tmp_path: Path, s3: S3Server) -> None:
    with _redis(tmp_path) as redis:
        checks = await run(_settings(**redis.settings, **s3.settings))
    faults = [check for check in checks if check.verdict is not Verdict.GOOD and not check.advice.endswith("_API_KEY to use it")]
    assert faults == []
    assert {"clocks", "S3 bucket", "S3 put", "S3 get", "S3 presigned link", "S3 delete"} <= set(_by_name(checks))
    assert [path for path in s3.objects.rglob("*") if path.is_file()] == []
    assert report(checks, Console(file=io.StringIO())) == 0


@pytest.mark.parametrize(
    ("option", "value", "name", "verdict", "advice"),
    [
        ("appendonly", "no", "Redis persistence", Verdict.BAD, "appendonly yes"),
        ("appendfsync", "everysec", "Redis persistence", Verdict.WARNING, "appendfsync always"),
        ("maxmemory_policy", "allkeys-lru", "Redis eviction", Verdict.BAD, "noeviction"),
        ("maxmemory", "0", "Redis memory", Verdict.WARNING, "maxmemory"),
        ("hash_max_ziplist_value", "64", "Redis compactness", Verdict.WARNING, "hash-max-listpack-value 4096"),
    ],
)
async def test_a_fault_of_redis_is_found_with_what_to_do(
    tmp_path: Path, s3: S3Server, option: str, value: str, name: str, verdict: Verdict, advice: str
) -> None:
    with _redis(tmp_path, **{option: value}) as redis:
        checks = await run(_settings(**redis.settings, **s3.settings))
        eased = await run(_settings(**redis.settings, **s3.settings, allow_volatile_redis=True))
    found = _by_name(checks)[name]
    assert found.verdict is verdict
    assert advice in found.advice
    assert report(checks, Console(file=io.StringIO())) == int(verdict is Verdict.BAD)
    assert report(eased, Console(file=io.StringIO())) == 0


async def test_servers_that_do_not_answer_are_told_without_their_passwords() -> None:
    redis_url, endpoint = f"redis://:very-secret@127.0.0.1:{free_port()}/0", f"http://127.0.0.1:{free_port()}"
    checks = await run(
        _settings(redis_url=redis_url, s3_endpoint_url=endpoint, s3_access_key="TESTACCESSKEY01", s3_secret_key="very-secret")
    )
    found = _by_name(checks)
    assert (found["Redis"].verdict, found["S3 bucket"].verdict) == (Verdict.BAD, Verdict.BAD)
    assert found["Redis"].advice
    output = io.StringIO()
    assert report(checks, Console(file=output, width=300)) == 1
    assert "very-secret" not in output.getvalue()


async def test_a_wrong_password_and_wrong_keys_are_told_as_such(tmp_path: Path, s3: S3Server) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        with redis.client() as client:
            client.config_set("requirepass", "right")
        checks = await run(
            _settings(redis_url=f"redis://:wrong@127.0.0.1:{redis.port}/0", **{**s3.settings, "s3_secret_key": "wrong"})
        )
    found = _by_name(checks)
    assert found["Redis"].found == "refuses the password"
    assert found["S3 bucket"].verdict is Verdict.BAD


async def test_a_frozen_redis_is_told_within_its_timeout(tmp_path: Path, s3: S3Server) -> None:
    with _redis(tmp_path) as redis:
        redis.freeze()
        checks = await run(_settings(**redis.settings, **s3.settings, redis_timeout_s=0.3))
    assert _by_name(checks)["Redis"].verdict is Verdict.BAD


async def test_a_providers_key_is_seen_and_its_absence_is_advice(tmp_path: Path, s3: S3Server) -> None:
    with _redis(tmp_path) as redis:
        without = await run(_settings(**redis.settings, **s3.settings))
        wanting = [check for check in without if check.advice.endswith("_API_KEY to use it")]
        assert wanting
        name = wanting[0].advice.split()[1]
        given = await run(_settings(**redis.settings, **s3.settings, provider_env={name: SecretStr("key")}))
    assert _by_name(given)[wanting[0].name].verdict is Verdict.GOOD


@pytest.mark.parametrize(
    ("rules", "days", "verdict", "advice"),
    [
        ({}, (7, 30), Verdict.GOOD, ""),
        ({}, (0, 30), Verdict.WARNING, "s3-lifecycle.json"),
        ({}, (0, 0), Verdict.WARNING, "s3-lifecycle.json"),
        ({"in/": 17, "sent/": 3, "rejected/": 7, "out/": 30}, (0, 0), Verdict.GOOD, ""),
        ({"": 30}, (0, 0), Verdict.GOOD, ""),
        ({"in/": 17, "sent/": 3, "rejected/": 7}, (0, 30), Verdict.GOOD, ""),
        ({"in/": 17}, (7, 30), Verdict.WARNING, "EDIT_STUDIO_INPUT_RETENTION_DAYS=0"),
        ({"": 5}, (0, 0), Verdict.WARNING, "at least 9 days"),
    ],
)
async def test_who_removes_old_pictures_is_told(
    tmp_path: Path,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    rules: dict[str, int],
    days: tuple[int, int],
    verdict: Verdict,
    advice: str,
) -> None:
    async def ruled(self: Storage) -> dict[str, int]:
        return rules

    # The S3 server of the tests has no rules of its own.
    monkeypatch.setattr(Storage, "lifecycle_days", ruled)
    inputs, outputs = days
    settings = _settings(
        **s3.settings,
        redis_url=f"redis://127.0.0.1:{free_port()}/0",
        input_retention_days=inputs,
        output_retention_days=outputs,
    )
    found = _by_name(await run(settings))["S3 old pictures"]
    assert (found.verdict, advice in found.advice) == (verdict, True)


async def test_what_a_failover_may_lose_is_told(tmp_path: Path, s3: S3Server) -> None:
    with RedisGroup(tmp_path / "group", replicas=1) as group:
        settings = _settings(**group.settings, **s3.settings)
        asynchronous = _by_name(await run(settings))
        with group.first.client() as client:
            client.config_set("min-replicas-to-write", "1")
            client.config_set("min-replicas-max-lag", "5")
            bounded = _by_name(await run(settings))
            group.replicas[0].kill()
            deadline = time.monotonic() + 10
            while client.info("replication")["connected_slaves"] and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
        alone = _by_name(await run(settings))
    assert asynchronous["Redis failover"].verdict is Verdict.WARNING
    assert "min-replicas-to-write 1" in asynchronous["Redis failover"].advice
    assert bounded["Redis failover"].verdict is Verdict.GOOD
    assert "loses the writes of the last moments" in bounded["Redis failover"].found
    assert "two replicas" in alone["Redis failover"].advice
    assert bounded["Redis persistence"].verdict is Verdict.GOOD
