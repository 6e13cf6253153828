"""Who can do an edit at what price, and what keeps the others out (pure)."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from shared.adjustments import parse
from shared.catalog.load import Catalog
from shared.catalog.model import Model, Size
from shared.edit import EditSpec, Operation, Role
from shared.geometry import GeometryPlan, plan_geometry
from shared.parameters import made_parameters, out_of_range, parameters_for, unsupported
from shared.pricing import price_usd
from shared.score import NONE_YET, Experience

EXACT = "exact_adjustments"  #: the capability of a model that does prompts of `shared.adjustments`, and no others
_CHINESE = re.compile("[\u4e00-\u9fff]")
_TOO_LARGE = "resolution"
_REDRAWING = (
    Operation.GENERAL_EDIT,
    Operation.INPAINT,
    Operation.SEARCH_REPLACE,
    Operation.SEARCH_RECOLOR,
    Operation.RELIGHT,
)


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why a model is no candidate."""

    model_id: str
    code: str
    why: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that can do the edit, and what the very parameters of the edit cost with it, in USD."""

    model: Model
    usd: Decimal
    experience: Experience = NONE_YET


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What beside the wish decides. `configured`: providers; `down`: models whose circuit is open.

    `upright_size`: of the picture, None while it is unknown. `experience`: by model id, for the wish's operation.
    """

    configured: Collection[str]
    upright_size: tuple[int, int] | None = None
    down: Collection[str] = ()
    experience: Mapping[str, Experience] | None = None

    def experience_of(self, model: Model) -> Experience:
        """What is known of a model."""
        return (self.experience or {}).get(model.id, NONE_YET)


def candidates_for(spec: EditSpec, catalog: Catalog, now: Circumstances) -> tuple[list[Candidate], tuple[Exclusion, ...], bool]:
    """(who can, who cannot and why, whether the picture has to be made smaller), in catalogue order.

    Where nothing but the size of the picture keeps every model out, those with the largest limit are candidates.
    """
    exact = spec.operation is Operation.GENERAL_EDIT and parse(spec.prompt or "") is not None
    found: list[Candidate] = []
    excluded: list[Exclusion] = []
    too_large: list[Candidate] = []
    for model in catalog.models.values():
        why = next(_at_a_glance(spec, model, now, exact=exact), None)
        candidate = None
        if why is None:
            candidate = Candidate(model, price_of(spec, model, now.upright_size), now.experience_of(model))
            why = next(_looked_into(spec, candidate, now), None)
        if why is not None:
            excluded.append(Exclusion(model.id, *why))
            if candidate is not None and why[0] == _TOO_LARGE and _may_shrink(spec, model):
                too_large.append(candidate)
        elif candidate is not None:
            found.append(candidate)
    if found or not too_large:
        found, basic = _without_basic(spec, found)
        return found, (*excluded, *basic), False
    largest = max(_pixels_max(candidate.model.size) for candidate in too_large)
    chosen = [candidate for candidate in too_large if _pixels_max(candidate.model.size) == largest]
    names = {candidate.model.id for candidate in chosen}
    return chosen, tuple(exclusion for exclusion in excluded if exclusion.model_id not in names), True


def price_of(spec: EditSpec, model: Model, upright_size: tuple[int, int] | None) -> Decimal:
    """USD for the very parameters that the edit comes to with this model."""
    made = {}
    if upright_size is not None:
        made = made_parameters(model, _plan(upright_size, model.size), spec.output_format)
    return price_usd(model, parameters_for(spec, model, made))


# Planning tries hundreds of sizes, and pictures of one size come in crowds.
@lru_cache(maxsize=8_192)
def _plan(upright_size: tuple[int, int], size: Size) -> GeometryPlan:
    return plan_geometry(upright_size, size)


