"""What an edit will probably cost, told when it is accepted."""

from typing import Any

import pytest

from shared.catalog.load import load_catalog
from shared.estimate import estimate_micro_usd, likely_model
from tests.conftest import make_spec

CATALOG = load_catalog()
SEEN = ("local", "wavespeed")
BLUE = {"prompt": "make the cup blue"}


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ({}, "exact-adjust"),
        ({"model": "flux-kontext-pro", **BLUE}, "flux-kontext-pro"),
        ({"models": ("no-longer", "flux-kontext-pro", "qwen-edit"), **BLUE}, "flux-kontext-pro"),
        ({"model": "qwen-edit", "models": ("flux-kontext-pro",), **BLUE}, "qwen-edit"),
    ],
)
def test_what_is_bound_or_exact_is_likely(options: dict[str, Any], model: str) -> None:
    found = likely_model(make_spec(**options), CATALOG, SEEN)
    assert found is not None
    assert found.id == model or (model == "exact-adjust" and found.provider == "local")


def test_the_cheapest_that_can_do_it_is_likely() -> None:
    found = likely_model(make_spec(**BLUE), CATALOG, SEEN)
    assert found is not None
    others = [m for m in CATALOG.models.values() if m.provider == "wavespeed" and "general_edit" in m.operations]
    assert found.price.base == min(model.price.base for model in others)


def test_a_model_that_cannot_be_turned_so_is_not_likely() -> None:
    spec = make_spec(**BLUE, options={"no_such_parameter": 1})
    assert likely_model(spec, CATALOG, SEEN) is None
    assert likely_model(make_spec(**BLUE, options={"no_such_parameter": 1}, strict=False), CATALOG, SEEN) is not None


@pytest.mark.parametrize(
    ("bounds", "micro_usd"),
    [({}, 20_000), ({"max_cost": 0.03}, 20_000), ({"max_cost": 0.0000019}, 1), ({"quoted_usd": 0.01, "max_cost": 0.015}, 10_000)],
)
def test_the_price_is_reserved_but_never_more_than_it_may_cost(bounds: dict[str, float], micro_usd: int) -> None:
    spec = make_spec(**BLUE, model="qwen-edit", **bounds)
    assert estimate_micro_usd(spec, CATALOG.models["qwen-edit"], (600, 400)) == micro_usd


def test_what_nobody_can_do_reserves_nothing() -> None:
    assert estimate_micro_usd(make_spec(**BLUE), likely_model(make_spec(**BLUE), CATALOG, ()), None) == 0
