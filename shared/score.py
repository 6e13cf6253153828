"""The mission's formula, and what experience adds to it (pure).

    score = (1 / cost) * cost_weight + max_resolution / resolution_weight + tier_bonus
          + quality_bonus + speed + history + performance + rating

Everything of the second line is 0 without data or the preference that it belongs to.
"""

import math
from dataclasses import asdict, dataclass
from decimal import Decimal

from shared.catalog.model import Model
from shared.edit import Preferences

_COST_FLOOR_USD = Decimal("0.001")
_TIER_BONUS = {
    "free": {"budget": 50.0, "mid": 20.0},
    "pro": {"premium": 50.0, "mid": 30.0},
    "enterprise": {"premium": 50.0, "mid": 30.0},
}
_QUALITY_BONUS = {"excellent": 30.0, "premium": 60.0}
_SPEED_POINTS = 50.0
_HISTORY_POINTS = 10.0
_PERFORMANCE_POINTS, _PERFORMANCE_LEAST, _PERFORMANCE_MOST = 100.0, -30.0, 10.0
GOOD_SUCCESS_RATE = 0.9
_RATING_POINTS, _RATING_PRIOR, _RATING_PRIOR_WEIGHT = 10.0, 3.5, 5
_WILSON_Z = 1.96


@dataclass(frozen=True, slots=True)
class Experience:
    """What is known of one model doing one operation.

    `calls`, `successes`, `p50_s`, `p90_s`: over 7 days, all tenants. `ratings`, `rating_sum`: of 1 to 5. `judged`, `accepted`:
    results that this tenant accepted or did not, over 90 days.
    """

    calls: int = 0
    successes: int = 0
    p50_s: float | None = None
    p90_s: float | None = None
    ratings: int = 0
    rating_sum: int = 0
    judged: int = 0
    accepted: int = 0


NONE_YET = Experience()


@dataclass(frozen=True, slots=True)
class Score:
    """The terms of a score, in points."""

    cost: float
    resolution: float
    tier_bonus: float
    quality_bonus: float
    speed: float
    history: float
    performance: float
    rating: float

    @property
    def total(self) -> float:
        """Their sum."""
        return math.fsum(asdict(self).values())


def score_of(
    model: Model, usd: Decimal, *, preferences: Preferences, user_tier: str, experience: Experience, fastest_p50_s: float | None
) -> Score:
    """The score of a model whose price for this edit is `usd`. `fastest_p50_s`: of all candidates, None if none has one."""
    cheap, good = preferences.prioritize_cost, preferences.prioritize_quality
    cost_weight = 1.0 if cheap == good else 2.0 if cheap else 0.2
    resolution_weight = 400.0 if cheap == good else 800.0 if cheap else 40.0
    speed = 0.0
    if preferences.prioritize_speed and experience.p50_s and fastest_p50_s:
        speed = _SPEED_POINTS * fastest_p50_s / experience.p50_s
    return Score(
        cost=float(1 / max(usd, _COST_FLOOR_USD)) * cost_weight,
        resolution=model.max_resolution[0] / resolution_weight,
        tier_bonus=_TIER_BONUS[user_tier].get(model.tier, 0.0),
        quality_bonus=_QUALITY_BONUS.get(model.quality, 0.0) if good else 0.0,
        speed=speed,
        history=_HISTORY_POINTS * experience.accepted / experience.judged if experience.judged else 0.0,
        performance=_performance(experience),
        rating=_rating(experience),
    )


def wilson(successes: int, calls: int) -> tuple[float, float]:
    """The bounds of the success rate at 95 %: few calls say little. Source: Wilson 1927, the score interval."""
    if calls == 0:
        return 0.0, 1.0
    rate, z2 = successes / calls, _WILSON_Z**2
    centre = rate + z2 / (2 * calls)
    spread = _WILSON_Z * math.sqrt(rate * (1 - rate) / calls + z2 / (4 * calls**2))
    return (centre - spread) / (1 + z2 / calls), (centre + spread) / (1 + z2 / calls)


def _performance(experience: Experience) -> float:
    """Points for what the calls prove: more than 90 % succeed, or fewer do. Three successes prove neither, and cost nothing.

    By the lower bound alone a model would lose 30 points with its first success, and never be chosen for a second.
    """
    least, most = wilson(experience.successes, experience.calls)
    if most < GOOD_SUCCESS_RATE:
        return max(_PERFORMANCE_LEAST, (most - GOOD_SUCCESS_RATE) * _PERFORMANCE_POINTS)
    return min(_PERFORMANCE_MOST, max(0.0, least - GOOD_SUCCESS_RATE) * _PERFORMANCE_POINTS)


def _rating(experience: Experience) -> float:
    if experience.ratings == 0:
        return 0.0
    weight = _RATING_PRIOR_WEIGHT + experience.ratings
    mean = (_RATING_PRIOR * _RATING_PRIOR_WEIGHT + experience.rating_sum) / weight
    return (mean - _RATING_PRIOR) * _RATING_POINTS
