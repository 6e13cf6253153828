"""Which model does an edit: who is left out and why, who wins, and what is said about it."""

from collections.abc import Collection
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.candidates import EXACT, Circumstances
from shared.catalog.load import Catalog, load_catalog
from shared.edit import EditSpec, InputRef, Operation, Role
from shared.errors import NoCapableModel, UnsupportedParameter, ValidationFailed
from shared.picture import PictureInfo
from shared.pinned import check_pinned
from shared.recommend import Recommendation, recommend
from tests.conftest import make_spec

_PAID = ("qwen-edit", "qwen-edit-plus", "flux-kontext-pro")


def _catalog(folder: Path | None = None) -> Catalog:
    """The local models and three others, however many more are shipped."""
    whole = load_catalog(folder)
    models = {name: model for name, model in whole.models.items() if model.provider == "local" or name in _PAID}
    return Catalog(models, {name: whole.providers[name] for name in ("local", "wavespeed")})


CATALOG = _catalog()
ALL = tuple(CATALOG.providers)
BLUE = "make the cup blue"


def chosen_for(
    spec: EditSpec, *, configured: Collection[str] = ALL, catalog: Catalog = CATALOG, size: tuple[int, int] | None = (600, 400)
) -> Recommendation:
    return recommend(spec, catalog=catalog, now=Circumstances(configured=configured, upright_size=size))


def codes(found: Recommendation) -> dict[str, str]:
    return {exclusion.model_id: exclusion.code for exclusion in found.excluded}


def spec_with(role: Role, count: int = 1, **options: Any) -> EditSpec:
    """An edit with more pictures beside the one that is edited."""
    spec = make_spec(**options)
    info = PictureInfo(format="png", width=600, height=400, bytes=1_000)
    more = tuple(InputRef(role=role, key=f"in/t1/edit/{role}-{n}.png", info=info, sha256="1" * 64) for n in range(count))
    return spec.model_copy(update={"inputs": spec.inputs + more})


@pytest.fixture
def catalog_with(tmp_path: Path) -> Any:
    """The shipped catalogue with an operator's file over that of WaveSpeed."""

    def make(text: str) -> Catalog:
        (tmp_path / "wavespeed.toml").write_text(text)
        return _catalog(tmp_path)

    return make


def test_an_exact_edit_is_done_here_free_of_charge() -> None:
    found = chosen_for(make_spec(prompt="make it black and white"))
    assert (found.model.id, found.usd, found.mode) == ("local-adjust", Decimal(0), "exact")
    assert found.alternatives, "others can do it too, and the caller is told"


def test_the_cheapest_that_fits_does_what_is_not_exact() -> None:
    found = chosen_for(make_spec(prompt=BLUE))
    assert (found.model.id, found.usd, found.mode) == ("qwen-edit", Decimal("0.02"), "recommended")
    assert codes(found)["local-adjust"] == "not_exact"
    assert [(other.model_id, other.cost) for other in found.alternatives] == [
        ("qwen-edit-plus", 0.02),
        ("flux-kontext-pro", 0.04),
    ]


def test_a_model_that_is_no_candidate_is_named_with_its_reason() -> None:
    found = chosen_for(spec_with(Role.REFERENCE, prompt=BLUE, max_cost=0.03))
    assert found.model.id == "qwen-edit-plus"
    assert codes(found) == {
        "qwen-edit": "images",
        "flux-kontext-pro": "images",
        "local-adjust": "not_exact",
        **dict.fromkeys(("local-background", "local-erase", "local-outpaint", "local-upscale"), "operation"),
    }


@pytest.mark.parametrize(
    ("spec", "size", "model", "code"),
    [
        (make_spec(prompt=None, operation=Operation.UPSCALE), None, "qwen-edit", "operation"),
        (make_spec(prompt=BLUE, model="qwen-edit"), None, "flux-kontext-pro", "not_pinned"),
        (make_spec(provider="local"), None, "qwen-edit", "not_pinned"),
        (make_spec(prompt=BLUE, max_cost=0.03), None, "flux-kontext-pro", "max_cost"),
        (make_spec(prompt=BLUE, guidance_scale=4), None, "qwen-edit", "parameter"),
        (make_spec(guidance_scale=30, strict=False), None, "flux-kontext-pro", "parameter"),
        (spec_with(Role.MASK, operation=Operation.ERASE, prompt=None), None, "qwen-edit", "operation"),
        (make_spec(prompt=None, operation=Operation.REMOVE_BACKGROUND), None, "local-adjust", "operation"),
    ],
)
def test_each_reason_has_its_code(spec: EditSpec, size: tuple[int, int] | None, model: str, code: str) -> None:
    assert codes(chosen_for(spec, size=size))[model] == code


