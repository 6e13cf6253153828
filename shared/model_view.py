"""A model as callers see it (pure)."""

from collections.abc import Collection
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shared.adjustments import GRAMMAR
from shared.candidates import EXACT
from shared.catalog.model import Model, Parameter
from shared.edit import Operation
from shared.job import Time, time_of
from shared.learned import Health, Learned, Performance


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PerformanceView(_Wire):
    """What calls of the last 7 days took, in seconds, and how the results were rated, from 1 to 5; null without any."""

    p50_s: float | None
    p90_s: float | None
    rating: float | None


class PerformanceFigures(PerformanceView):
    """`success_rate`: 0 to 1, of `samples` calls; `rating`: mean of `ratings`; `spend`: USD, null unless the key has `admin`."""

    success_rate: float | None
    samples: int
    ratings: int
    spend: float | None


class PerformanceDetail(PerformanceFigures):
    """Of all operations, and of each that was done."""

    by_operation: dict[Operation, PerformanceFigures]


class HealthView(_Wire):
    """`degraded`: some calls fail; `down`: so many do that none are made for a while. `since`: when that began."""

    state: Literal["ok", "degraded", "down"]
    since: Time | None


class ModelView(_Wire):
    """One model. `cost`: USD with default parameters; `cost_from` and `cost_to`: the least and the most; sizes in pixels.

    `supports_mask`: `native` (the model takes it), `composited` (we cut and paste) or `no`. `available`: a worker has its
    provider. `performance`: null as long as nothing is known.
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
    performance: PerformanceView | None
    docs_url: str | None


class PriceView(_Wire):
    """USD when every parameter in `when` has that value; an empty `when` is the price otherwise."""

    when: dict[str, str]
    usd: float


class ModelDetail(ModelView):
    """`parameters`: JSON Schema of what may be given in the model's own names; `pricing`: the whole table, per `price_unit`."""

    performance: PerformanceDetail | None
    health: HealthView
    example_prompts: tuple[str, ...]
    parameters: dict[str, Any]
    pricing: tuple[PriceView, ...]
    price_unit: Literal["picture", "megapixel"]
    price_source: str
    source: str


def model_view(model: Model, available: Collection[str], learned: Learned) -> ModelView:
    """`available`: the providers that some live worker is configured for."""
    seen = learned.performance(model.id)
    performance = None
    if _says_something(seen):
        performance = PerformanceView(p50_s=_seconds(seen.p50_s), p90_s=_seconds(seen.p90_s), rating=_rating(seen))
    return ModelView(**_fields(model, available), performance=performance)


def model_detail(model: Model, available: Collection[str], learned: Learned, *, shows_spend: bool) -> ModelDetail:
    """The model with its parameters and prices, and what its calls have shown."""
    seen = learned.performance(model.id)
    performance = None
    if _says_something(seen):
        performance = PerformanceDetail(
            **_figures(seen, shows_spend=shows_spend),
            by_operation={
                operation: PerformanceFigures(**_figures(one, shows_spend=shows_spend))
                for operation, one in learned.performances(model.id).items()
            },
        )
    tiers = [PriceView(when=tier.when, usd=float(tier.usd)) for tier in model.price.tiers]
    own = {name: parameter for name, parameter in model.parameters.items() if parameter.field != "prompt"}
    return ModelDetail(
        **_fields(model, available),
        performance=performance,
        health=_health_view(learned.health(model.id)),
        example_prompts=_example_prompts(model),
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


def _says_something(seen: Performance) -> bool:
    return bool(seen.calls or seen.ratings)


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _rating(seen: Performance) -> float | None:
    return round(seen.rating_sum / seen.ratings, 2) if seen.ratings else None


def _figures(seen: Performance, *, shows_spend: bool) -> dict[str, Any]:
    return {
        "p50_s": _seconds(seen.p50_s),
        "p90_s": _seconds(seen.p90_s),
        "rating": _rating(seen),
        "success_rate": round(seen.successes / seen.calls, 4) if seen.calls else None,
        "samples": seen.calls,
        "ratings": seen.ratings,
        "spend": float(seen.spend_usd) if shows_spend else None,
    }


def _health_view(health: Health) -> HealthView:
    return HealthView(state=health.state, since=None if health.since_ms is None else time_of(health.since_ms))


def _example_prompts(model: Model) -> tuple[str, ...]:
    """Of a model for exact adjustments, the whole grammar: it takes no other prompts."""
    if EXACT in model.capabilities:
        return tuple(prompt for rule in GRAMMAR for prompt in (*rule.en, *rule.zh))
    return model.example_prompts


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
