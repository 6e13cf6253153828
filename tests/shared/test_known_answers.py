"""What the recommendation says of the whole catalogue, all providers configured: the mission's example first."""

from decimal import Decimal

import pytest

from shared.candidates import Circumstances
from shared.catalog.load import load_catalog
from shared.edit import Preferences
from shared.recommend import Recommendation, recommend
from shared.score import Experience
from tests.conftest import make_spec

CATALOG = load_catalog()
COST, QUALITY, NONE = Preferences(prioritize_cost=True), Preferences(prioritize_quality=True), Preferences()


def asked(side: int, tier: str, preferences: Preferences, **options: object) -> Recommendation:
    spec = make_spec(**{"prompt": "make the cup blue", "user_tier": tier, "max_cost": None, **options})
    now = Circumstances(configured=tuple(CATALOG.providers), upright_size=(side, side))
    return recommend(spec, catalog=CATALOG, now=now, preferences=preferences)


def test_the_missions_example_gets_the_missions_answer() -> None:
    found = asked(1024, "free", COST)
    assert found.model.id == "qwen-edit"
    assert found.reason == "Lowest cost option, Supports 1024×1024 resolution, Budget-friendly for free tier"
    first = found.alternatives[0]
    assert (first.model_id, first.name, first.cost) == ("qwen-edit-plus", "Qwen Image Edit Plus", 0.02)
    assert first.reason == "Alternative: Budget tier, higher quality"


@pytest.mark.parametrize(
    ("side", "tier", "preferences", "model", "usd"),
    [
        (1024, "free", COST, "qwen-edit", "0.02"),
        (1024, "pro", QUALITY, "nano-banana-pro-edit-ultra", "0.15"),
        (4096, "free", COST, "seedream-v4.5-edit", "0.04"),
        (8192, "free", COST, "nano-banana-pro-edit-ultra", "0.18"),
        (8192, "pro", QUALITY, "nano-banana-pro-edit-ultra", "0.18"),
    ],
)
def test_known_answers(side: int, tier: str, preferences: Preferences, model: str, usd: str) -> None:
    found = asked(side, tier, preferences)
    assert (found.model.id, found.usd) == (model, Decimal(usd))


def test_without_a_preference_the_score_decides_and_the_terms_add_up() -> None:
    found = asked(1024, "pro", NONE)
    score = found.score
    assert score.total == pytest.approx(score.cost + score.resolution + score.tier_bonus)
    assert (score.history, score.performance, score.rating, score.speed, score.quality_bonus) == (0, 0, 0, 0, 0)


def test_a_picture_too_large_for_all_goes_to_the_largest_limit_and_says_so() -> None:
    found = asked(12_000, "pro", COST)
    assert (found.model.id, found.requires_downscale) == ("nano-banana-pro-edit-ultra", True)
    assert "made smaller" in found.reason
    assert not asked(1024, "pro", COST).requires_downscale


@pytest.mark.parametrize("tier", ["free", "pro", "enterprise"])
@pytest.mark.parametrize("preferences", [COST, QUALITY, NONE])
@pytest.mark.parametrize("side", [64, 700, 1024, 1500, 2048, 4096, 8192])
def test_reasons_never_claim_what_is_not_so(side: int, tier: str, preferences: Preferences) -> None:
    found = asked(side, tier, preferences)
    cheapest = min([found.usd, *(other.usd for other in found.others)])
    assert ("Lowest cost" in found.reason) == (found.usd == cheapest)
    assert ("free tier" in found.reason) == (tier == "free" and found.model.tier == "budget")
    for alternative in found.alternatives:
        assert ("lower cost" in alternative.reason) == (Decimal(str(alternative.cost)) < found.usd)


def test_what_is_down_or_too_slow_or_speaks_another_language_is_left_out() -> None:
    spec = make_spec(prompt="把背景换成海滩", deadline_s=30)
    slow = Experience(calls=10, successes=10, p50_s=20, p90_s=60)
    now = Circumstances(
        configured=tuple(CATALOG.providers), upright_size=(1024, 1024), down={"qwen-edit"}, experience={"qwen-edit-plus": slow}
    )
    found = recommend(spec, catalog=CATALOG, now=now)
    codes = {exclusion.model_id: exclusion.code for exclusion in found.excluded}
    assert (codes["qwen-edit"], codes["qwen-edit-plus"], codes["flux-kontext-pro"]) == ("circuit_open", "deadline", "language")


def test_a_deprecated_model_is_used_only_when_pinned() -> None:
    assert asked(1024, "pro", COST, model="seededit-v3").model.id == "seededit-v3"
    found = asked(1024, "pro", COST)
    assert {e.model_id: e.code for e in found.excluded}["seededit-v3"] == "status"
