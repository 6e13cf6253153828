"""The decision receipt: who could have done an edit and who could not at each turn, what was tried, and what it cost (pure)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from shared.candidates import Exclusion
from shared.catalog.load import Catalog
from shared.edit import InputRef, Operation, Preferences, Role
from shared.job import Attempt, Cost, Course, Geometry, InputView, JobFailure, JobRecord, JobState, Time, time_of
from shared.job_view import cost_of, failure_of
from shared.recommend import Recommendation


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RankedRecord(_Wire):
    """One candidate as it is kept. `usd`: for this edit; `score`: its terms that are not 0; `p50_s`: of its calls, in seconds."""

    model: str
    usd: float
    score: dict[str, float]
    p50_s: float | None = None


class ChoiceRecord(_Wire):
    """One turn's choice as it is kept in the job's hash, in few bytes. `at`: ms since 1970; `candidates`: best first.

    `excluded`: code to why to model ids, since most models are kept out by the same few things. `model`, `usd`: None where
    nothing was left to choose, and `reason` says so.
    """

    at: int
    mode: Literal["pinned", "exact", "recommended"]
    reason: str
    model: str | None = None
    usd: float | None = None
    requires_downscale: bool = False
    candidates: tuple[RankedRecord, ...] = ()
    excluded: dict[str, dict[str, tuple[str, ...]]] = {}


#: The field `choices` of a job's hash: one entry a turn, the first one first.
CHOICES: TypeAdapter[tuple[ChoiceRecord, ...]] = TypeAdapter(tuple[ChoiceRecord, ...])


class RankedView(_Wire):
    """A candidate. `cost`: USD for this edit; `score_breakdown` adds up to `score`; `p50_s`: None without data."""

    model_id: str
    cost: float
    score: float
    score_breakdown: dict[str, float]
    p50_s: float | None


class ExclusionView(_Wire):
    """Why a model is no candidate."""

    model_id: str
    code: str
    why: str


class ChoiceView(_Wire):
    """What was chosen at one turn, among whom, and who was left out why. `model_id` is null where nobody was left to choose."""

    at: Time
    mode: Literal["pinned", "exact", "recommended"]
    reason: str
    model_id: str | None
    cost: float | None
    requires_downscale: bool
    candidates: tuple[RankedView, ...]
    excluded: tuple[ExclusionView, ...]


class Asked(_Wire):
    """What the caller asked for, as far as it binds the choice. `max_cost`: USD; `user_tier`: of the key."""

    model: str | None
    provider: str | None
    preferences: Preferences | None
    max_cost: float | None
    deadline_s: int | None
    fallback: Literal["auto", "none"]
    strict: bool
    size: str
    output_format: str | None
    user_tier: Literal["free", "pro", "enterprise"]


class InputPicture(_Wire):
    """One picture that came with the edit, upright. Null as long as it was not fetched from its URL."""

    role: Role
    sha256: str | None
    width: int | None
    height: int | None
    format: str | None
    bytes: int | None


class OutputPicture(_Wire):
    """The result that was delivered."""

    sha256: str
    width: int
    height: int
    format: str
    bytes: int


class ReceiptCost(Cost):
    """`billed`: USD that providers charge for the attempts; `unknown`: what they may charge, where it cannot be known."""

    billed: float
    unknown: float


class CatalogueEntry(_Wire):
    """A model that was chosen or tried, and where its limits and its price are from."""

    model_id: str
    provider: str
    source: str
    price_source: str
    price_unit: Literal["picture", "megapixel"]


class FeedbackView(_Wire):
    """What the caller said of the result. `at`: when."""

    rating: int
    accepted: bool | None
    comment: str | None
    at: Time


class Receipt(_Wire):
    """Everything that an edit's choice, price and result rest on. `choices`: of its latest turns, in their order.

    An edit that waits for its first turn has no choices yet; one that fell back, waited or lost its worker has several.
    """

    job_id: str
    object: Literal["receipt"] = "receipt"
    status: JobState
    operation: Operation
    asked: Asked
    model: str | None
    provider: str | None
    simulated: bool
    choices: tuple[ChoiceView, ...]
    attempts: tuple[Attempt, ...]
    cost: ReceiptCost
    adaptations: tuple[str, ...]
    geometry: Geometry | None
    inputs: tuple[InputPicture, ...]
    output: OutputPicture | None
    catalogue: tuple[CatalogueEntry, ...]
    error: JobFailure | None
    feedback: FeedbackView | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


def choice_record(chosen: Recommendation, now_ms: int) -> ChoiceRecord:
    """The recommendation as it is kept."""
    return ChoiceRecord(
        at=now_ms,
        mode=chosen.mode,
        reason=chosen.reason,
        model=chosen.model.id,
        usd=float(chosen.usd),
        requires_downscale=chosen.requires_downscale,
        candidates=tuple(
            RankedRecord(
                model=candidate.model.id,
                usd=float(candidate.usd),
                score={term: round(points, 6) for term, points in asdict(score).items() if points},
                p50_s=candidate.experience.p50_s,
            )
            for candidate, score in chosen.scored
        ),
        excluded=_grouped(chosen.excluded),
    )


def no_choice_record(
    excluded: Sequence[Exclusion], reason: str, now_ms: int, *, mode: Literal["pinned", "recommended"]
) -> ChoiceRecord:
    """What is kept of a turn at which nothing could be chosen: what kept each model out."""
    return ChoiceRecord(at=now_ms, mode=mode, reason=reason, excluded=_grouped(excluded))


def choice_view(record: ChoiceRecord) -> ChoiceView:
    """The record as callers see it."""
    return ChoiceView(
        at=time_of(record.at),
        mode=record.mode,
        reason=record.reason,
        model_id=record.model,
        cost=record.usd,
        requires_downscale=record.requires_downscale,
        candidates=tuple(_ranked_view(candidate) for candidate in record.candidates),
        excluded=tuple(
            ExclusionView(model_id=model_id, code=code, why=why)
            for code, whys in record.excluded.items()
            for why, ids in whys.items()
            for model_id in ids
        ),
    )


def receipt(record: JobRecord, feedback: FeedbackView | None, catalog: Catalog) -> Receipt:
    """The receipt of an edit in any state."""
    course, spec = record.course, record.spec
    choices = CHOICES.validate_json(record.choices) if record.choices else ()
    stored = course.output if record.state is JobState.SUCCEEDED else None
    return Receipt(
        job_id=record.id,
        status=record.state,
        operation=spec.operation,
        asked=Asked(**{name: getattr(spec, name) for name in Asked.model_fields}),
        model=course.model,
        provider=course.provider,
        simulated=course.simulated,
        choices=tuple(choice_view(choice) for choice in choices),
        attempts=course.attempts,
        cost=_cost(record),
        adaptations=course.adaptations,
        geometry=course.geometry if stored else None,
        inputs=tuple(_input_picture(ref, course.input) for ref in spec.inputs),
        output=OutputPicture(**stored.model_dump(include=set(OutputPicture.model_fields))) if stored else None,
        catalogue=_entries(course, choices, catalog),
        error=failure_of(record),
        feedback=feedback,
        created_at=time_of(record.created),
        started_at=time_of(record.started) if record.started else None,
        finished_at=time_of(record.finished) if record.finished else None,
    )


def _grouped(exclusions: Sequence[Exclusion]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Code to why to model ids."""
    found: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for exclusion in exclusions:
        found[exclusion.code][exclusion.why].append(exclusion.model_id)
    return {code: {why: tuple(ids) for why, ids in whys.items()} for code, whys in found.items()}


