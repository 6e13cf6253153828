"""The catalogue and the recommendation as callers see them."""

from typing import Any, Literal

import pytest

from shared.adjustments import parse
from shared.catalog.load import load_catalog
from shared.edit import Operation
from shared.store.experience import CallEnd
from tests.gateway.conftest import Api

CATALOG = load_catalog()
#: Every key of the mission's example of a model.
MISSION_KEYS = (
    "id", "name", "description", "cost", "tier", "max_resolution", "capabilities", "use_cases", "features",
    "supports_multi_image", "supports_controlnet", "languages",
)  # fmt: skip
MISSION_REQUEST = {
    "operation": "general_edit",
    "image_resolution": {"width": 1024, "height": 1024},
    "user_tier": "free",
    "preferences": {"prioritize_cost": True, "prioritize_quality": False},
}


@pytest.fixture
async def configured(api: Api) -> Api:
    """A live worker with every provider."""
    await api.leases.renew("w1", slots=8, providers=tuple(CATALOG.providers), held=())
    return api


async def test_all_models_are_listed_in_catalogue_order_with_the_missions_keys(configured: Api) -> None:
    answer = await configured.get("/models")
    assert [model["id"] for model in answer.json["models"]] == list(CATALOG.models)
    assert answer.json["total"] == len(CATALOG.models)
    assert answer.json["recommended"] is None
    assert set(MISSION_KEYS) <= set(answer.json["models"][0])


@pytest.mark.parametrize(
    ("query", "passes"),
    [
        ("operation=erase", lambda model: "erase" in model.operations),
        ("tier=budget&operation=general_edit", lambda model: model.tier == "budget" and "general_edit" in model.operations),
        ("provider=local", lambda model: model.provider == "local"),
        ("min_resolution=4096", lambda model: model.max_resolution[0] >= 4096),
        ("max_cost=0.02", lambda model: model.price.base <= 0.02),
        ("supports_mask=true", lambda model: model.mask.kind != "no"),
        ("multi_image=true", lambda model: model.max_images > 1),
        ("available=false", lambda model: False),
    ],
)
async def test_filters_narrow_the_list(configured: Api, query: str, passes: Any) -> None:
    answer = await configured.get(f"/models?{query}")
    assert [model["id"] for model in answer.json["models"]] == [m.id for m in CATALOG.models.values() if passes(m)]


async def called(api: Api, outcome: Literal["good", "bad"], *, times: int, seconds: float = 4.0) -> None:
    """What workers write down of calls of qwen-edit."""
    for _ in range(times):
        await api.connections.experiences.record(
            CallEnd(
                model="qwen-edit",
                provider="wavespeed",
                operation=Operation.GENERAL_EDIT,
                outcome=outcome,
                said=outcome,
                seconds=seconds if outcome == "good" else None,
                micro_usd=20_000,
            )
        )


async def test_without_data_nothing_is_claimed(configured: Api) -> None:
    shown = (await configured.get("/models/qwen-edit")).json
    assert (shown["performance"], shown["health"]) == (None, {"state": "ok", "since": None})
    assert all(model["performance"] is None for model in (await configured.get("/models")).json["models"])
    assert (await configured.post("/recommend", json=MISSION_REQUEST)).json["estimated_seconds"] is None


async def test_calls_show_in_the_model_the_list_and_the_estimate(configured: Api) -> None:
    await called(configured, "good", times=19)
    await called(configured, "bad", times=1)
    shown = (await configured.get("/models/qwen-edit")).json["performance"]
    assert (shown["samples"], shown["success_rate"], shown["rating"], shown["ratings"]) == (20, 0.95, None, 0)
    assert shown["p50_s"] == pytest.approx(4.0, rel=0.1)
    assert shown["spend"] == pytest.approx(0.4)
    assert shown["by_operation"]["general_edit"]["samples"] == 20
    listed = {model["id"]: model["performance"] for model in (await configured.get("/models")).json["models"]}
    assert listed["qwen-edit"] == {"p50_s": shown["p50_s"], "p90_s": shown["p90_s"], "rating": None}
    assert listed["qwen-edit-plus"] is None
    answer = (await configured.post("/recommend", json=MISSION_REQUEST)).json
    assert answer["estimated_seconds"] == {"p50": shown["p50_s"], "p90": shown["p90_s"]}


async def test_what_providers_charge_is_for_administrators(configured: Api) -> None:
    await called(configured, "good", times=1)
    reader = await configured.key_of("t1", frozenset({"read"}))
    shown = (await configured.get("/models/qwen-edit", headers=reader)).json["performance"]
    assert (shown["samples"], shown["spend"], shown["by_operation"]["general_edit"]["spend"]) == (1, None, None)


