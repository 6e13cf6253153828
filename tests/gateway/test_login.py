"""One-time codes, and the keys that they are exchanged for: they end, and can be ended."""

import asyncio
import time

from shared.store.tenants import Tenants
from tests.gateway.conftest import Api

_DAY_MS = 24 * 3_600_000


async def log_in(api: Api) -> tuple[dict[str, str], str]:
    """Headers with a login's key, and when it ends."""
    code = await api.connections.login_codes.make("t1", tier="pro")
    answer = await api.post("/login", json={"code": code}, headers={"Authorization": ""})
    assert answer.status == 200
    assert (await api.post("/login", json={"code": code}, headers={"Authorization": ""})).status == 401
    return {"Authorization": f"Bearer {answer.json['api_key']}"}, answer.json["expires_at"]


async def refused(api: Api, headers: dict[str, str]) -> bool:
    """Whether the key stops working within the second and a bit that a process may hold it."""
    deadline = time.monotonic() + 5
    while (await api.get("/jobs", headers=headers)).status != 401:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


async def test_a_login_gives_a_key_that_ends_in_thirty_days_and_says_so(api: Api) -> None:
    headers, expires_at = await log_in(api)
    assert (await api.get("/jobs", headers=headers)).status == 200
    keys, _ = await api.connections.tenants.list_keys(tenant="t1")
    (key,) = [key for key in keys if key.name == "login link"]
    assert key.ends_ms is not None
    assert key.ends_ms - key.created_ms == 30 * _DAY_MS
    assert expires_at.startswith(time.strftime("%Y-%m-%dT", time.gmtime(key.ends_ms / 1000)))


async def test_a_logout_ends_the_key_of_a_login_and_no_other(api: Api) -> None:
    headers, _ = await log_in(api)
    assert (await api.post("/logout", headers=headers)).status == 204
    assert await refused(api, headers)
    assert (await api.post("/logout")).status == 204
    assert (await api.get("/jobs")).status == 200


async def test_a_key_past_its_end_is_refused_and_no_longer_listed(api: Api) -> None:
    tenants: Tenants = api.connections.tenants
    text, key = await tenants.create_key("t9", tier="pro", scopes=frozenset({"read"}), name="short", life_s=0)
    assert await refused(api, {"Authorization": f"Bearer {text}"})
    assert await tenants.list_keys(tenant="t9") == ([], None)
    assert not await tenants.revoke_key(key.id)