def _ranked_view(record: RankedRecord) -> RankedView:
    return RankedView(
        model_id=record.model,
        cost=record.usd,
        score=round(sum(record.score.values()), 6),
        score_breakdown=record.score,
        p50_s=record.p50_s,
    )


def _cost(record: JobRecord) -> ReceiptCost:
    lines = record.course.lines
    billed = sum(line.usd for line in lines if line.billed)
    unknown = sum(line.usd for line in lines if line.billed is None)
    return ReceiptCost(**dict(cost_of(record)), billed=round(billed, 6), unknown=round(unknown, 6))


def _input_picture(ref: InputRef, fetched: InputView | None) -> InputPicture:
    """`fetched`: the picture that is edited, as the worker found it; of the others only what came with the request is known."""
    if ref.role is Role.IMAGE and fetched is not None:
        return InputPicture(role=ref.role, **fetched.model_dump())
    width, height = ref.info.upright_size if ref.info else (None, None)
    return InputPicture(
        role=ref.role,
        sha256=ref.sha256,
        width=width,
        height=height,
        format=ref.info.format if ref.info else None,
        bytes=ref.info.bytes if ref.info else None,
    )


def _entries(course: Course, choices: Sequence[ChoiceRecord], catalog: Catalog) -> tuple[CatalogueEntry, ...]:
    """Once each, in the order in which they were turned to. One that an operator has removed since is left out."""
    turned_to = dict.fromkeys([*(c.model for c in choices), *(a.model for a in course.attempts), course.model])
    return tuple(
        CatalogueEntry(
            model_id=model.id,
            provider=model.provider,
            source=model.source,
            price_source=model.price.source,
            price_unit=model.price.unit,
        )
        for name in turned_to
        if name is not None and (model := catalog.models.get(name)) is not None
    )