async def test_a_model_that_is_down_says_so_and_is_not_recommended(configured: Api) -> None:
    await called(configured, "bad", times=5)
    health = (await configured.get("/models/qwen-edit")).json["health"]
    assert health["state"] == "down"
    assert health["since"].endswith("Z")
    answer = (await configured.post("/recommend", json=MISSION_REQUEST)).json
    assert answer["recommended_model"] == "qwen-edit-plus"
    assert {"model_id": "qwen-edit", "code": "circuit_open", "why": "has failed too often just now"} in answer["excluded"]
    listing = (await configured.get("/models?operation=general_edit")).json
    assert listing["recommended"]["model_id"] == "qwen-edit-plus"


@pytest.mark.parametrize("model", CATALOG.models.values(), ids=lambda model: model.id)
async def test_models_that_take_a_prompt_come_with_examples_of_one(model: Any) -> None:
    takes_prompt = any(parameter.field == "prompt" for parameter in model.parameters.values())
    if not takes_prompt:
        assert model.example_prompts == ()
    elif "exact_adjustments" not in model.capabilities:
        assert 2 <= len(model.example_prompts) <= 3
        assert all(parse(prompt) is None for prompt in model.example_prompts), "an exact edit would not reach this model"
        if model.languages == ("en",):
            assert all(ord(character) < 0x2E80 for prompt in model.example_prompts for character in prompt)


async def test_the_model_of_exact_adjustments_publishes_its_grammar(api: Api) -> None:
    prompts = (await api.get("/models/local-adjust")).json["example_prompts"]
    assert {"make it black and white", "rotate 90 degrees clockwise", "亮度+20%"} <= set(prompts)
    assert all(parse(prompt) for prompt in prompts)


async def test_an_operation_comes_with_a_recommendation(configured: Api) -> None:
    answer = await configured.get("/models?operation=general_edit&tier=budget")
    assert answer.json["recommended"]["model_id"] == "qwen-edit"


async def test_a_model_shows_its_parameters_and_all_its_prices(configured: Api) -> None:
    answer = await configured.get("/models/nano-banana-pro-edit-ultra")
    assert {"when": {"resolution": "8k"}, "usd": 0.18} in answer.json["pricing"]
    assert (answer.json["cost"], answer.json["cost_from"], answer.json["cost_to"]) == (0.15, 0.15, 0.18)
    assert answer.json["parameters"]["properties"]["resolution"]["enum"] == ["4k", "8k"]
    missing = await configured.get("/models/nano-banana")
    assert (missing.status, missing.json["code"]) == (404, "not_found")
    assert "nano-banana-pro-edit-ultra" in missing.json["detail"]


async def test_the_missions_request_gets_the_missions_answer(configured: Api) -> None:
    answer = await configured.post("/recommend", json=MISSION_REQUEST)
    assert answer.status == 200
    assert answer.json["recommended_model"] == "qwen-edit"
    assert answer.json["reason"] == "Lowest cost option, Supports 1024×1024 resolution, Budget-friendly for free tier"
    assert answer.json["alternatives"][0] == {
        "model_id": "qwen-edit-plus",
        "name": "Qwen Image Edit Plus",
        "cost": 0.02,
        "reason": "Alternative: Budget tier, higher quality",
    }
    assert answer.json["score"] == pytest.approx(sum(answer.json["score_breakdown"].values()))
    assert answer.json["estimated_cost"] == 0.02


async def test_the_tier_is_the_keys_unless_another_is_asked_for(configured: Api) -> None:
    wish = {key: value for key, value in MISSION_REQUEST.items() if key != "user_tier"}
    pro = await configured.post("/recommend", json=wish)
    assert "free tier" not in pro.json["reason"]
    assert pro.json["score_breakdown"]["tier_bonus"] in (0.0, 30.0, 50.0)


async def test_what_cannot_be_done_is_refused_with_what_keeps_each_model_out(api: Api) -> None:
    await api.leases.renew("w1", slots=8, providers=("local",), held=())
    answer = await api.post("/recommend", json={"operation": "relight", "prompt": "evening"})
    assert (answer.status, answer.json["code"]) == (422, "no_capable_model")
    assert any(error["code"] == "not_configured" for error in answer.json["errors"])
    unknown = await api.post("/recommend", json={"operation": "relight", "colour": 1})
    assert unknown.json["errors"][0]["code"] == "unknown_field"
