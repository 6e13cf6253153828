"""The catalogue and the recommendation as callers see them."""

from typing import Any

import pytest

from shared.catalog.load import load_catalog
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