def _without_basic(spec: EditSpec, found: list[Candidate]) -> tuple[list[Candidate], list[Exclusion]]:
    """Basic models step back while a better one is there, unless they are pinned, exact, or free of charge is asked for."""
    better = [c for c in found if c.model.quality != "basic" or EXACT in c.model.capabilities]
    if spec.model is not None or spec.max_cost == 0 or not better:
        return found, []
    basic = [c for c in found if c not in better]
    return better, [Exclusion(c.model.id, "basic", "is of basic quality, and there are better ones") for c in basic]


def _at_a_glance(spec: EditSpec, model: Model, now: Circumstances, *, exact: bool) -> Iterator[tuple[str, str]]:
    """(code, why) of what keeps the model out and is told without looking at prices: only the first one is asked for."""
    if spec.model is not None and spec.model != model.id:
        yield "not_pinned", "another model is pinned"
    if spec.provider is not None and spec.provider != model.provider:
        yield "not_pinned", "another provider is pinned"
    if spec.operation not in model.operations:
        yield "operation", f"does not do {spec.operation}"
    if model.provider not in now.configured:
        yield "not_configured", "its provider is not configured"
    if model.status == "retired" or (model.status == "deprecated" and spec.model is None):
        yield "status", f"is {model.status}"
    if EXACT in model.capabilities and spec.operation is Operation.GENERAL_EDIT and not exact:
        yield "not_exact", "does exact adjustments only"
    if spec.mask is not None and model.mask.kind == "no":
        yield "mask", "takes no mask"
    prompt = (spec.prompt or "").strip()
    declared = next((parameter for parameter in model.parameters.values() if parameter.field == "prompt"), None)
    if prompt and declared is None:
        yield "prompt", "takes no prompt"
    if not prompt and declared is not None and declared.required:
        yield "prompt", "needs a prompt"
    if _CHINESE.search(prompt) and model.languages == ("en",):
        yield "language", "understands English only"
    if 1 + len(spec.inputs_of(Role.REFERENCE)) > model.max_images:
        yield "images", f"takes {model.max_images} pictures at most"
    if spec.operation is Operation.OUTPAINT and not _knows_the_canvas(model):
        yield "canvas", "cannot be told how far to extend the picture"
    if spec.strict and (pointers := unsupported(spec, model)):
        yield "parameter", f"cannot honour {', '.join(pointers)}"
    if out_of_range(spec, model):
        yield "parameter", "does not take one of the values"
    if model.id in now.down:
        yield "circuit_open", "has failed too often just now"


def _looked_into(spec: EditSpec, candidate: Candidate, now: Circumstances) -> Iterator[tuple[str, str]]:
    """(code, why) of what the price, the size or experience say against it; size last, so that it is all that does."""
    model, usd = candidate.model, candidate.usd
    if spec.max_cost is not None and usd > Decimal(str(spec.max_cost)):
        yield "max_cost", f"costs {usd} USD"
    p90_s = candidate.experience.p90_s
    if spec.deadline_s is not None and p90_s is not None and p90_s > spec.deadline_s:
        yield "deadline", f"takes more than {p90_s:.0f} s for one edit in ten"
    if now.upright_size is not None:
        side = min(model.input_max_side, model.size.max_side)
        if max(now.upright_size) > side:
            yield _TOO_LARGE, f"takes pictures up to {side} px a side"
        if now.upright_size[0] * now.upright_size[1] > _pixels_max(model.size):
            yield _TOO_LARGE, f"takes pictures up to {_pixels_max(model.size)} pixels"


def _may_shrink(spec: EditSpec, model: Model) -> bool:
    """Whether the picture may be made smaller for the model: where it is redrawn anyway, not where its pixels are kept."""
    return spec.operation in _REDRAWING and EXACT not in model.capabilities


def _knows_the_canvas(model: Model) -> bool:
    """Whether it can be told how far to extend on each side. One without parameters of its own is told by us."""
    fields = {parameter.field for parameter in model.parameters.values()}
    return "expand_left" in fields or not fields & {"size", "aspect_ratio"}


def _pixels_max(size: Size) -> int:
    return size.max_pixels or size.max_side**2
