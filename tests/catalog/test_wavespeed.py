"""The catalogue against the facts that were found out about the models, copied into tests/data: nothing more, nothing less."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.catalog.load import load_catalog
from shared.catalog.model import Model
from shared.geometry import plan_geometry
from shared.picture import PictureInfo
from shared.pricing import price_usd
from worker.call import made_parameters

FACTS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data/wavespeed_parameters.json").read_text())[
    "models"
]
MODELS = load_catalog().providers["wavespeed"].models
OURS_TO_SET = {"enable_sync_mode", "enable_base64_output"}  # They turn the task into something else, so callers may not.
POLARITIES = {"white": "white_is_edit", "fully transparent pixels (alpha 0)": "alpha_transparent_is_edit"}

each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)


def test_the_catalogue_has_the_models_of_the_facts_in_their_order() -> None:
    assert [model.id for model in MODELS] == list(FACTS)
    assert [model.path for model in MODELS] == [facts["path"] for facts in FACTS.values()]


def test_models_that_their_vendors_withdrew_are_never_chosen_by_themselves() -> None:
    assert {model.id: model.status for model in MODELS if model.status != "active"} == {
        "seededit-v3": "deprecated",
        "gpt-image-1": "deprecated",
    }


@each_model
def test_every_parameter_is_declared_as_the_facts_say(model: Model) -> None:
    facts = FACTS[model.id]
    taken = {facts["image_parameter"], *OURS_TO_SET, *({facts["mask"]["parameter"]} if facts["mask"] else ())}
    expected = {name: parameter for name, parameter in facts["parameters"].items() if name not in taken}
    assert set(model.parameters) == set(expected)
    for name, fact in expected.items():
        declared = model.parameters[name]
        is_size = fact["type"] == "W*H"
        assert declared.type == ("string" if is_size else fact["type"])
        assert declared.required == fact.get("required", False)
        assert declared.default == fact.get("default")
        assert declared.enum == tuple(fact.get("enum", ()))
        assert (declared.min, declared.max) == ((None, None) if is_size else (fact.get("min"), fact.get("max")))


@each_model
def test_pictures_sizes_and_masks_are_as_the_facts_say(model: Model) -> None:
    facts = FACTS[model.id]
    images = facts["parameters"][facts["image_parameter"]]
    assert (model.image_parameter, model.max_images) == (facts["image_parameter"], facts["max_images"])
    assert images.get("max_items", 1) == model.max_images
    if facts["tier"] is not None:
        assert model.tier == facts["tier"]
    size = facts["parameters"].get("size")
    if size is not None and size["type"] == "W*H":
        assert model.size.control == "WxH"
        assert "min" not in size or (model.size.min_side, model.size.max_side) == (size["min"], size["max"])
        assert "min_total_pixels" not in size or model.size.min_pixels == size["min_total_pixels"]
        assert "max_total_pixels" not in size or model.size.max_pixels == size["max_total_pixels"]
    if facts["mask"] is None:
        assert model.mask.kind in ("composited", "no")
        assert (model.mask.kind == "composited") == ("general_edit" in model.operations)
    else:
        assert (model.mask.kind, model.mask.parameter) == ("native", facts["mask"]["parameter"])
        assert model.mask.polarity == POLARITIES[facts["mask"]["edit_region"]]


@each_model
def test_every_price_of_the_facts_is_asked_for_the_parameters_that_it_holds_for(model: Model) -> None:
    facts = FACTS[model.id]
    assert price_usd(model, {}) == Decimal(str(facts["base_usd"]))
    for tier in facts["tiers"]:
        assert price_usd(model, tier["when"]) == Decimal(str(tier["amount"])), tier


@each_model
@pytest.mark.parametrize("upright", [(1024, 1024), (640, 480), (300, 5000), (4096, 4096), (8000, 1200), (64, 64)])
def test_the_size_that_is_asked_for_is_one_that_the_facts_allow(model: Model, upright: tuple[int, int]) -> None:
    info = PictureInfo(format="png", width=upright[0], height=upright[1], bytes=1, has_alpha=False)
    plan = plan_geometry(info.upright_size, model.size)
    made = made_parameters(model, plan, "png")
    size = FACTS[model.id]["parameters"].get("size")
    if size is not None and "enum" in size:
        assert made["size"] in size["enum"]
    elif size is not None:
        sides = [int(side) for side in made["size"].split("*")]
        assert size.get("min", 1) <= min(sides) <= max(sides) <= size.get("max", 8192)
        assert size.get("min_total_pixels", 1) <= sides[0] * sides[1] <= size.get("max_total_pixels", 8192**2)
    elif "aspect_ratio" in FACTS[model.id]["parameters"]:
        assert made["size"] in FACTS[model.id]["parameters"]["aspect_ratio"]["enum"]
    else:
        assert "size" not in made


@each_model
def test_every_figure_names_its_source(model: Model) -> None:
    assert "[" in model.source
    assert "[" in model.price.source
