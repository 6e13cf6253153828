"""What must hold in Redis at any time, whatever happened before."""

import json
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
    apart = await _apart(redis)
    open_by_tenant: dict[str, Counter[str]] = {"open": Counter(), "open:batches": Counter()}
    reserved: Counter[str] = Counter()
    for job_id, fields in jobs.items():
        state, at = fields.get("state"), fields.get("at")
        unfinished = state in ("queued", "running")
        if not unfinished and state not in ("succeeded", "failed", "canceled"):
            wrong.append(f"{job_id} has state {state!r}")
        if unfinished != (job_id in timers):
            wrong.append(f"{job_id} is {state} and {'has a' if job_id in timers else 'has no'} timer")
        if ready[job_id] != (1 if state == "queued" and at == "ready" else 0):
            wrong.append(f"{job_id} is {state}/{at} and lies in {ready[job_id]} queues")
        if apart[job_id] != (1 if state == "queued" and at in ("staged", "twin") else 0):
            wrong.append(f"{job_id} is {state}/{at} and waits apart in {apart[job_id]} places")
        for kind, members in active.items():
            if members[job_id] != (1 if state == "running" else 0):
                wrong.append(f"{job_id} is {state} and in {members[job_id]} sets active:{kind}")
        if unfinished:
            open_by_tenant["open:batches" if fields.get("batch") else "open"][fields["tenant"]] += 1
            reserved[fields["tenant"]] += int(fields.get("reserved", 0))
        else:
            wrong.extend(await _end_of(redis, job_id, fields))
    for key, expected in open_by_tenant.items():
        counted = {tenant: int(count) for tenant, count in (await redis.hgetall(key)).items() if int(count)}
        if counted != dict(expected):
            wrong.append(f"{key} says {counted}, the records say {dict(expected)}")
    for period in ("d", "m"):
        held: Counter[str] = Counter()
        for key in await redis.keys(f"spend:*:{period}*"):
            held[key.split(":")[1]] += int(await redis.hget(key, "reserved") or 0)
        if +held != +reserved:
            wrong.append(f"reserved in the periods {period}: {dict(held)}, by the records {dict(reserved)}")
    for key in await redis.keys("batch:*"):
        if await redis.type(key) == "hash":
            wrong.extend(await _batch(redis, key, jobs))
    wrong.extend(await _deliveries(redis))
    wrong.extend(await _endpoints(redis))
    assert not wrong, "\n".join(wrong)


async def _members(redis: Any, pattern: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for key in await redis.keys(pattern):
        found.update(await redis.smembers(key))
    return found


async def _apart(redis: Any) -> Counter[str]:
    """Items that are in no queue: those of batches that are beyond the window, and twins."""
    found: Counter[str] = Counter()
    for key in await redis.keys("batch:*:staged"):
        found.update(await redis.zrange(key, 0, -1))
    for key in await redis.keys("twins:*"):
        found.update(await redis.lrange(key, 0, -1))
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


async def _deliveries(redis: Any) -> list[str]:
    """Each delivery that is on its way lies in one line, each line is looked at, and no more than 4 of one are being sent.

    Where workers go on meanwhile, one that is settled between two looks is no fault: what is wrong stays so.
    """
    wrong: list[str] = []
    for _ in range(3):
        wrong = await _deliveries_astray(redis)
        if not wrong:
            break
    return wrong


async def _deliveries_astray(redis: Any) -> list[str]:
    pending, waiting = set(), Counter[str]()
    for key in await redis.keys("whd:*"):
        if await redis.hget(key, "state") == "pending":
            pending.add(key.removeprefix("whd:"))
    lines = await redis.keys("outbox:*")
    for key in lines:
        waiting.update(await redis.zrange(key, 0, -1))
    strays = {key.removeprefix("outbox:") for key in lines} ^ set(await redis.zrange("outbox", 0, -1))
    wrong = [f"on its way or in a line, but not both: {delivery}" for delivery in pending ^ set(waiting)]
    wrong += [f"{delivery} is in {count} lines" for delivery, count in waiting.items() if count > 1]
    wrong += [f"{key} holds {await redis.zcard(key)}" for key in await redis.keys("sends:*") if await redis.zcard(key) > 4]
    return wrong + ([f"lines that are empty or not looked at: {strays}"] if strays else [])


async def _endpoints(redis: Any) -> list[str]:
    """What the scripts announce to is what the endpoints' own records say."""
    wrong = []
    tenants = {key.partition(":")[2] for pattern in ("endpoints:*", "tenant:*") for key in await redis.keys(pattern)}
    for tenant in tenants:
        told = json.loads(await redis.hget(f"tenant:{tenant}", "endpoints") or "[]")
        records = [(one, await redis.hgetall(f"endpoint:{one}")) for one in await redis.zrange(f"endpoints:{tenant}", 0, -1)]
        expected = [[one, row["url"], row["events"]] for one, row in records if row["state"] == "enabled"]
        if told != expected or any(row["tenant"] != tenant for _, row in records):
            wrong.append(f"{tenant} announces to {told}, its endpoints are {records}")
    return wrong


async def _batch(redis: Any, key: str, jobs: dict[str, dict[str, str]]) -> list[str]:
    fields = await redis.hgetall(key)
    if fields["state"] in ("expanding", "abandoned"):
        return []
    wrong = []
    ended = sum(int(fields.get(state, 0)) for state in ("succeeded", "failed", "canceled"))
    if int(fields["total"]) != ended + int(fields["left"]):
        wrong.append(f"{key}: total {fields['total']}, ended {ended}, left {fields['left']}")
    items = [jobs[job_id] for job_id in await redis.zrange(f"{key}:items", 0, -1) if job_id in jobs]
    for state in ("running", "succeeded", "failed", "canceled"):
        counted = sum(item["state"] == state for item in items)
        if len(items) == int(fields["total"]) and counted != int(fields.get(state, 0)):
            wrong.append(f"{key}: says {fields.get(state, 0)} {state}, the records say {counted}")
    inside = set(await redis.smembers(f"{key}:window"))
    expected = {i for i in await redis.zrange(f"{key}:items", 0, -1) if _is_inside(jobs.get(i, {}))}
    if inside != expected:
        wrong.append(f"{key}: its window holds {inside ^ expected} wrongly, or lacks it")
    reserved = sum(int(item.get("reserved", 0)) for item in items if item["state"] in ("queued", "running"))
    if reserved != int(fields.get("reserved", 0)):
        wrong.append(f"{key}: says {fields.get('reserved')} reserved, the records say {reserved}")
    if not int(fields["left"]) and not fields.get("finished"):
        wrong.append(f"{key} has nothing left and has not ended")
    return wrong


def _is_inside(fields: dict[str, str]) -> bool:
    return fields.get("state") == "running" or (fields.get("state") == "queued" and fields.get("at") in ("ready", "wait"))
