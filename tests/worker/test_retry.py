"""What becomes of an edit after each error there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import (
    EditStudioError,
    Overloaded,
    ProviderAmbiguous,
    ProviderRateLimited,
    ProviderTransient,
    StorageUnavailable,
    StoreUnavailable,
    error_classes,
)
from shared.store.leases import Release
from worker.retry import FAILURES_MAX, GiveUp, after

_WAITS = {ProviderRateLimited: "rate_limit", StorageUnavailable: "storage", Overloaded: "worker"}
_RETRIED = (ProviderTransient, ProviderAmbiguous)


@pytest.mark.parametrize("cls", error_classes().values(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("failures", range(FAILURES_MAX + 1))
def test_every_error_waits_is_tried_again_or_ends_the_edit(cls: type[EditStudioError], failures: int) -> None:
    error = cls("what happened")
    decision = after(error, failures=failures, chance=0.5)
    if cls in _WAITS:
        assert isinstance(decision, Release)
        assert (decision.waiting_on, decision.failed) == (_WAITS[cls], False)
        assert decision.delay_s > 0
    elif cls in _RETRIED and failures < FAILURES_MAX - 1:
        assert isinstance(decision, Release)
        assert (decision.waiting_on, decision.failed, decision.pause_s) == ("retry_backoff", True, 0)
    else:
        assert decision == GiveUp(error)


@given(st.integers(0, FAILURES_MAX - 2), st.floats(0, 1, exclude_max=True))
def test_the_longest_wait_doubles_and_chance_takes_any_part_of_it(failures: int, chance: float) -> None:
    decision = after(ProviderTransient("no"), failures=failures, chance=chance)
    assert isinstance(decision, Release)
    assert decision.delay_s == chance * 2**failures


@pytest.mark.parametrize(("asked_s", "waits_s"), [(0.5, 0.5), (30.0, 30.0), (10_000.0, 600.0)])
def test_a_limit_is_waited_out_as_long_as_the_provider_says_by_its_whole_lane(asked_s: float, waits_s: float) -> None:
    decision = after(ProviderRateLimited("slow down", retry_after_s=asked_s), failures=0, chance=0.0)
    assert decision == Release(delay_s=waits_s, waiting_on="rate_limit", pause_s=waits_s)


@given(st.floats(0, 1, exclude_max=True))
def test_a_limit_without_a_time_is_waited_out_for_1_to_60_s(chance: float) -> None:
    decision = after(ProviderRateLimited("slow down"), failures=FAILURES_MAX, chance=chance)
    assert isinstance(decision, Release)
    assert 1 <= decision.delay_s == decision.pause_s <= 60


def test_an_edit_that_cannot_be_written_down_is_not_tried_again() -> None:
    """Scripts were repeated with patience already; whoever holds the lease next decides."""
    assert isinstance(after(StoreUnavailable("away"), failures=0, chance=0.0), GiveUp)
