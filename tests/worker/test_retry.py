"""What becomes of an edit after each error there is."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog.load import load_catalog
from shared.edit import EditSpec
from shared.errors import (
    EditStudioError,
    Overloaded,
    ProviderAmbiguous,
    ProviderBadOutput,
    ProviderModelGone,
    ProviderModerated,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTransient,
    ProviderUnusable,
    StorageUnavailable,
    StoreUnavailable,
    WorkerCrashed,
    error_classes,
)
from shared.job import Attempt, Course
from shared.store.leases import Release
from worker.retry import FAILURES_MAX, GiveUp, after, is_for_the_next, says, spent_models, tired_providers

_WAITS = {ProviderRateLimited: "rate_limit", StorageUnavailable: "storage", Overloaded: "worker"}
_RETRIED = (ProviderTransient, ProviderAmbiguous)
_CATALOG = load_catalog()


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


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 120))
def test_a_limit_without_a_time_leaves_room_before_the_deadline(chance: float, left_s: float) -> None:
    decision = after(ProviderRateLimited("slow down"), failures=0, chance=chance, left_s=left_s)
    assert isinstance(decision, Release)
    assert 1 <= decision.delay_s <= max(1.0, left_s / 2)


@pytest.mark.parametrize("cls", error_classes().values(), ids=lambda cls: cls.__name__)
def test_the_next_model_is_tried_after_what_says_that_this_one_is_no_use(cls: type[EditStudioError]) -> None:
    error = cls("what happened")
    useless = cls in (ProviderUnusable, ProviderModelGone, ProviderBadOutput)
    assert is_for_the_next(error, EditSpec()) is useless
    assert is_for_the_next(error, EditSpec(on_moderation="fallback")) is (useless or cls is ProviderModerated)
    assert not is_for_the_next(error, EditSpec(model="qwen-edit", on_moderation="fallback"))
    assert not is_for_the_next(error, EditSpec(fallback="none", on_moderation="fallback"))


def test_the_next_model_is_tried_at_once_and_not_for_ever() -> None:
    error = ProviderBadOutput("blank")
    assert after(error, failures=0, chance=0.5, next_model=True) == Release(failed=True)
    assert after(error, failures=FAILURES_MAX - 1, chance=0.5, next_model=True) == GiveUp(error)


@pytest.mark.parametrize("cls", error_classes().values(), ids=lambda cls: cls.__name__)
def test_every_outcome_says_something_or_nothing_of_the_model(cls: type[EditStudioError]) -> None:
    bad = (ProviderTransient, ProviderAmbiguous, ProviderBadOutput, ProviderModelGone)
    assert says(cls.code) == ("bad" if cls in bad else "unusable" if cls is ProviderUnusable else "neutral")
    assert says("succeeded") == "good"


def _course(*outcomes: tuple[str, type[EditStudioError]]) -> Course:
    """Attempts of models, each with what it ended in."""
    now = datetime.now(UTC)
    attempts = [
        Attempt(n=n, model=model, provider=_CATALOG.models[model].provider, started_at=now, outcome=cls.code)
        for n, (model, cls) in enumerate(outcomes, 1)
    ]
    return Course(attempts=tuple(attempts))


def test_a_model_is_spent_by_two_failures_or_by_one_that_will_not_pass() -> None:
    once = ("qwen-edit", ProviderTransient)
    assert spent_models(_course(once), _CATALOG) == frozenset()
    assert spent_models(_course(once, once), _CATALOG) == {"qwen-edit"}
    for cls in (ProviderModelGone, ProviderBadOutput, ProviderModerated):
        assert spent_models(_course(("qwen-edit", cls)), _CATALOG) == {"qwen-edit"}
    for cls in (ProviderRateLimited, WorkerCrashed):
        assert spent_models(_course(*[("qwen-edit", cls)] * 3), _CATALOG) == frozenset()
    refused = spent_models(_course(("qwen-edit", ProviderUnusable)), _CATALOG)
    assert refused == {model.id for model in _CATALOG.models.values() if model.provider == "wavespeed"}


def test_a_provider_is_tired_of_an_edit_after_two_failures_of_its_own() -> None:
    once = ("qwen-edit", ProviderTransient)
    assert tired_providers(_course(once)) == frozenset()
    assert tired_providers(_course(once, ("qwen-edit-plus", ProviderAmbiguous))) == {"wavespeed"}
    assert tired_providers(_course(once, ("flux-kontext-dev", ProviderTransient))) == frozenset()
    for cls in (ProviderBadOutput, ProviderRateLimited, ProviderRefused, ProviderModerated):
        assert tired_providers(_course(("qwen-edit", cls), ("qwen-edit-plus", cls))) == frozenset()


def test_an_edit_that_cannot_be_written_down_is_not_tried_again() -> None:
    """Scripts were repeated with patience already; whoever holds the lease next decides."""
    assert isinstance(after(StoreUnavailable("away"), failures=0, chance=0.0), GiveUp)