def test_a_mask_keeps_out_models_that_take_none() -> None:
    with pytest.raises(NoCapableModel, match="local-background takes no mask"):
        chosen_for(spec_with(Role.MASK, prompt=None, operation=Operation.REMOVE_BACKGROUND))


def test_a_picture_that_is_too_large_keeps_a_model_out() -> None:
    spec = make_spec(prompt=None, operation=Operation.UPSCALE)
    assert chosen_for(spec, size=(8_192, 100)).model.id == "local-upscale"
    assert chosen_for(spec, size=None).model.id == "local-upscale"
    with pytest.raises(NoCapableModel, match="local-upscale takes pictures up to 8192 px a side"):
        chosen_for(spec, size=(100, 8_193))


def test_an_option_is_left_out_when_the_caller_is_not_strict() -> None:
    assert chosen_for(make_spec(prompt=BLUE, guidance_scale=4, strict=False)).model.id == "qwen-edit"
    assert chosen_for(make_spec(prompt=BLUE, guidance_scale=4)).model.id == "flux-kontext-pro"


def test_a_deprecated_model_is_done_only_by_name(catalog_with: Any) -> None:
    catalog = catalog_with('[[models]]\nid = "qwen-edit"\nstatus = "deprecated"\n')
    found = chosen_for(make_spec(prompt=BLUE), catalog=catalog)
    assert (found.model.id, codes(found)["qwen-edit"]) == ("qwen-edit-plus", "status")
    pinned = chosen_for(make_spec(prompt=BLUE, model="qwen-edit"), catalog=catalog)
    assert (pinned.model.id, pinned.mode, pinned.alternatives) == ("qwen-edit", "pinned", ())


def test_a_basic_model_is_chosen_only_while_there_is_no_better_one(catalog_with: Any) -> None:
    catalog = catalog_with('[[models]]\nid = "qwen-edit"\noperations = ["remove_background"]\nparameters = {}\n')
    spec = make_spec(prompt=None, operation=Operation.REMOVE_BACKGROUND)
    assert chosen_for(spec).model.id == "local-background"
    found = chosen_for(spec, catalog=catalog)
    assert (found.model.id, found.reason.split(",")[0]) == ("qwen-edit", "Lowest cost option")
    assert codes(found)["local-background"] == "basic"
    free = chosen_for(make_spec(prompt=None, operation=Operation.REMOVE_BACKGROUND, max_cost=0), catalog=catalog)
    assert free.model.id == "local-background"


def test_without_a_key_the_answer_says_what_would_help() -> None:
    with pytest.raises(NoCapableModel) as raised:
        chosen_for(make_spec(prompt=BLUE), configured=("local",))
    detail = str(raised.value)
    assert "WAVESPEED_API_KEY" in detail
    assert "LOCAL_API_KEY" not in detail
    for prompt in ("make it black and white", "rotate 90 degrees clockwise", "brightness +20%"):
        assert f"'{prompt}'" in detail
        assert chosen_for(make_spec(prompt=prompt), configured=("local",)).model.id == "local-adjust"


def test_a_key_that_is_set_is_not_asked_for() -> None:
    with pytest.raises(NoCapableModel) as raised:
        chosen_for(make_spec(prompt=BLUE, max_cost=0.001))
    assert "API_KEY" not in str(raised.value)
    assert "qwen-edit costs 0.02 USD" in str(raised.value)


def test_a_prompt_keeps_out_a_model_that_follows_none() -> None:
    with pytest.raises(NoCapableModel, match="local-upscale takes no prompt"):
        chosen_for(make_spec(prompt=BLUE, operation=Operation.UPSCALE))


def test_an_operation_that_no_model_does_is_told_so() -> None:
    with pytest.raises(NoCapableModel, match="No model can do this relight: none does this operation"):
        chosen_for(make_spec(prompt=BLUE, operation=Operation.RELIGHT))


