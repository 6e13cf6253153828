"""What is kept of a choice, and what callers are shown of it."""

import pytest

from shared.candidates import Circumstances
from shared.catalog.load import load_catalog
from shared.edit import Operation
from shared.receipt import CHOICES, choice_record, choice_view
from shared.recommend import recommend
from shared.score import Experience
from tests.conftest import make_spec

CATALOG = load_catalog()
NOW_MS = 1_700_000_000_123


def _circumstances(**overrides: object) -> Circumstances:
    return Circumstances(**{"configured": tuple(CATALOG.providers), "upright_size": (1024, 1024), **overrides})  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", ["make the cup blue", "make it black and white"])
def test_every_model_is_in_the_receipt_once_as_candidate_or_as_excluded(prompt: str) -> None:
    chosen = recommend(make_spec(prompt=prompt), catalog=CATALOG, now=_circumstances())
    shown = choice_view(choice_record(chosen, NOW_MS))
    named = [c.model_id for c in shown.candidates] + [e.model_id for e in shown.excluded]
    assert sorted(named) == sorted(CATALOG.models)
    assert {(e.model_id, e.code, e.why) for e in shown.excluded} == {(e.model_id, e.code, e.why) for e in chosen.excluded}


def test_the_best_candidate_comes_first_and_the_terms_add_up() -> None:
    experience = {"qwen-edit": Experience(calls=50, successes=50, p50_s=6.5, p90_s=9.0, judged=4, accepted=3)}
    chosen = recommend(make_spec(prompt="make the cup blue"), catalog=CATALOG, now=_circumstances(experience=experience))
    shown = choice_view(choice_record(chosen, NOW_MS))
    assert shown.candidates[0].model_id == shown.model_id == chosen.model.id == "qwen-edit"
    assert shown.candidates[0].score == pytest.approx(chosen.score.total, abs=1e-5)
    assert shown.candidates[0].score_breakdown["history"] == 7.5
    assert shown.candidates[0].p50_s == 6.5
    assert [c.score for c in shown.candidates] == sorted((c.score for c in shown.candidates), reverse=True)
    assert shown.at.timestamp() == pytest.approx(NOW_MS / 1000)


@pytest.mark.parametrize(
    ("operation", "prompt"), [(Operation.GENERAL_EDIT, "a red car"), (Operation.INPAINT, "a red car"), (Operation.UPSCALE, None)]
)
def test_a_turn_takes_little_room_in_the_record(operation: Operation, prompt: str | None) -> None:
    chosen = recommend(make_spec(operation=operation, prompt=prompt), catalog=CATALOG, now=_circumstances())
    kept = (choice_record(chosen, NOW_MS),)
    text = CHOICES.dump_json(kept, exclude_defaults=True)
    assert len(text) < 4_000
    assert CHOICES.validate_json(text) == kept
