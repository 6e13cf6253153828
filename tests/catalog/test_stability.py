"""Stability's catalogue file: what of our fields it declares, and that it says what the simulator's own table says."""

import tomllib
from importlib.resources import files
from typing import Any

import pytest

from shared.catalog.load import load_catalog
from shared.catalog.model import Model
from shared.edit import EditSpec, Operation
from shared.parameters import parameters_for

MODELS = {model.id: model for model in load_catalog().providers["stability"].models}
TABLE = {row["path"]: row for row in tomllib.loads((files("deploy.simulator") / "stability.toml").read_text("utf-8"))["models"]}


def test_every_operation_but_the_general_edit_has_a_model() -> None:
    assert {operation for model in MODELS.values() for operation in model.operations} == {*Operation} - {Operation.GENERAL_EDIT}


def test_our_fields_reach_the_parameters_that_declare_them() -> None:
    cases: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("outpaint", {"expand_left": 5, "expand_down": 9, "seed": 4}, {"left": 5, "down": 9, "seed": 4}),
        (
            "search-replace",
            {"search_prompt": "a cup", "negative_prompt": "dogs"},
            {"search_prompt": "a cup", "negative_prompt": "dogs"},
        ),
        (
            "search-recolor",
            {"select_prompt": "a cup", "style_preset": "anime"},
            {"select_prompt": "a cup", "style_preset": "anime"},
        ),
        ("relight", {"options": {"light_source_direction": "left"}}, {"light_source_direction": "left"}),
        ("upscale-fast", {"seed": 4}, {}),
    ]
    for name, options, expected in cases:
        assert parameters_for(EditSpec(**options), MODELS[f"stability-{name}"], {}) == expected
    scaled = parameters_for(EditSpec(expand_left=5), MODELS["stability-outpaint"], {"expand_left": 3, "output_format": "png"})
    assert scaled == {"left": 3, "output_format": "png"}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_the_catalogue_and_the_simulators_table_agree(model: Model) -> None:
    """They were written apart. The catalogue has its own minimum of a seed: 0 stands for a random one."""
    row = TABLE[model.path]
    own = {name: values for name, values in row["parameters"].items() if values["type"] != "file"}
    assert float(model.price.base) == row["usd"]
    assert model.parameters.keys() == own.keys()
    pictures = {name: values for name, values in row["parameters"].items() if values["type"] == "file"}
    assert model.image_parameter in pictures
    assert (model.mask.parameter in pictures) == (model.mask.kind == "native")
    limits = pictures[model.image_parameter]
    assert model.size.min_side == model.input_min_side == limits["min"]
    assert model.size.min_pixels == limits["min_pixels"]
    assert (model.size.max_pixels or 0) <= limits["max_pixels"]
    assert model.size.max_aspect == limits.get("max_ratio", 1e9)
    for name, parameter in model.parameters.items():
        values = own[name]
        assert parameter.required == values.get("required", False), name
        assert parameter.enum == tuple(values.get("enum", ())) or parameter.type == "boolean", name
        if parameter.type in ("integer", "number"):
            assert parameter.max == values["max"], name
            assert parameter.min == (1 if name == "seed" else values["min"]), name
            assert name == "seed" or parameter.default == values["default"], name