@given(
    prompt=st.sampled_from([BLUE, "make it black and white"]),
    configured=st.sets(st.sampled_from(ALL), min_size=1),
    max_cost=st.none() | st.sampled_from([0.0, 0.02, 0.05]),
    strict=st.booleans(),
    guidance_scale=st.none() | st.sampled_from([4.0, 50.0]),
    provider=st.none() | st.sampled_from(ALL),
    size=st.none() | st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)),
)
def test_what_is_said_of_the_choice_is_true(
    configured: set[str], max_cost: float | None, size: tuple[int, int] | None, **options: Any
) -> None:
    spec = make_spec(max_cost=max_cost, **options)
    try:
        found = chosen_for(spec, configured=configured, size=size)
    except NoCapableModel:
        return
    assert found.model.provider in configured
    assert max_cost is None or found.usd <= max_cost
    everybody = {found.model.id, *codes(found)}
    others = [model for name, model in CATALOG.models.items() if name not in everybody]
    assert {other.model_id for other in found.alternatives} == {model.id for model in others}
    cheapest = min(model.price.base for model in [found.model, *others])
    if "Lowest cost option" in found.reason:
        assert found.usd == cheapest
    if "free of charge" in found.reason:
        assert found.usd == 0
        assert EXACT in found.model.capabilities
    for other in found.alternatives:
        assert ("lower cost" in other.reason) == (Decimal(str(other.cost)) < found.usd)


@pytest.mark.parametrize(
    ("options", "pointer", "says"),
    [
        ({"provider": "acme"}, "/provider", "there are local, wavespeed"),
        ({"provider": "local", "model": "qwen-edit"}, "/provider", "qwen-edit is a model of wavespeed"),
        ({"model": "local-upscale"}, "/operation", "models that can: local-adjust, qwen-edit"),
        ({"model": "qwen-edit", "operation": "relight"}, "/operation", "models that can: none"),
        ({"model": "local-adjust", "prompt": BLUE}, "/prompt", "exact adjustments only"),
        ({"model": "flux-kontext-pro", "guidance_scale": 50}, "/guidance_scale", "takes 1.0 to 20.0"),
    ],
)
def test_what_can_never_work_is_refused_at_once(options: dict[str, Any], pointer: str, says: str) -> None:
    with pytest.raises(ValidationFailed) as raised:
        check_pinned(make_spec(**options), CATALOG)
    (fault,) = raised.value.errors
    assert (fault.pointer, fault.code) == (pointer, "invalid_value")
    assert says in fault.message


def test_a_pinned_model_refuses_options_and_names_those_who_honour_them() -> None:
    spec = make_spec(model="qwen-edit", prompt=BLUE, guidance_scale=4, steps=10)
    with pytest.raises(UnsupportedParameter) as raised:
        check_pinned(spec, CATALOG)
    said = {fault.pointer: fault.message for fault in raised.value.errors}
    assert said == {"/guidance_scale": "models that can: flux-kontext-pro", "/steps": "no model for this operation can"}
    check_pinned(spec.model_copy(update={"strict": False}), CATALOG)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"provider": "local"},
        {"model": "local-adjust"},
        {"model": "local-adjust", "provider": "local"},
        {"model": "flux-kontext-pro", "guidance_scale": 4},
        {"model": "local-upscale", "operation": "upscale", "prompt": None, "options": {"factor": 4}},
    ],
)
def test_what_can_work_passes(options: dict[str, Any]) -> None:
    check_pinned(make_spec(**options), CATALOG)


def test_quoted_models_are_chosen_in_their_order_and_no_others() -> None:
    spec = make_spec(prompt=BLUE, models=("flux-kontext-pro", "qwen-edit"), quoted_usd=1.0)
    found = chosen_for(spec)
    assert ([found.model.id, *(c.model.id for c in found.others)], found.mode) == (["flux-kontext-pro", "qwen-edit"], "pinned")
    assert found.reason == "The first of the quoted models that can do it"
    assert codes(found)["qwen-edit-plus"] == "not_pinned"
    down = recommend(
        spec, catalog=CATALOG, now=Circumstances(configured=ALL, upright_size=(600, 400), down=("flux-kontext-pro",))
    )
    assert down.model.id == "qwen-edit"


def test_a_quoted_model_that_has_become_dearer_is_left_out() -> None:
    found = chosen_for(make_spec(prompt=BLUE, models=("flux-kontext-pro", "qwen-edit"), quoted_usd=0.02))
    assert (found.model.id, codes(found)["flux-kontext-pro"]) == ("qwen-edit", "max_cost")
    with pytest.raises(NoCapableModel, match=r"more than was quoted"):
        chosen_for(make_spec(prompt=BLUE, models=("flux-kontext-pro",), quoted_usd=0.02))
