"""Wishes in a model's own names: what it can honour, which values it takes, and that nothing else is sent."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog.load import load_catalog
from shared.catalog.model import Model, Parameter
from shared.edit import EditSpec
from shared.parameters import TURNABLE, out_of_range, parameters_for, unsupported

_MODELS = list(load_catalog().models.values())
_NAMES = sorted({name for model in _MODELS for name in model.parameters} | {"unknown", "a/seed", "~1"})


def _model(**parameters: Parameter) -> Model:
    return _MODELS[0].model_copy(update={"parameters": parameters})


def _spec(**options: Any) -> EditSpec:
    return EditSpec(prompt="make it blue", **options)


@st.composite
def _specs(draw: st.DrawFn) -> EditSpec:
    values = {
        "negative_prompt": st.text(max_size=20),
        "guidance_scale": st.floats(0, 100),
        "steps": st.integers(1, 1_000),
        "seed": st.integers(0, 2_147_483_647),
        "style_preset": st.text(max_size=20),
    }
    assert set(values) == set(TURNABLE)
    own = {name: draw(strategy) for name, strategy in values.items() if draw(st.booleans())}
    value = st.one_of(st.text(max_size=10), st.integers(-10, 10), st.floats(-10, 10), st.booleans())
    names = st.one_of(st.sampled_from(_NAMES), st.text(min_size=1, max_size=10))
    return _spec(options=draw(st.dictionaries(names, value, max_size=5)), **own)


@given(
    _specs(), st.sampled_from(_MODELS), st.dictionaries(st.sampled_from(["size", "output_format", "prompt", "odd"]), st.text())
)
def test_nothing_undeclared_is_ever_sent(spec: EditSpec, model: Model, made: dict[str, str]) -> None:
    assert parameters_for(spec, model, made).keys() <= model.parameters.keys()


@given(_specs(), st.sampled_from(_MODELS))
def test_every_wish_is_sent_or_named_as_unsupported(spec: EditSpec, model: Model) -> None:
    wishes = sum(getattr(spec, name) is not None for name in TURNABLE) + len(spec.options)
    assert len(parameters_for(spec, model, {})) + len(unsupported(spec, model)) == wishes


@given(_specs(), st.sampled_from(_MODELS))
def test_what_is_in_range_is_sent_in_the_declared_type(spec: EditSpec, model: Model) -> None:
    """Providers refuse 2.0 where they want 2."""
    if out_of_range(spec, model):
        return
    types: dict[str, type | tuple[type, ...]] = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
    for name, value in parameters_for(spec, model, {}).items():
        declared = model.parameters[name]
        assert isinstance(value, types[declared.type])
        assert isinstance(value, bool) == (declared.type == "boolean")


def test_an_option_of_ours_goes_to_the_parameter_that_declares_it() -> None:
    model = _model(cfg=Parameter(type="number", field="guidance_scale"), guidance_scale=Parameter(type="number"))
    assert parameters_for(_spec(guidance_scale=4.5), model, {}) == {"cfg": 4.5}


def test_a_parameter_that_an_option_of_ours_fills_cannot_be_set_past_it() -> None:
    model = _model(seed=Parameter(type="integer", field="seed"))
    assert unsupported(_spec(options={"seed": 5}), model) == ["/options/seed"]
    assert parameters_for(_spec(options={"seed": 5}), model, {}) == {}


def test_a_name_with_a_slash_is_not_its_last_part() -> None:
    model = _model(factor=Parameter(type="integer"))
    assert unsupported(_spec(options={"x/factor": 4}), model) == ["/options/x/factor"]
    assert parameters_for(_spec(options={"x/factor": 4}), model, {}) == {}


def test_a_whole_number_is_sent_as_one_where_an_integer_is_declared() -> None:
    """JSON has no integers: a caller's library may write 2.0. Providers refuse it, as OpenCV does."""
    model = _model(factor=Parameter(type="integer", min=2, max=4), strength=Parameter(type="number"))
    sent = parameters_for(_spec(options={"factor": 2.0, "strength": 2.0}), model, {})
    assert [(value, type(value)) for value in sent.values()] == [(2, int), (2.0, float)]


def test_what_we_make_of_size_and_format_is_sent_where_it_is_declared() -> None:
    model = _model(dimensions=Parameter(type="string", field="size"), seed=Parameter(type="integer", field="seed"))
    made = {"size": "512*512", "output_format": "png"}
    assert parameters_for(_spec(seed=3), model, made) == {"dimensions": "512*512", "seed": 3}


@pytest.mark.parametrize(
    ("declared", "good", "bad", "takes"),
    [
        (Parameter(type="boolean"), [True, False], [1, "true"], "true or false"),
        (Parameter(type="string"), ["", "x"], [1, True], "a text"),
        (Parameter(type="string", enum=("a", "b")), ["a"], ["c", ""], "one of a, b"),
        (Parameter(type="integer", min=2, max=4), [2, 4, 3.0], [1, 5], "2.0 to 4.0"),
        (Parameter(type="integer"), [-5], [2.5, "2", True], "an integer"),
        (Parameter(type="number", min=0.5), [0.5, 1e9, 1], [0.4], "0.5 to …"),
        (Parameter(type="number"), [0.1], ["0.1", False], "a number"),
    ],
)
def test_each_kind_of_parameter_takes_its_values(declared: Parameter, good: list[Any], bad: list[Any], takes: str) -> None:
    model = _model(knob=declared)
    assert [value for value in good if out_of_range(_spec(options={"knob": value}), model)] == []
    for value in bad:
        (fault,) = out_of_range(_spec(options={"knob": value}), model)
        assert (fault.pointer, fault.code) == ("/options/knob", "invalid_value")
        assert fault.message == f"{model.id} takes {takes}"
