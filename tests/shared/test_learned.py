"""Percentiles, sums and circuits, from counts to what is told."""

import math
import random
from decimal import Decimal

import pytest

from shared.edit import Operation
from shared.learned import Circuit, Health, Learned, Performance, bucket_of, figures_of, learned_from, percentile_s
from shared.score import NONE_YET, Experience

EDIT, INPAINT = Operation.GENERAL_EDIT, Operation.INPAINT
PROVIDER_OF = {"quick": "acme", "slow": "acme", "own": "local"}


def counted(times_s: list[float]) -> dict[int, int]:
    """What the store keeps of these times."""
    buckets: dict[int, int] = {}
    for seconds in times_s:
        buckets[bucket_of(seconds)] = buckets.get(bucket_of(seconds), 0) + 1
    return buckets


def learned(*figures: dict[str, str], now_ms: int = 0, **circuits: tuple[int, int]) -> Learned:
    opened = {name.replace("_", ":"): Circuit(*times) for name, times in circuits.items()}
    return learned_from([figures_of(fields) for fields in figures], opened, PROVIDER_OF, now_ms=now_ms)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_percentiles_are_within_a_tenth_of_the_exact_ones(seed: int, share: float) -> None:
    chance = random.Random(seed)
    middle_s, spread = chance.choice([0.05, 1.0, 8.0, 90.0]), chance.uniform(0.1, 1.5)
    times_s = [max(0.01, chance.lognormvariate(math.log(middle_s), spread)) for _ in range(chance.randint(1, 500))]
    exact_s = sorted(times_s)[math.ceil(share * len(times_s)) - 1]
    assert percentile_s(counted(times_s), share) == pytest.approx(exact_s, rel=0.1)


def test_without_times_there_is_no_percentile() -> None:
    assert percentile_s({}, 0.5) is None
    assert percentile_s({7: 0}, 0.5) is None


def test_times_of_any_length_have_a_bucket() -> None:
    buckets = [bucket_of(seconds) for seconds in (0.0, 1e-9, 0.01, 0.011, 1.0, 3_600.0, 1e6, 1e12)]
    assert buckets == sorted(buckets)
    assert (buckets[0], buckets[2], buckets[-1]) == (0, 0, 80)


def test_nothing_learned_is_no_experience() -> None:
    empty = Learned()
    assert empty.experience_of(EDIT, {}) == {}
    assert empty.performance("quick") == Performance() == Performance(0, 0, None, None, 0, 0, Decimal(0))
    assert empty.performances("quick") == {}
    assert empty.health("quick") == Health("ok")
    assert (empty.down, empty.probing) == (frozenset(), frozenset())


def test_days_are_added_up_for_each_operation_and_for_all() -> None:
    at_1_s, at_9_s = bucket_of(1.0), bucket_of(9.0)
    found = learned(
        {"quick|general_edit|good": "3", "quick|general_edit|bad": "1", f"quick|general_edit|{at_1_s}": "3"},
        {"quick|general_edit|good": "2", f"quick|general_edit|{at_9_s}": "2", "quick|general_edit|micro_usd": "60000"},
        {"quick|inpaint|bad": "4", "quick|inpaint|micro_usd": "1", "quick|a_later_version's|good": "9"},
        {"quick|general_edit|ratings": "2", "quick|general_edit|rating_sum": "9"},
    )
    edits, inpaints = found.performances("quick")[EDIT], found.performances("quick")[INPAINT]
    assert set(found.performances("quick")) == {EDIT, INPAINT}
    assert (edits.calls, edits.successes, edits.ratings, edits.rating_sum) == (6, 5, 2, 9)
    assert (edits.p50_s, edits.p90_s) == (pytest.approx(1.0, rel=0.1), pytest.approx(9.0, rel=0.1))
    assert edits.spend_usd == Decimal("0.06")
    assert inpaints == Performance(calls=4, spend_usd=Decimal("0.000001"))
    whole = found.performance("quick")
    assert (whole.calls, whole.successes, whole.p50_s, whole.spend_usd) == (10, 5, edits.p50_s, Decimal("0.060001"))


def test_experience_joins_what_all_know_with_what_the_tenant_judged() -> None:
    found = learned({"quick|general_edit|good": "3", "slow|inpaint|good": "1"})
    history = {("quick", EDIT): (4, 3), ("own", EDIT): (1, 0), ("slow", INPAINT): (9, 9)}
    assert found.experience_of(EDIT, history) == {
        "quick": Experience(calls=3, successes=3, judged=4, accepted=3),
        "own": Experience(judged=1, accepted=0),
    }
    assert found.experience_of(EDIT, {}).get("own", NONE_YET).p50_s is None


def test_an_open_circuit_is_down_and_then_tried_by_one() -> None:
    early, late = (learned(now_ms=now_ms, model_quick=(100, 200)) for now_ms in (199, 200))
    assert early.health("quick") == Health("down", 100, 200)
    assert (early.down, early.probing) == ({"quick"}, set())
    assert late.health("quick") == Health("degraded", 100, 200)
    assert (late.down, late.probing) == (set(), {"quick"})
    assert late.health("slow") == Health("ok")


def test_a_providers_circuit_is_that_of_all_its_models_and_the_worse_one_counts() -> None:
    found = learned(now_ms=250, provider_acme=(50, 300), model_quick=(100, 200))
    assert found.health("quick") == found.health("slow") == Health("down", 50, 300)
    assert found.down == {"quick", "slow"}
    later = learned(now_ms=350, provider_acme=(50, 300), model_quick=(100, 400))
    assert (later.down, later.probing) == ({"quick"}, {"slow"})


def test_a_model_that_provably_fails_too_often_is_degraded() -> None:
    assert learned({"quick|general_edit|bad": "20", "quick|general_edit|good": "60"}).health("quick") == Health("degraded")
    assert learned({"quick|general_edit|bad": "10", "quick|general_edit|good": "70"}).health("quick") == Health("ok")
    assert learned({"quick|general_edit|bad": "9"}).health("quick") == Health("ok"), "too few to tell"
