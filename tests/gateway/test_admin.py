"""Tenants and keys over HTTP and by command: for the operator, and for nobody else."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gateway.doctor import Check, Verdict, report
from gateway.keys import run_keys, run_tenants
from gateway.login import run_login
from shared.settings import Settings
from tests.conftest import make_job
from tests.gateway.conftest import Api

OPERATOR = [{"operator_tenant": "t1", "queue_quota": 7}]
NOTHING = dict.fromkeys(("daily_limit", "monthly_limit", "queue_quota", "batch_quota", "running_cap", "weight"))
ROUTES = [
    ("GET", "/admin/tenants"),
    ("GET", "/admin/tenants/t1"),
    ("PUT", "/admin/tenants/t1"),
    ("PATCH", "/admin/tenants/t1"),
    ("GET", "/admin/keys"),
    ("POST", "/admin/keys"),
    ("DELETE", "/admin/keys/0123456789ab"),
]

operator = pytest.mark.parametrize("gateway_settings", OPERATOR, indirect=True)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_tenants_own_admin_is_not_the_operator(api: Api, method: str, path: str) -> None:
    answer = await api.call(method, path, json={"tenant": "t1"})
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert await api.connections.tenants.names() == ["t1"]


@operator
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_the_operators_other_keys_need_the_scope(api: Api, method: str, path: str) -> None:
    headers = await api.key_of("t1", frozenset({"read", "submit"}))
    assert (await api.call(method, path, json={"tenant": "t1"}, headers=headers)).status == 403


@operator
async def test_limits_are_set_shown_changed_and_taken_away(api: Api) -> None:
    assert (await api.get("/admin/tenants/acme")).status == 404
    assert (await api.call("PATCH", "/admin/tenants/acme", json={})).status == 404
    limits = {"daily_limit": 10.5, "monthly_limit": 200, "queue_quota": 5, "batch_quota": 100, "running_cap": 3, "weight": 2.5}
    made = await api.call("PUT", "/admin/tenants/acme", json=limits)
    assert made.status == 200
    assert {name: made.json[name] for name in limits} == limits
    assert made.json["spending"]["daily"] == {"limit": 10.5, "spent": 0.0, "reserved": 0.0, "left": 10.5}
    assert (made.json["unfinished_edits"], made.json["unfinished_batch_items"], made.json["running"]) == (0, 0, 0)
    redis = api.connections.jobs._scripts.redis
    stored = {"daily_limit": "10500000", "monthly_limit": "200000000", "quota": "5", "batch_quota": "100", "cap": "3"}
    assert await redis.hgetall("tenant:acme") == {**stored, "weight": "2.5"}
    changed = await api.call("PATCH", "/admin/tenants/acme", json={"daily_limit": None, "weight": 1})
    assert {name: changed.json[name] for name in limits} == {**limits, "daily_limit": None, "weight": 1}
    emptied = await api.call("PUT", "/admin/tenants/acme", json={"queue_quota": 0})
    assert {name: emptied.json[name] for name in limits} == {**NOTHING, "queue_quota": 0}
    assert (await api.get("/admin/tenants/acme")).json == emptied.json


@operator
async def test_tenants_are_listed_page_by_page(api: Api) -> None:
    for name in ("b", "a.c", "a-b"):
        assert (await api.call("PUT", f"/admin/tenants/{name}", json={"weight": 2})).status == 200
    first = (await api.get("/admin/tenants?limit=3")).json
    assert [tenant["id"] for tenant in first["tenants"]] == ["a-b", "a.c", "b"]
    assert first["tenants"][0] == {**NOTHING, "id": "a-b", "weight": 2.0}
    second = (await api.get(f"/admin/tenants?limit=3&cursor={first['next_cursor']}")).json
    assert ([tenant["id"] for tenant in second["tenants"]], second["next_cursor"]) == (["t1"], None)


@operator
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"daily_limit": -1}, "/daily_limit"),
        ({"monthly_limit": "10"}, "/monthly_limit"),
        ({"queue_quota": 1.5}, "/queue_quota"),
        ({"weight": 0}, "/weight"),
        ({"quota": 5}, "/quota"),
    ],
)
async def test_a_limit_that_is_none_is_refused(api: Api, body: dict[str, Any], pointer: str) -> None:
    answer = await api.call("PUT", "/admin/tenants/acme", json=body)
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, pointer)
    assert not await api.connections.tenants.is_known("acme")


@operator
@pytest.mark.parametrize("name", ["a:b", "-a", "a%20b", "x" * 65, "%C3%A4"])
async def test_a_name_that_would_not_fit_into_others_is_refused(api: Api, name: str) -> None:
    assert (await api.call("PUT", f"/admin/tenants/{name}", json={})).status == 422
    assert (await api.post("/admin/keys", json={"tenant": name})).status == 422


@operator
async def test_a_key_is_made_shown_once_used_and_revoked(api: Api) -> None:
    wish = {"tenant": "acme", "scopes": ["read"], "tier": "free", "name": "CI", "reads_per_minute": 2}
    made = await api.post("/admin/keys", json=wish)
    assert made.status == 201
    text = made.json["key"]
    assert text.startswith("es_")
    bearer = {"Authorization": f"Bearer {text}"}
    limits = await api.get("/limits", headers=bearer)
    assert (limits.json["reads_per_minute"], limits.json["submits_per_minute"]) == (2, 600)
    assert (await api.get("/usage", headers=bearer)).status == 200
    assert (await api.get("/usage", headers=bearer)).status == 429
    listed = await api.get("/admin/keys?tenant=acme")
    assert listed.json["keys"] == [{name: value for name, value in made.json.items() if name != "key"}]
    assert text.encode() not in listed.body
    assert "acme" in await api.connections.tenants.names()
    gone = await api.call("DELETE", f"/admin/keys/{made.json['id']}")
    assert gone.status == 204
    assert (await api.call("DELETE", f"/admin/keys/{made.json['id']}")).status == 404
    assert (await api.get("/admin/keys?tenant=acme")).json == {"keys": [], "next_cursor": None}
    api.connections.tenants._allowances.clear()
    assert (await api.get("/limits", headers=bearer)).status == 401


@operator
async def test_keys_are_listed_page_by_page(api: Api) -> None:
    for tenant in ("a", "a", "ab"):
        await api.post("/admin/keys", json={"tenant": tenant})
    found, cursor = [], ""
    while True:
        page = (await api.get(f"/admin/keys?limit=2{cursor}")).json
        found += [key["tenant"] for key in page["keys"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == ["a", "a", "ab", "t1"]
    assert len((await api.get("/admin/keys?tenant=a")).json["keys"]) == 2


@pytest.mark.parametrize(
    "body", [{}, {"tenant": "a", "scopes": []}, {"tenant": "a", "scopes": ["root"]}, {"tenant": "a", "tier": "x"}]
)
@operator
async def test_a_key_that_would_be_none_is_refused(api: Api, body: dict[str, Any]) -> None:
    assert (await api.post("/admin/keys", json=body)).status == 422


@operator
async def test_a_tenant_sees_its_own_limits(api: Api) -> None:
    before = (await api.get("/limits")).json
    assert (before["unfinished_edits_max"], before["weight"], before["spending"]["daily"]["limit"]) == (7, 1.0, None)
    await api.call("PUT", "/admin/tenants/t1", json={"queue_quota": 1, "daily_limit": 1, "running_cap": 2, "batch_quota": 0})
    await api.connections.jobs.accept(make_job(reserved_micro_usd=250_000))
    limits = (await api.get("/limits")).json
    assert (limits["unfinished_edits_max"], limits["running_edits_max"], limits["unfinished_batch_items_max"]) == (1, 2, 0)
    assert limits["spending"]["daily"] == {"limit": 1.0, "spent": 0.0, "reserved": 0.25, "left": 0.75}
    assert (await api.get("/admin/tenants/t1")).json["unfinished_edits"] == 1
    picture = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR4nGNsYIAAJgaKGAAmCACQXTClHgAAAABJRU5ErkJggg=="
    full = await api.post("/process", json={"image_base64": picture, "prompt": "make it black and white"})
    assert (full.status, full.json["code"]) == (429, "queue_full")


async def said(run: Any, settings: Settings, *arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    code = await run(settings, arguments, Console(file=out, width=200))
    return code, out.getvalue()


async def test_the_commands_set_and_list_tenants(gateway_settings: Settings, real_redis: Any) -> None:
    code, text = await said(
        run_tenants,
        gateway_settings,
        "set",
        "acme",
        "--daily-limit",
        "2.5",
        "--monthly-limit",
        "40",
        "--weight",
        "3",
        "--running-cap",
        "0",
    )
    assert (code, "2.5 " in text, "40 " in text) == (0, True, True)
    stored = {"daily_limit": "2500000", "monthly_limit": "40000000", "weight": "3.0", "cap": "0"}
    assert await real_redis.hgetall("tenant:acme") == stored
    assert (await said(run_tenants, gateway_settings, "set", "acme", "--daily-limit", "none"))[0] == 0
    assert await real_redis.hget("tenant:acme", "daily_limit") is None
    assert (await said(run_tenants, gateway_settings, "set", "acme"))[0] == 2
    code, text = await said(run_tenants, gateway_settings, "list")
    assert (code, "acme" in text, "2.5 " in text) == (0, True, False)


@pytest.mark.parametrize(
    "wrong",
    [("a:b",), ("a", "--weight", "0"), ("a", "--weight", "nan"), ("a", "--daily-limit", "-1"), ("a", "--queue-quota", "1.5")],
)
async def test_a_wrong_command_is_refused(
    gateway_settings: Settings, wrong: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        await run_tenants(gateway_settings, ["set", *wrong], Console(file=io.StringIO()))
    assert "usage: edit-studio tenants" in capsys.readouterr().err


async def test_the_commands_make_list_and_revoke_keys(gateway_settings: Settings, real_redis: Any) -> None:
    for tenant in ("a", "b"):
        code, text = await said(run_keys, gateway_settings, "create", "--tenant", tenant, "--submits-per-minute", "5")
        assert (code, text.startswith("es_")) == (0, True)
    code, text = await said(run_keys, gateway_settings, "list", "--tenant", "b")
    assert (code, "5 / ·" in text) == (0, True)
    (key_id,) = [cell for cell in text.replace("│", " ").split() if len(cell) == 12 and set(cell) <= set("0123456789abcdef")]
    assert (await said(run_keys, gateway_settings, "revoke", key_id))[0] == 0
    assert (await said(run_keys, gateway_settings, "revoke", key_id))[0] == 7
    assert len(await real_redis.hgetall("keys")) == 1


async def test_the_commands_tell_scripts_as_json(gateway_settings: Settings, real_redis: Any, tmp_path: Path) -> None:
    async def told(run: Any, *arguments: str) -> Any:
        code, text = await said(run, gateway_settings, *arguments, "--json")
        assert code == 0
        return json.loads(text)

    made = await told(run_keys, "create", "--tenant", "a")
    kept = await told(run_keys, "create", "--tenant", "a", "--key-file", str(tmp_path / "key"))
    assert (made["key"].startswith("es_"), kept["key_file"]) == (True, str(tmp_path / "key"))
    assert {key["id"] for key in (await told(run_keys, "list"))["keys"]} == {made["id"], kept["id"]}
    assert await told(run_keys, "revoke", made["id"]) == {"id": made["id"], "revoked": True}
    (tenant,) = (await told(run_tenants, "set", "a", "--daily-limit", "2.5"))["tenants"]
    assert (tenant["tenant"], tenant["daily_limit_micro_usd"]) == ("a", 2_500_000)
    assert tenant in (await told(run_tenants, "list"))["tenants"]
    assert "/studio#login=" in (await told(run_login))["link"]
    out = io.StringIO()
    assert report([Check("Redis", Verdict.BAD, "away", "start it")], Console(file=out), as_json=True) == 1
    check = {"name": "Redis", "verdict": "failed", "found": "away", "advice": "start it"}
    assert json.loads(out.getvalue()) == {"checks": [check]}
