"""What one call of a model costs (pure)."""

from collections.abc import Mapping
from decimal import Decimal

from shared.catalog.model import Model

ParameterValue = str | int | float | bool


def price_usd(model: Model, parameters: Mapping[str, ParameterValue]) -> Decimal:
    """USD for one output picture: the first tier whose conditions all hold, else the base price.

    `parameters`: in the provider's names and units, as they are sent; one that is absent counts as its declared default.
    """
    for tier in model.price.tiers:
        if all(_value(model, parameters, name) == wanted for name, wanted in tier.when.items()):
            return tier.usd
    return model.price.base


def _value(model: Model, parameters: Mapping[str, ParameterValue], name: str) -> str | None:
    """The parameter as it is written in a tier's `when`, or None if it is neither given nor has a default."""
    declared = model.parameters.get(name)
    value = parameters.get(name, declared.default if declared else None)
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
