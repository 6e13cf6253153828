"""What one tenant has does not exist for another one: every route, with everything that can be named in it."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.app import all_routes
from gateway.idempotency import HEADER
from shared.job import API_PREFIX, JobState
from shared.store.listing import read_cursor, write_cursor
from tests.gateway.conftest import Answer, Api
from tests.gateway.isolation_matrix import MATRIX, PROMPT, Probe, nothing
from tests.gateway.isolation_world import HOOK, OTHER, OWNER, WISH, World, end, make_world, take

_OWNER = re.compile(rf"\b{OWNER}\b")
_LABELS = {f"{route.method} {route.path.removeprefix(API_PREFIX)}": route for route in all_routes()}


def test_the_matrix_has_every_route() -> None:
    assert set(MATRIX) == set(_LABELS)


def test_whoever_takes_an_id_is_asked_for_a_foreign_one() -> None:
    forgotten = {label for label, probes in MATRIX.items() if "{id}" in label and not any(p.names is not nothing for p in probes)}
    assert forgotten == {"GET /models/{id}", "GET /openai/v1/models/{id}"}, "the catalogue is everybody's"


async def test_what_another_tenant_has_is_answered_as_if_it_never_was(api: Api) -> None:
    world = await make_world(api)
    await own_things(api, world)
    before = await all_of_the_owner(api, world)
    assert len(before) > 200
    wrong = [fault for label, probes in MATRIX.items() for probe in probes for fault in await _faults(api, world, label, probe)]
    assert not wrong, "\n".join(wrong)
    after = await all_of_the_owner(api, world)
    assert sorted(before - after) == sorted(after - before) == []


async def test_lists_show_the_tenants_own_andnothing_else(api: Api) -> None:
    world = await make_world(api)
    own = await own_things(api, world)
    listed = {
        "/jobs": {job["id"] for job in (await api.get("/jobs?limit=100", headers=world.other)).json["jobs"]},
        "/batches": {batch["id"] for batch in (await api.get("/batches?limit=100", headers=world.other)).json["batches"]},
        "/events": {one["edit_id"] or one["batch_id"] for one in (await api.get("/events", headers=world.other)).json["events"]},
        "/webhooks/endpoints": {
            one["id"] for one in (await api.get("/webhooks/endpoints", headers=world.other)).json["endpoints"]
        },
        "/webhooks/deliveries": {
            one["id"] for one in (await api.get("/webhooks/deliveries", headers=world.other)).json["deliveries"]
        },
    }
    assert listed == {
        "/jobs": {own["edit"], own["item"]},
        "/batches": {own["batch"]},
        "/events": {own["edit"], own["batch"]},
        "/webhooks/endpoints": {own["endpoint"]},
        "/webhooks/deliveries": {own["delivery"]},
    }
    assert (await api.get("/usage", headers=world.other)).json["total"]["succeeded"] == 0
    assert (await api.get("/usage")).json["total"]["succeeded"] > 0
    secrets = [(await api.get("/webhooks/secret", headers=headers)).json["secret"] for headers in (api.headers, world.other)]
    assert secrets[0] != secrets[1]


_IDEMPOTENT = [
    label
    for label, route in _LABELS.items()
    # OpenAI's answers have no word for it: tests/gateway/openai/test_adoption.py counts edits.
    if any(header.name == HEADER for header in route.headers) and "/openai/" not in label
]


@pytest.mark.parametrize("label", _IDEMPOTENT)
async def test_the_same_idempotency_key_of_two_tenants_is_two_keys(api: Api, label: str) -> None:
    """Each asks twice: its own first answer comes again, and never the other's."""
    bodies: dict[str, Any] = {
        "POST /process": WISH,
        "POST /jobs/{id}/retry": {},
        "POST /batches": {"items": [WISH]},
        "POST /batches/{id}/retry-failed": None,
        "POST /webhooks/endpoints": {"url": HOOK},
    }
    other, made = await api.key_of(OTHER), []
    for headers in (api.headers, other):
        method, path = label.split(" ")
        if "{id}" in path:
            path = path.replace("{id}", await _something_to_repeat(api, path, headers))
        kwargs = {} if bodies[label] is None else {"json": bodies[label]}
        answers = [await api.call(method, path, headers={**headers, HEADER: "k"}, **kwargs) for _ in range(2)]
        assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"], answers[0].json
        assert answers[0].json["id"] == answers[1].json["id"]
        made.append(answers[0].json["id"])
    assert made[0] != made[1]


async def own_things(api: Api, world: World) -> dict[str, str]:
    """What the second tenant has itself."""
    edit = await api.post("/process", json={**PROMPT, "image_base64": WISH["image_base64"]}, headers=world.other)
    body = {"items": [{**PROMPT, "image_base64": WISH["image_base64"]}]}
    batch = await api.post("/batches", json=body, headers=world.other)
    items = await api.get(f"/batches/{batch.json['id']}/items", headers=world.other)
    endpoint = await api.post("/webhooks/endpoints", json={"url": "https://other.example/"}, headers=world.other)
    delivery = await api.post("/webhooks/test", json={"url": "https://other.example/"}, headers=world.other)
    return {
        "edit": edit.json["id"],
        "batch": batch.json["id"],
        "item": items.json["items"][0]["id"],
        "endpoint": endpoint.json["id"],
        "delivery": delivery.json["id"],
    }


