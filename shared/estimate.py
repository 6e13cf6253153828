"""What an edit will probably cost, told when it is accepted: the model that will probably do it, and its price (pure)."""

import math
from collections.abc import Collection
from decimal import Decimal

from shared.adjustments import parse
from shared.candidates import EXACT, price_of
from shared.catalog.load import Catalog
from shared.catalog.model import Model
from shared.edit import EditSpec, Operation
from shared.parameters import TURNABLE, unsupported


def likely_model(spec: EditSpec, catalog: Catalog, providers_seen: Collection[str]) -> Model | None:
    """The model that will probably do the edit, told from operation, options and base price alone; None if none fits.

    The worker chooses with all that it knows; the gateway has no time for it. `providers_seen`: those that some live worker
    is configured for.
    """
    named = [spec.model] if spec.model is not None else spec.models
    if bound := next((catalog.models[name] for name in named if name in catalog.models), None):
        return bound
    turned = spec.strict and bool(spec.options or any(getattr(spec, name) is not None for name in TURNABLE))
    able = [
        model
        for model in catalog.models.values()
        if spec.operation in model.operations
        and model.status == "active"
        and model.provider in providers_seen
        and spec.provider in (None, model.provider)
        and not (turned and unsupported(spec, model))
    ]
    if spec.operation is Operation.GENERAL_EDIT and any(EXACT in model.capabilities for model in able):
        exact = parse(spec.prompt or "") is not None
        able = [model for model in able if (EXACT in model.capabilities) == exact] or able
    return min(able, key=lambda model: (model.quality == "basic", model.price.base), default=None)


def estimate_micro_usd(spec: EditSpec, model: Model | None, upright_size: tuple[int, int] | None) -> int:
    """What to reserve for the edit, in 1e-6 USD, rounded up, and never more than it may cost. `model`: None costs nothing.

    `upright_size`: of the picture, None while it is unknown.
    """
    if model is None:
        return 0
    bounds = [math.floor(Decimal(str(usd)) * 1_000_000) for usd in (spec.max_cost, spec.quoted_usd) if usd is not None]
    return min([micro_usd(price_of(spec, model, upright_size)), *bounds])


def micro_usd(usd: Decimal) -> int:
    """Rounded up."""
    return math.ceil(usd * 1_000_000)
