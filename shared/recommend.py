"""Which model does an edit: the mission's formula over those who can, and truthful words about the winner (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from shared.candidates import EXACT, Candidate, Circumstances, Exclusion, candidates_for
from shared.catalog.load import Catalog
from shared.catalog.model import Model
from shared.edit import EditSpec, Preferences
from shared.errors import FieldError, NoCapableModel
from shared.job import Alternative
from shared.score import Score, score_of

_ALTERNATIVES = 3
_QUALITY = ("basic", "good", "excellent", "premium")
_CHEAPEST = Preferences(prioritize_cost=True)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The model, its price for this edit in USD, and why; what else could do it, in order, and what could not.

    `scored`: all that could, the best first, with the points of each.
    """

    model: Model
    usd: Decimal
    mode: Literal["pinned", "exact", "recommended"]
    reason: str
    score: Score
    scored: tuple[tuple[Candidate, Score], ...]
    others: tuple[Candidate, ...]
    alternatives: tuple[Alternative, ...]
    excluded: tuple[Exclusion, ...]
    requires_downscale: bool


def recommend(spec: EditSpec, *, catalog: Catalog, now: Circumstances, preferences: Preferences | None = None) -> Recommendation:
    """The model with the highest score; an exact edit goes to a model that does it exactly.

    `preferences`: None means the spec's, and where it has none, cost decides. Ties: cheaper, then catalogue order. Quoted models
    keep the quote's order.

    Raises:
        NoCapableModel: none fits; the detail says what would make the edit possible, `errors` what keeps each model out.
    """
    found, excluded, requires_downscale = candidates_for(spec, catalog, now)
    if not found:
        errors = [FieldError("", exclusion.code, f"{exclusion.model_id} {exclusion.why}") for exclusion in excluded]
        raise NoCapableModel(_nothing_fits(spec, catalog, excluded), errors=errors)
    wanted = preferences or spec.preferences or _CHEAPEST
    fastest = min((c.experience.p50_s for c in found if c.experience.p50_s is not None), default=None)
    scores = {
        c.model.id: score_of(
            c.model, c.usd, preferences=wanted, user_tier=spec.user_tier, experience=c.experience, fastest_p50_s=fastest
        )
        for c in found
    }
    ranked = sorted(found, key=lambda c: (EXACT not in c.model.capabilities, -scores[c.model.id].total, c.usd))
    if spec.models:
        ranked.sort(key=lambda c: spec.models.index(c.model.id))
    winner, others = ranked[0], tuple(ranked[1:])
    mode: Literal["pinned", "exact", "recommended"] = "recommended"
    if spec.model is not None:
        mode, reason = "pinned", "Asked for by the caller"
    elif spec.models:
        mode, reason = "pinned", "The first of the quoted models that can do it"
    elif EXACT in winner.model.capabilities:
        mode, reason = "exact", "The prompt is an exact adjustment: done exactly, free of charge"
    else:
        reason = _reason(
            winner, others, wanted, spec.user_tier, now.shown_to(winner.model), requires_downscale=requires_downscale
        )
    return Recommendation(
        model=winner.model,
        usd=winner.usd,
        mode=mode,
        reason=reason,
        score=scores[winner.model.id],
        scored=tuple((candidate, scores[candidate.model.id]) for candidate in ranked),
        others=others,
        alternatives=tuple(_alternative(other, winner) for other in others[:_ALTERNATIVES]),
        excluded=excluded,
        requires_downscale=requires_downscale,
    )


def _nothing_fits(spec: EditSpec, catalog: Catalog, excluded: Sequence[Exclusion]) -> str:
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


def _reason(
    winner: Candidate,
    others: Sequence[Candidate],
    wanted: Preferences,
    user_tier: str,
    upright_size: tuple[int, int] | None,
    *,
    requires_downscale: bool,
) -> str:
    """Facts about the winner, each of which is so."""
    facts = []
    if all(winner.usd <= other.usd for other in others):
        facts.append("Lowest cost option")
    if wanted.prioritize_quality and all(_quality(winner) >= _quality(other) for other in others):
        facts.append("Highest quality option")
    p50_s = winner.experience.p50_s
    if wanted.prioritize_speed and p50_s and all((other.experience.p50_s or p50_s) >= p50_s for other in others):
        facts.append("Fastest measured option")
    if upright_size is not None:
        size = f"{upright_size[0]}×{upright_size[1]}"
        facts.append(f"Largest limit, {size} has to be made smaller" if requires_downscale else f"Supports {size} resolution")
    if user_tier == "free" and winner.model.tier == "budget":
        facts.append("Budget-friendly for free tier")
    if user_tier != "free" and winner.model.tier == "premium":
        facts.append(f"Premium model for {user_tier} tier")
    return ", ".join(facts) or f"Highest score of {len(others) + 1} models"


def _quality(candidate: Candidate) -> tuple[int, int, int]:
    """For comparing: the class, then the largest resolution, then how many capabilities."""
    model = candidate.model
    return _QUALITY.index(model.quality), model.max_resolution[0], len(model.capabilities)


def _alternative(other: Candidate, winner: Candidate) -> Alternative:
    model = other.model
    own, theirs = other.experience.p50_s, winner.experience.p50_s
    lacking = [capability for capability in model.capabilities if capability not in winner.model.capabilities]
    if other.usd < winner.usd:
        compared = "lower cost"
    elif _quality(other) > _quality(winner):
        compared = "higher quality"
    elif own is not None and theirs is not None and own < theirs:
        compared = "faster"
    elif lacking:
        compared = f"also does {lacking[0].replace('_', ' ')}"
    else:
        compared = "same cost" if other.usd == winner.usd else "higher cost"
    reason = f"Alternative: {model.tier.capitalize()} tier, {compared}"
    return Alternative(model_id=model.id, name=model.name, cost=float(other.usd), reason=reason)