async def all_of_the_owner(api: Api, world: World) -> set[str]:
    """Every entry of Redis that names the first tenant or something of its, as text, and every object of its."""
    redis, found = api.connections.jobs._scripts.redis, set()
    names = re.compile("|".join([_OWNER.pattern, *map(re.escape, world.secrets)]))
    for key in await redis.keys("*"):
        kind = await redis.type(key)
        held: Any = {
            "string": lambda key=key: redis.get(key),
            "hash": lambda key=key: redis.hgetall(key),
            "set": lambda key=key: redis.smembers(key),
            "zset": lambda key=key: redis.zrange(key, 0, -1, withscores=True),
            "list": lambda key=key: redis.lrange(key, 0, -1),
            "stream": lambda key=key: redis.xrange(key),
        }[kind]()
        value = await held
        entries = value.items() if isinstance(value, dict) else [value] if isinstance(value, str) else value
        lasts = "for ever" if await redis.ttl(key) < 0 else "for a while"
        texts = [f"{key} ({lasts}): {entry}" for entry in entries]
        found |= set(texts) if names.search("".join(texts)) and names.search(key) else {t for t in texts if names.search(t)}
    for key in await api.connections.storage.keys_under(""):
        if _OWNER.search(key):
            found.add(f"{key}: {(await api.connections.storage.head(key)).etag}")
    return found


async def _faults(api: Api, world: World, label: str, probe: Probe) -> list[str]:
    """What is wrong with the answers to one probe."""
    wrong = []
    if probe.names is nothing:
        answer = await _ask(api, world, label, probe, "nothing")
        if answer.status not in probe.answers:
            wrong.append(f"{label}: {answer.status} {answer.body[:300]!r}")
        return wrong + _told(world, label, answer, "")
    for name in probe.names(world):
        stranger = _unknown_like(name)
        foreign, unknown = [await _ask(api, world, label, probe, one) for one in (name, stranger)]
        if _seen(foreign, name) != _seen(unknown, stranger):
            wrong.append(
                f"{label} {probe.query}{probe.body or ''}: {_seen(foreign, name)} differs from {_seen(unknown, stranger)}"
            )
        wrong += _told(world, label, foreign, name)
    return wrong


async def _ask(api: Api, world: World, label: str, probe: Probe, name: str) -> Answer:
    method, path = label.split(" ")
    path = path if path.startswith("/") and _LABELS[label].path.startswith(API_PREFIX) else f"/{path}"
    path = f"{path}?{probe.query}".replace("{id}", name)
    kwargs: dict[str, Any] = {}
    headers = {**world.other, **probe.headers(world)}
    if probe.body is not None:
        kwargs["json"] = json.loads(json.dumps(probe.body).replace("{id}", name))
    elif probe.data is not None:
        kwargs["data"] = probe.data.replace(b"{id}", name.encode())
        headers["Content-Type"] = probe.kind
    return await api.call(method, path, headers=headers, **kwargs)


def _seen(answer: Answer, name: str) -> tuple[Any, ...]:
    """What the caller can tell answers apart by, without the name that it sent, ids and times of what was made meanwhile."""
    text = answer.body.decode("utf-8", "replace").replace(name, "NAME")
    text = re.sub(r'"request_id": ?"[^"]*"', "", text)
    text = re.sub(r"\b(batch|edit|quote|upl|whd)_[0-9a-hjkmnp-tv-z]{26}", "MADE", text)
    text = re.sub(r'"(created_at|expires_at)":"[^"]*"', "", text)
    told = {
        name: value for name, value in answer.headers.items() if name in ("Content-Type", "ETag", "Retry-After", "Accept-Ranges")
    }
    return answer.status, told, text


def _told(world: World, label: str, answer: Answer, name: str) -> list[str]:
    text = answer.body.decode("utf-8", "replace")
    if name:
        text = text.replace(name, "")
    found = [secret for secret in world.secrets - {name} if secret in text] + _OWNER.findall(text)
    return [f"{label} tells of {found}: {text[:500]}"] if found else []


def _unknown_like(name: str) -> str:
    """A name of the same kind and length that nobody has."""
    if re.fullmatch(r"[a-z-]+[_-][0-9a-z_]{26,}", name):
        return name[:-6] + ("000000" if name[-6:] != "000000" else "zzzzzz")
    if re.fullmatch(r"\d+-\d+", name):
        return f"{name.partition('-')[0]}-7777"
    if re.fullmatch(r"[0-9a-f]{12}", name):
        return "0" * 12
    if name == OWNER:
        return "t9"
    created_ms, member = read_cursor(name)
    assert created_ms is not None
    return write_cursor(created_ms, _unknown_like(member))


async def _something_to_repeat(api: Api, path: str, headers: Mapping[str, str]) -> str:
    """An edit that has ended, or a batch with an item that failed."""
    if path.startswith("/jobs/"):
        made = await api.post("/process", json=WISH, headers=dict(headers))
        await api.post(f"/jobs/{made.json['id']}/cancel", headers=dict(headers))
    else:
        made = await api.post("/batches", json={"items": [WISH]}, headers=dict(headers))
        await end(api, await take(api), JobState.FAILED)
    identifier: str = made.json["id"]
    return identifier
