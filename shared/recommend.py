"""Which model does an edit: candidates, exclusions with reasons, the cheapest that fits (pure)."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from shared.adjustments import parse
from shared.catalog.load import Catalog
from shared.catalog.model import Model
from shared.edit import EditSpec, Operation, Role
from shared.errors import FieldError, NoCapableModel, UnsupportedParameter, ValidationFailed
from shared.job import Alternative
from shared.parameters import out_of_range, unsupported
from shared.pricing import price_usd

EXACT = "exact_adjustments"  #: the capability of a model that does prompts of `shared.adjustments`, and no others
_ALTERNATIVES = 3


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why a model is no candidate."""

    model_id: str
    code: str
    why: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The model, its price for this edit in USD, and why; what else could do it, and what could not."""

    model: Model
    usd: Decimal
    mode: Literal["pinned", "exact", "recommended"]
    reason: str
    alternatives: tuple[Alternative, ...]
    excluded: tuple[Exclusion, ...]


def recommend(
    spec: EditSpec, *, catalog: Catalog, configured: Collection[str], upright_size: tuple[int, int] | None
) -> Recommendation:
    """The cheapest capable model of a configured provider; an exact edit goes to a model that does it exactly.

    `upright_size`: of the picture, None while it is unknown.

    Raises:
        NoCapableModel: none fits; the detail says what would make the edit possible.
    """
    exact = spec.operation is Operation.GENERAL_EDIT and parse(spec.prompt or "") is not None
    candidates: list[tuple[Model, Decimal]] = []
    excluded: list[Exclusion] = []
    for model in catalog.models.values():
        usd = price_usd(model, {})
        why = next(_exclusions(spec, model, usd, exact=exact, configured=configured, upright_size=upright_size), None)
        if why is None:
            candidates.append((model, usd))
        else:
            excluded.append(Exclusion(model.id, *why))
    if not candidates:
        raise NoCapableModel(_nothing_fits(spec, catalog, excluded))
    candidates.sort(key=lambda candidate: (EXACT not in candidate[0].capabilities, candidate[0].quality == "basic", candidate[1]))
    (model, usd), others = candidates[0], candidates[1:]
    alternatives = tuple(_alternative(other, price, usd) for other, price in others[:_ALTERNATIVES])
    if spec.model is not None:
        return Recommendation(model, usd, "pinned", "Asked for by the caller", (), tuple(excluded))
    if EXACT in model.capabilities:
        reason = "The prompt is an exact adjustment: done exactly, free of charge"
        return Recommendation(model, usd, "exact", reason, alternatives, tuple(excluded))
    return Recommendation(model, usd, "recommended", _reason(usd, others, upright_size), alternatives, tuple(excluded))


def check_pinned(spec: EditSpec, catalog: Catalog) -> None:
    """Refuse at once what can never work: a pinned model or provider that cannot do this operation or honour these options.

    Raises:
        UnsupportedParameter: with the field, and the models that can honour it.
        ValidationFailed: a value out of the model's range, or an operation that it does not do.
    """
    if spec.provider is not None and spec.provider not in catalog.providers:
        _refuse("/provider", f"unknown provider; there are {', '.join(catalog.providers)}")
    if spec.model is None:
        return
    model = catalog.models[spec.model]
    if spec.provider is not None and model.provider != spec.provider:
        _refuse("/provider", f"{model.id} is a model of {model.provider}")
    if spec.operation not in model.operations:
        can = ", ".join(other.id for other in catalog.models.values() if spec.operation in other.operations)
        _refuse("/operation", f"{model.id} cannot {spec.operation}; models that can: {can or 'none'}")
    if EXACT in model.capabilities and spec.operation is Operation.GENERAL_EDIT and parse(spec.prompt or "") is None:
        _refuse(
            "/prompt",
            f"{model.id} does exact adjustments only, such as 'make it black and white' or 'rotate 90 degrees clockwise'",
        )
    if spec.strict and (pointers := unsupported(spec, model)):
        errors = [FieldError(pointer, "unsupported_parameter", _who_can(spec, catalog, pointer)) for pointer in pointers]
        raise UnsupportedParameter(f"{model.id} cannot honour {', '.join(pointers)}", errors=errors)
    if faults := out_of_range(spec, model):
        raise ValidationFailed(f"{faults[0].message}: {faults[0].pointer}", errors=faults)


def _refuse(pointer: str, message: str) -> None:
    raise ValidationFailed(message, errors=[FieldError(pointer, "invalid_value", message)])


def _who_can(spec: EditSpec, catalog: Catalog, pointer: str) -> str:
    can = [m.id for m in catalog.models.values() if spec.operation in m.operations and pointer not in unsupported(spec, m)]
    return f"models that can: {', '.join(can)}" if can else "no model for this operation can"


def _exclusions(
    spec: EditSpec,
    model: Model,
    usd: Decimal,
    *,
    exact: bool,
    configured: Collection[str],
    upright_size: tuple[int, int] | None,
) -> Iterator[tuple[str, str]]:
    """(code, why) for all that keeps the model out, what is told by a glance first: only the first one is asked for."""
    if spec.model is not None and spec.model != model.id:
        yield "not_pinned", "another model is pinned"
    if spec.provider is not None and spec.provider != model.provider:
        yield "not_pinned", "another provider is pinned"
    if spec.operation not in model.operations:
        yield "operation", f"does not do {spec.operation}"
    if model.provider not in configured:
        yield "not_configured", "its provider is not configured"
    if model.status != "active" and spec.model is None:
        yield "status", f"is {model.status}"
    if EXACT in model.capabilities and spec.operation is Operation.GENERAL_EDIT and not exact:
        yield "not_exact", "does exact adjustments only"
    if spec.mask is not None and model.mask.kind == "no":
        yield "mask", "takes no mask"
    if (spec.prompt or "").strip() and all(parameter.field != "prompt" for parameter in model.parameters.values()):
        yield "prompt", "takes no prompt"
    if 1 + len(spec.inputs_of(Role.REFERENCE)) > model.max_images:
        yield "images", f"takes {model.max_images} pictures at most"
    if spec.max_cost is not None and usd > Decimal(str(spec.max_cost)):
        yield "max_cost", f"costs {usd} USD"
    if spec.strict and (pointers := unsupported(spec, model)):
        yield "parameter", f"cannot honour {', '.join(pointers)}"
    if out_of_range(spec, model):
        yield "parameter", "does not take one of the values"
    if upright_size is not None and max(upright_size) > model.input_max_side:
        yield "resolution", f"takes pictures up to {model.input_max_side} px a side"


def _nothing_fits(spec: EditSpec, catalog: Catalog, excluded: list[Exclusion]) -> str:
    """What can be done about it: every model that does this operation, with what keeps it out."""
    capable = [e for e in excluded if spec.operation in catalog.models[e.model_id].operations and e.code != "not_pinned"]
    parts = [f"{e.model_id} {e.why}" for e in capable]
    keys = {
        f"{catalog.models[e.model_id].provider.upper()}_API_KEY"
        for e in capable
        if e.code == "not_configured" and catalog.providers[catalog.models[e.model_id].provider].needs_key
    }
    advice = f" Setting {' or '.join(sorted(keys))} enables more." if keys else ""
    examples = ""
    if any(e.code == "not_exact" for e in capable):
        examples = (
            " Without a key these prompts work: 'make it black and white', 'rotate 90 degrees clockwise', 'brightness +20%'."
        )
    return f"No model can do this {spec.operation}: {'; '.join(parts) or 'none does this operation'}.{advice}{examples}"


def _reason(usd: Decimal, others: list[tuple[Model, Decimal]], upright_size: tuple[int, int] | None) -> str:
    facts = ["Lowest cost option" if others and usd < min(price for _, price in others) else "Fits the edit"]
    if others and usd == min(price for _, price in others):
        facts = ["No other option costs less"]
    if upright_size is not None:
        facts.append(f"Takes the picture's {upright_size[0]}×{upright_size[1]} pixels")
    return ", ".join(facts)


def _alternative(model: Model, usd: Decimal, winner_usd: Decimal) -> Alternative:
    compared = "higher cost" if usd > winner_usd else "lower cost" if usd < winner_usd else "same cost"
    return Alternative(
        model_id=model.id, name=model.name, cost=float(usd), reason=f"Alternative: {model.tier.capitalize()} tier, {compared}"
    )
