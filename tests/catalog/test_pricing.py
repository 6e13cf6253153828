from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog.load import load_catalog
from shared.catalog.model import Model, PriceTier
from shared.pricing import price_usd

# Source: facts page, 2.14: gpt-image-1 by quality and size.
TABLE = {
    ("low", "1024*1024"): "0.011",
    ("low", "1536*1024"): "0.016",
    ("medium", "1024*1024"): "0.042",
    ("medium", "1536*1024"): "0.063",
    ("high", "1024*1024"): "0.167",
    ("high", "1536*1024"): "0.250",
}


def model_with(*tiers: PriceTier, base: str = "0.042", **defaults: str) -> Model:
    parameters = {name: {"type": "string", "default": value} for name, value in defaults.items()}
    shipped = load_catalog().models["qwen-edit"].model_dump()
    price = {"usd": base, "tiers": tiers, "source": "test"}
    return Model.model_validate({**shipped, "price": price, "parameters": parameters})


TIERED = model_with(
    *(PriceTier(when={"quality": quality, "size": size}, usd=Decimal(usd)) for (quality, size), usd in TABLE.items()),
    quality="medium",
    size="auto",
)


@pytest.mark.parametrize(("parameters", "usd"), TABLE.items())
def test_every_tier_costs_what_the_table_says(parameters: tuple[str, str], usd: str) -> None:
    assert price_usd(TIERED, dict(zip(("quality", "size"), parameters, strict=True))) == Decimal(usd)


@pytest.mark.parametrize(
    ("parameters", "usd"),
    [({}, "0.042"), ({"size": "1536*1024"}, "0.063"), ({"quality": "high"}, "0.042"), ({"other": 1}, "0.042")],
)
def test_an_absent_parameter_counts_as_its_default(parameters: dict[str, str], usd: str) -> None:
    assert price_usd(TIERED, parameters) == Decimal(usd)


def test_numbers_and_switches_are_compared_as_they_are_written() -> None:
    model = model_with(
        PriceTier(when={"steps": "50"}, usd=Decimal(3)), PriceTier(when={"sharp": "true"}, usd=Decimal(2)), base="1"
    )
    assert [price_usd(model, wish) for wish in ({"steps": 50}, {"sharp": True}, {"sharp": False}, {})] == [3, 2, 1, 1]


def test_the_first_tier_that_fits_decides() -> None:
    model = model_with(PriceTier(when={}, usd=Decimal(7)), PriceTier(when={"a": "b"}, usd=Decimal(1)))
    assert price_usd(model, {"a": "b"}) == 7


@pytest.mark.parametrize(
    ("parameters", "usd"),
    [({"image_size": "1000*500"}, "0.015"), ({"image_size": "auto"}, "0.04718592"), ({}, "0.04718592")],
)
def test_a_price_per_megapixel_follows_the_size_and_without_one_the_largest(parameters: dict[str, str], usd: str) -> None:
    assert price_usd(load_catalog().models["qwen-image-edit"], parameters) == Decimal(usd)


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.text(max_size=8), st.integers(), st.floats(), st.booleans())))
def test_no_parameters_make_a_price_outside_of_the_list(parameters: dict[str, str | int | float | bool]) -> None:
    assert price_usd(TIERED, parameters) in {Decimal("0.042"), *map(Decimal, TABLE.values())}
