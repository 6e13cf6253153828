"""The terms of the score."""

from decimal import Decimal

import pytest

from shared.catalog.load import load_catalog
from shared.edit import Preferences
from shared.score import NONE_YET, Experience, Score, score_of, wilson

QWEN = load_catalog().models["qwen-edit"]


def scored(
    usd: str = "0.02", *, tier: str = "free", experience: Experience = NONE_YET, fastest: float | None = None, **wish: bool
) -> Score:
    preferences = Preferences(**wish)
    return score_of(QWEN, Decimal(usd), preferences=preferences, user_tier=tier, experience=experience, fastest_p50_s=fastest)


def test_without_data_the_score_is_exactly_the_missions_formula() -> None:
    score = scored(prioritize_cost=True)
    assert score.total == pytest.approx((1 / 0.02) * 2.0 + 1536 / 800 + 50)
    assert scored(prioritize_quality=True).total == pytest.approx((1 / 0.02) * 0.2 + 1536 / 40 + 50)
    assert scored(tier="pro").total == pytest.approx(1 / 0.02 + 1536 / 400)


def test_both_preferences_weigh_like_none() -> None:
    both = scored(prioritize_cost=True, prioritize_quality=True)
    assert (both.cost, both.resolution) == (scored().cost, scored().resolution)


def test_a_free_model_is_not_infinitely_good() -> None:
    assert scored("0").cost == scored("0.001").cost == pytest.approx(1000)


@pytest.mark.parametrize(
    ("experience", "term", "points"),
    [
        (Experience(calls=1000, successes=1000), "performance", pytest.approx(9.617, abs=0.01)),
        (Experience(calls=10, successes=0), "performance", -30.0),
        (Experience(calls=1, successes=1), "performance", 0.0),
        (Experience(calls=3, successes=2), "performance", 0.0),
        (Experience(ratings=5, rating_sum=25), "rating", pytest.approx(7.5)),
        (Experience(ratings=1, rating_sum=1), "rating", pytest.approx(-25 / 6)),
        (Experience(judged=4, accepted=3), "history", 7.5),
    ],
)
def test_experience_moves_its_own_term_and_no_other(experience: Experience, term: str, points: float) -> None:
    score = scored(experience=experience)
    assert getattr(score, term) == points
    assert score.total - scored().total == pytest.approx(getattr(score, term))


def test_speed_counts_only_when_asked_for() -> None:
    slow = Experience(p50_s=10.0)
    assert scored(experience=slow, fastest=5.0).speed == 0.0
    assert scored(experience=slow, fastest=5.0, prioritize_speed=True).speed == 25.0
    assert scored(fastest=5.0, prioritize_speed=True).speed == 0.0


def test_the_wilson_bounds_close_in_with_evidence() -> None:
    bounds = [wilson(n, n)[0] for n in (1, 10, 100, 1000)]
    assert bounds == sorted(bounds)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-3)
