"""What one call of a model costs (pure)."""

import re
from collections.abc import Mapping
from decimal import Decimal

from shared.catalog.model import Model

ParameterValue = str | int | float | bool


def price_usd(model: Model, parameters: Mapping[str, ParameterValue]) -> Decimal:
    """USD for one output picture: the first tier whose conditions all hold, else the base price.

    `parameters`: in the provider's names and units, as they are sent; one that is absent counts as its declared default.
    A price per megapixel is multiplied by the size in them, or by the largest output if they hold none.
    """
    usd = model.price.base
    for tier in model.price.tiers:
        if all(_value(model, parameters, name) == wanted for name, wanted in tier.when.items()):
            usd = tier.usd
            break
    return usd if model.price.unit == "picture" else usd * _pixels(model, parameters) / 1_000_000


def _pixels(model: Model, parameters: Mapping[str, ParameterValue]) -> int:
    """Of the output: as the size parameter (`W*H`) says, else the most there can be."""
    name = next((name for name, parameter in model.parameters.items() if parameter.field == "size"), "")
    size = re.fullmatch(r"(\d+)\*(\d+)", str(parameters.get(name)))
    return int(size[1]) * int(size[2]) if size else model.size.max_pixels or model.size.max_side**2


def _value(model: Model, parameters: Mapping[str, ParameterValue], name: str) -> str | None:
    """The parameter as it is written in a tier's `when`, or None if it is neither given nor has a default."""
    declared = model.parameters.get(name)
    value = parameters.get(name, declared.default if declared else None)
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
