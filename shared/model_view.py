"""A model as callers see it (pure)."""

from collections.abc import Collection
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shared.catalog.model import Model, Parameter
from shared.edit import Operation


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelView(_Wire):
    """One model. `cost`: USD with default parameters; `cost_from` and `cost_to`: the least and the most; sizes in pixels.

    `supports_mask`: `native` (the model takes it), `composited` (we cut and paste) or `no`. `available`: a worker has its
    provider.
    """

    id: str
    name: str
    description: str
    cost: float
    cost_from: float
    cost_to: float
    tier: Literal["budget", "mid", "premium"]
    max_resolution: tuple[int, int]
    min_resolution: tuple[int, int]
    max_pixels: int | None
    capabilities: tuple[str, ...]
    use_cases: tuple[str, ...]
    features: tuple[str, ...]
    supports_multi_image: bool
    supports_controlnet: bool
    languages: tuple[str, ...]
    provider: str
    operations: tuple[Operation, ...]
    max_images: int
    supports_mask: Literal["native", "composited", "no"]
    supports_seed: bool
    supports_negative_prompt: bool
    output_formats: tuple[str, ...]
    quality: Literal["basic", "good", "excellent", "premium"]
    status: Literal["active", "deprecated", "retired"]
    available: bool
    docs_url: str | None


class PriceView(_Wire):
    """USD when every parameter in `when` has that value; an empty `when` is the price otherwise."""

    when: dict[str, str]
    usd: float


class ModelDetail(ModelView):
    """`parameters`: JSON Schema of what may be given in the model's own names; `pricing`: the whole table, per `price_unit`."""

    parameters: dict[str, Any]
    pricing: tuple[PriceView, ...]
    price_unit: Literal["picture", "megapixel"]
    price_source: str
    source: str


def model_view(model: Model, available: Collection[str]) -> ModelView:
    """`available`: the providers that some live worker is configured for."""
    return ModelView(**_fields(model, available))


def model_detail(model: Model, available: Collection[str]) -> ModelDetail:
    """The model with its parameters and prices."""
    tiers = [PriceView(when=tier.when, usd=float(tier.usd)) for tier in model.price.tiers]
    own = {name: parameter for name, parameter in model.parameters.items() if parameter.field != "prompt"}
    return ModelDetail(
        **_fields(model, available),
        parameters={
            "type": "object",
            "properties": {name: _schema(parameter) for name, parameter in own.items()},
            "additionalProperties": False,
        },
        pricing=(*tiers, PriceView(when={}, usd=float(model.price.base))),
        price_unit=model.price.unit,
        price_source=model.price.source,
        source=model.source,
    )


def _fields(model: Model, available: Collection[str]) -> dict[str, Any]:
    prices = [float(model.price.base), *(float(tier.usd) for tier in model.price.tiers)]
    filled_by = {parameter.field for parameter in model.parameters.values()}
    side = model.size.min_side
    return {
        "id": model.id,
        "name": model.name,
        "description": model.description,
        "cost": prices[0],
        "cost_from": min(prices),
        "cost_to": max(prices),
        "tier": model.tier,
        "max_resolution": model.max_resolution,
        "min_resolution": (side, side),
        "max_pixels": model.size.max_pixels,
        "capabilities": model.capabilities,
        "use_cases": model.use_cases,
        "features": model.features,
        "supports_multi_image": model.max_images > 1,
        "supports_controlnet": any("controlnet" in feature.lower() for feature in model.features),
        "languages": model.languages,
        "provider": model.provider,
        "operations": model.operations,
        "max_images": model.max_images,
        "supports_mask": model.mask.kind,
        "supports_seed": "seed" in filled_by,
        "supports_negative_prompt": "negative_prompt" in filled_by,
        "output_formats": model.output_formats,
        "quality": model.quality,
        "status": model.status,
        "available": model.provider in available,
        "docs_url": model.docs_url,
    }


def _schema(parameter: Parameter) -> dict[str, Any]:
    """JSON Schema of one parameter; `x-field` names the option of ours that fills it."""
    schema: dict[str, Any] = {"type": parameter.type}
    given = {"default": parameter.default, "minimum": parameter.min, "maximum": parameter.max, "x-field": parameter.field}
    schema.update({name: value for name, value in given.items() if value is not None})
    if parameter.enum:
        schema["enum"] = list(parameter.enum)
    return schema
