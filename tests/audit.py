"""What must hold in Redis at any time, whatever happened before."""

from collections import Counter
from typing import Any


async def audit(redis: Any) -> None:
    """Every unfinished job has a timer and a place, every finished one has neither; counts add up; one event per end.

    Raises AssertionError with all that is wrong.
    """
    wrong: list[str] = []
    jobs = {key.removeprefix("job:"): await redis.hgetall(key) for key in await redis.keys("job:*")}
    timers = {member for member, _ in await redis.zrange("timers", 0, -1, withscores=True)}
    ready: Counter[str] = Counter()
    for key in await redis.keys("ready:*"):
        for member in await redis.zrange(key, 0, -1):
            ready[member] += 1
            fields = jobs.get(member, {})
            if key != f"ready:{fields.get('lane')}:{fields.get('tenant')}":
                wrong.append(f"{member} waits in {key} but belongs to lane {fields.get('lane')}")
            if await redis.zscore(f"turn:{fields.get('lane')}", fields.get("tenant")) is None:
                wrong.append(f"{member} waits but its tenant takes no turns")
    active = {kind: await _members(redis, f"active:{kind}:*") for kind in ("lane", "tenant")}
    open_by_tenant: Counter[str] = Counter()
    for job_id, fields in jobs.items():
        state, at = fields.get("state"), fields.get("at")
        staged = at == "staged" and await redis.hget(f"batch:{fields['batch']}", "state") == "staging"
        unfinished = state in ("queued", "running")
        if not unfinished and state not in ("succeeded", "failed", "canceled"):
            wrong.append(f"{job_id} has state {state!r}")
        if unfinished != (job_id in timers):
            wrong.append(f"{job_id} is {state} and {'has a' if job_id in timers else 'has no'} timer")
        expected_ready = 1 if state == "queued" and at in ("ready", "staged") and not staged else 0
        if ready[job_id] != expected_ready:
            wrong.append(f"{job_id} is {state}/{at} and lies in {ready[job_id]} queues")
        for kind, members in active.items():
            if members[job_id] != (1 if state == "running" else 0):
                wrong.append(f"{job_id} is {state} and in {members[job_id]} sets active:{kind}")
        if unfinished and not staged:
            open_by_tenant[fields["tenant"]] += 1
        if not unfinished:
            wrong.extend(await _end_of(redis, job_id, fields))
    counted = {tenant: int(count) for tenant, count in (await redis.hgetall("open")).items() if int(count)}
    if counted != dict(open_by_tenant):
        wrong.append(f"open says {counted}, the records say {dict(open_by_tenant)}")
    for key in await redis.keys("batch:*"):
        if await redis.type(key) == "hash":
            wrong.extend(await _batch(redis, key))
    assert not wrong, "\n".join(wrong)


async def _members(redis: Any, pattern: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for key in await redis.keys(pattern):
        found.update(await redis.smembers(key))
    return found


async def _end_of(redis: Any, job_id: str, fields: dict[str, str]) -> list[str]:
    wrong = []
    if not fields.get("finished") or not fields.get("expires"):
        wrong.append(f"{job_id} ended without a time")
    if await redis.pttl(f"job:{job_id}") <= 0:
        wrong.append(f"{job_id} ended and would be kept for ever")
    wanted = fields["state"] in fields.get("hook", "")
    names = [f"whd:whd_{job_id.partition('_')[2]}_{state}" for state in ("succeeded", "failed", "canceled")]
    there = [name for name in names if await redis.exists(name)]
    expected = [f"whd:whd_{job_id.partition('_')[2]}_{fields['state']}"] if wanted else []
    if there != expected:
        wrong.append(f"{job_id} is {fields['state']} and has the events {there}")
    return wrong


async def _batch(redis: Any, key: str) -> list[str]:
    fields = await redis.hgetall(key)
    if fields.get("state") == "staging":
        return []
    ended = sum(int(fields.get(state, 0)) for state in ("succeeded", "failed", "canceled"))
    if int(fields["total"]) != ended + int(fields["left"]):
        return [f"{key}: total {fields['total']}, ended {ended}, left {fields['left']}"]
    return []
