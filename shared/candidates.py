"""Who can do an edit at what price, and what keeps the others out (pure)."""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from shared.adjustments import parse
from shared.catalog.load import Catalog
from shared.catalog.model import Model, Size
from shared.edit import EditSpec, Operation, Role
from shared.geometry import enlarged_size, plan_edit, plan_geometry, wanted_size
from shared.parameters import enlarges_times, lacking, made_parameters, out_of_range, parameters_for, unsupported
from shared.pricing import price_usd
from shared.score import NONE_YET, Experience

EXACT = "exact_adjustments"  #: the capability of a model that does prompts of `shared.adjustments`, and no others
BESIDE = (Role.BACKGROUND_IMAGE, Role.LIGHTING_IMAGE)  #: pictures with a role of their own, which not every model takes
_CHINESE = re.compile("[\u4e00-\u9fff]")
_TOO_LARGE = "resolution"
_ENLARGED_LEAST = 1.01  # times: an upscale that comes to less is none
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

    `upright_size`: of the picture, None while it is unknown. `part_size`: of what lies around its mask, None without one or while
    that is unknown; then the whole picture is reckoned with. `experience`: by model id, for the wish's operation.
    """

    configured: Collection[str]
    upright_size: tuple[int, int] | None = None
    part_size: tuple[int, int] | None = None
    down: Collection[str] = ()
    experience: Mapping[str, Experience] | None = None

    def experience_of(self, model: Model) -> Experience:
        """What is known of a model."""
        return (self.experience or {}).get(model.id, NONE_YET)

    def shown_to(self, model: Model) -> tuple[int, int] | None:
        """The size of what the model is shown: one that takes no masks sees only the part around them."""
        return self.part_size if self.part_size is not None and model.mask.kind == "composited" else self.upright_size


def candidates_for(spec: EditSpec, catalog: Catalog, now: Circumstances) -> tuple[list[Candidate], tuple[Exclusion, ...], bool]:
    """(who can, who cannot and why, whether the picture has to be made smaller), in catalogue order.

    Where nothing but the size of the picture keeps every model out, those with the largest limit are candidates.
    """
    exact = spec.operation is Operation.GENERAL_EDIT and parse(spec.prompt or "") is not None
    found: list[Candidate] = []
    excluded: list[Exclusion] = []
    too_large: list[Candidate] = []
    for model in catalog.models.values():
        candidate, why = _judged(spec, model, now, exact=exact)
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


def what_keeps_out(spec: EditSpec, model: Model, now: Circumstances) -> tuple[str, str] | None:
    """(code, why) of the first thing that keeps this one model out, if any. To be made smaller keeps none out that may be."""
    exact = spec.operation is Operation.GENERAL_EDIT and parse(spec.prompt or "") is not None
    _, why = _judged(spec, model, now, exact=exact)
    return None if why is not None and why[0] == _TOO_LARGE and _may_shrink(spec, model) else why


def price_of(spec: EditSpec, model: Model, shown: tuple[int, int] | None) -> Decimal:
    """USD for the very parameters that the edit comes to with this model. `shown`: the size of what it is shown, if known."""
    made: dict[str, str | int] = {}
    if shown is not None and (plan := plan_edit(spec, model, shown)) is not None:
        made = made_parameters(model, plan.canvas, spec.output_format, enlarged=enlarged_size(spec, shown))
    return price_usd(model, parameters_for(spec, model, made))


def _judged(spec: EditSpec, model: Model, now: Circumstances, *, exact: bool) -> tuple[Candidate | None, tuple[str, str] | None]:
    """The model with its price, where it came so far, and (code, why) of the first thing that keeps it out."""
    why = next(_at_a_glance(spec, model, now, exact=exact), None)
    if why is not None:
        return None, why
    candidate = Candidate(model, price_of(spec, model, now.shown_to(model)), now.experience_of(model))
    return candidate, next(_looked_into(spec, candidate, now), None)


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
    if spec.models and model.id not in spec.models:
        yield "not_pinned", "is not one of the quoted models"
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
    if refused := next((ref.role for ref in spec.inputs if ref.role in BESIDE and ref.role not in model.beside), None):
        yield "images", f"takes no {refused}"
    if needed := lacking(spec, model):
        yield "parameter", f"needs {' and '.join(needed)}"
    if model.one_of and not any(_is_given(spec, field) for field in model.one_of):
        yield "parameter", f"needs {' or '.join(model.one_of)}"
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
    if spec.quoted_usd is not None and usd > Decimal(str(spec.quoted_usd)):
        yield "max_cost", f"costs {usd} USD, more than was quoted"
    p90_s = candidate.experience.p90_s
    if spec.deadline_s is not None and p90_s is not None and p90_s > spec.deadline_s:
        yield "deadline", f"takes more than {p90_s:.0f} s for one edit in ten"
    yield from _output_size(spec, model)
    shown = now.shown_to(model)
    if shown is None:
        return
    if plan_edit(spec, model, shown) is None:
        yield "canvas", f"extends a picture evenly on opposite sides, {_canvas_limit(model.size)}"
    side = min(model.input_max_side, model.size.max_side)
    if max(shown) > side:
        yield _TOO_LARGE, f"takes pictures up to {side} px a side"
    if shown[0] * shown[1] > _pixels_max(model.size):
        yield _TOO_LARGE, f"takes pictures up to {_pixels_max(model.size)} pixels"
    if spec.operation is Operation.UPSCALE:
        yield from _enlargement(spec, model, shown)


def _output_size(spec: EditSpec, model: Model) -> Iterator[tuple[str, str]]:
    """Whether the size that is named lies beyond the model. With a mask the rest of the picture is ours to enlarge anyway."""
    wanted = wanted_size(spec)
    if wanted is None or spec.mask is not None or spec.operation is Operation.UPSCALE:
        return
    if max(wanted) > model.size.max_side:
        yield "size", f"makes pictures up to {model.size.max_side} px a side"
    if wanted[0] * wanted[1] > _pixels_max(model.size):
        yield "size", f"makes pictures up to {_pixels_max(model.size)} pixels"


def _enlargement(spec: EditSpec, model: Model, shown: tuple[int, int]) -> Iterator[tuple[str, str]]:
    """Whether the upscaler makes as much of the picture as is asked, or anything larger at all."""
    enlarged, most = enlarged_size(spec, shown), enlarges_times(model, shown)
    needed = _ENLARGED_LEAST if enlarged is None else max(enlarged[0] / shown[0], enlarged[1] / shown[1])
    own = next((key for key, parameter in model.parameters.items() if parameter.field == "factor"), None)
    if own is not None:
        made = made_parameters(model, plan_geometry(shown, model.size), None, enlarged=enlarged)
        needed = float(made.get("factor", model.parameters[own].default or needed))
    if needed > most:
        times = math.floor(most * 100) / 100
        yield "size", f"enlarges this picture {times:g} times at most" if times > 1 else "cannot make this picture any larger"


def _canvas_limit(size: Size) -> str:
    if size.control == "aspect_ratio":
        return f"to one of {', '.join(size.aspects)} at {size.max_side} px a side or less"
    return f"to {size.max_side} px a side at most"


def _is_given(spec: EditSpec, field: str) -> bool:
    """Whether the request has this field, which may be a picture's."""
    if field in BESIDE:
        return bool(spec.inputs_of(Role(field)))
    value = getattr(spec, field)
    return bool(value.strip() if isinstance(value, str) else value)


def _may_shrink(spec: EditSpec, model: Model) -> bool:
    """Whether the picture may be made smaller for the model: where it is redrawn anyway, not where its pixels are kept."""
    return spec.operation in _REDRAWING and EXACT not in model.capabilities


def _pixels_max(size: Size) -> int:
    return size.max_pixels or size.max_side**2
