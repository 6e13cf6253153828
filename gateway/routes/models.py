"""The models, and which of them is recommended."""

from dataclasses import asdict
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.fields import did_you_mean, parse_json
from gateway.intake import read_small_json
from gateway.route import Body, Call, Query, Reply, Route, json_response
from shared.candidates import Circumstances
from shared.edit import EditSpec, InputRef, Operation, Preferences, Resolution, Role
from shared.errors import NoCapableModel, NotFound
from shared.job import API_PREFIX, Alternative
from shared.model_view import ModelDetail, ModelView, model_detail, model_view
from shared.picture import PictureInfo
from shared.receipt import ExclusionView
from shared.recommend import Recommendation, recommend
from shared.score import Experience

Tier = Literal["free", "pro", "enterprise"]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Recommended(_Wire):
    """The model that suits most pictures, and why."""

    model_id: str
    reason: str


class ModelList(_Wire):
    """In catalogue order. `recommended`: when an operation was asked for and some model can do it."""

    models: tuple[ModelView, ...]
    total: int
    recommended: Recommended | None


class ModelsQuery(Query):
    """Filters; each narrows the list."""

    operation: Operation | None = None
    tier: Literal["budget", "mid", "premium"] | None = None
    provider: Annotated[str, StringConstraints(max_length=50)] | None = None
    min_resolution: Annotated[int, Field(ge=1, le=1_000_000, description="pixels a side, of a square")] | None = None
    max_cost: Annotated[float, Field(ge=0, le=1_000, description="USD, of the default parameters")] | None = None
    supports_mask: bool | None = None
    multi_image: bool | None = None
    available: bool | None = None


class Wishes(Preferences):
    """What matters, and what may not be exceeded."""

    max_cost: Annotated[float, Field(ge=0, le=1_000, description="USD")] | None = None
    max_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None


class RecommendRequest(_Wire):
    """A wish without its picture. `user_tier`: the key's unless given; asking for another one changes nothing else."""

    operation: Operation = Operation.GENERAL_EDIT
    image_resolution: Resolution | None = None
    user_tier: Tier | None = None
    preferences: Wishes = Wishes()
    prompt: Annotated[str, StringConstraints(max_length=8_000)] | None = None
    has_mask: bool = False
    reference_images: Annotated[int, Field(ge=0, le=16)] = 0
    output_format: Literal["png", "jpeg", "webp", "avif"] | None = None
    size: Annotated[str, StringConstraints(pattern=r"^(match_input|model|[1-9]\d{0,4}x[1-9]\d{0,4})$")] = "match_input"


class Seconds(_Wire):
    """What half of this model's calls for this operation took at most, and nine in ten."""

    p50: float
    p90: float


class RecommendAnswer(_Wire):
    """The mission's answer, and what it rests on. `score_breakdown` adds up to `score`.

    `estimated_seconds`: null as long as no call has shown it.
    """

    recommended_model: str
    reason: str
    alternatives: tuple[Alternative, ...]
    estimated_cost: float
    estimated_seconds: Seconds | None
    score: float
    score_breakdown: dict[str, float]
    excluded: tuple[ExclusionView, ...]
    requires_downscale: bool


async def models(call: Call) -> web.Response:
    """The catalogue, filtered."""
    asked: ModelsQuery = call.query
    seen = await call.connections.jobs.providers_seen()
    learned = await call.connections.experiences.look()
    views = [model_view(model, seen, learned) for model in call.connections.catalog.models.values()]
    found = [view for view in views if _passes(view, asked)]
    recommended = None
    if asked.operation is not None:
        try:
            wish = RecommendRequest(operation=asked.operation)
            chosen = await _recommended(call, wish, wanted=Preferences(prioritize_cost=True))
            recommended = Recommended(model_id=chosen.model.id, reason=chosen.reason)
        except NoCapableModel:
            recommended = None
    return json_response(ModelList(models=tuple(found), total=len(found), recommended=recommended))


async def model(call: Call) -> web.Response:
    """One model, whole."""
    catalog = call.connections.catalog
    found = catalog.models.get(call.id)
    if found is None:
        raise NotFound(f"there is no model {call.id!r}{did_you_mean(call.id, catalog.models, count=3)}")
    seen = await call.connections.jobs.providers_seen()
    learned = await call.connections.experiences.look()
    return json_response(model_detail(found, seen, learned, shows_spend="admin" in call.key.scopes))


async def recommendation(call: Call) -> web.Response:
    """Which model an edit like this would get."""
    asked = parse_json(RecommendRequest, await read_small_json(call.request))
    wanted = Preferences(**asked.preferences.model_dump(include=set(Preferences.model_fields)))
    found = await _recommended(call, asked, wanted=wanted)
    terms = {name: round(points, 6) for name, points in asdict(found.score).items()}
    return json_response(
        RecommendAnswer(
            recommended_model=found.model.id,
            reason=found.reason,
            alternatives=found.alternatives,
            estimated_cost=float(found.usd),
            estimated_seconds=_estimated(found.scored[0][0].experience),
            score=round(found.score.total, 6),
            score_breakdown=terms,
            excluded=tuple(ExclusionView(model_id=e.model_id, code=e.code, why=e.why) for e in found.excluded),
            requires_downscale=found.requires_downscale,
        )
    )


async def _recommended(call: Call, asked: RecommendRequest, *, wanted: Preferences) -> Recommendation:
    """As the worker would choose now, by the same function. Raises NoCapableModel, StoreUnavailable."""
    connections = call.connections
    size = (asked.image_resolution.width, asked.image_resolution.height) if asked.image_resolution else None
    info = PictureInfo(format="png", width=size[0] if size else 1, height=size[1] if size else 1, bytes=1)
    roles = [Role.IMAGE, *[Role.MASK] * asked.has_mask, *[Role.REFERENCE] * asked.reference_images]
    spec = EditSpec(
        operation=asked.operation,
        # Without words it is not known what language they are in, only that there will be some.
        prompt=asked.prompt or ("…" if asked.operation in _PROMPTED else None),
        max_cost=asked.preferences.max_cost,
        deadline_s=asked.preferences.max_seconds,
        output_format=asked.output_format,
        size=asked.size,
        user_tier=asked.user_tier or call.key.tier,
        inputs=tuple(InputRef(role=role, key="-", info=info, sha256="-") for role in roles),
    )
    learned = await connections.experiences.look()
    now = Circumstances(
        configured=await connections.jobs.providers_seen(),
        upright_size=size,
        down=learned.down,
        experience=learned.experience_of(spec.operation, await connections.experiences.history(call.tenant)),
    )
    return recommend(spec, catalog=connections.catalog, now=now, preferences=wanted)


def _estimated(experience: Experience) -> Seconds | None:
    if experience.p50_s is None or experience.p90_s is None:
        return None
    return Seconds(p50=round(experience.p50_s, 3), p90=round(experience.p90_s, 3))


_PROMPTED = (Operation.GENERAL_EDIT, Operation.INPAINT, Operation.SEARCH_REPLACE, Operation.SEARCH_RECOLOR, Operation.RELIGHT)


def _passes(view: ModelView, asked: ModelsQuery) -> bool:
    return (
        (asked.operation is None or asked.operation in view.operations)
        and (asked.tier is None or asked.tier == view.tier)
        and (asked.provider is None or asked.provider == view.provider)
        and (asked.min_resolution is None or view.max_resolution[0] >= asked.min_resolution)
        and (asked.max_cost is None or view.cost <= asked.max_cost)
        and (asked.supports_mask is None or asked.supports_mask == (view.supports_mask != "no"))
        and (asked.multi_image is None or asked.multi_image == view.supports_multi_image)
        and (asked.available is None or asked.available == view.available)
    )


_EXAMPLE = {
    "operation": "general_edit",
    "image_resolution": {"width": 1024, "height": 1024},
    "user_tier": "free",
    "preferences": {"prioritize_cost": True},
}

ROUTES = (
    Route(
        "GET",
        f"{API_PREFIX}/models",
        "List models",
        models,
        tag="models",
        query=ModelsQuery,
        replies=(Reply(200, "the models that pass", ModelList),),
    ),
    Route(
        "GET", f"{API_PREFIX}/models/{{id}}", "Show a model", model, tag="models", replies=(Reply(200, "the model", ModelDetail),)
    ),
    Route(
        "POST",
        f"{API_PREFIX}/recommend",
        "Recommend a model",
        recommendation,
        tag="models",
        body=Body(RecommendRequest, examples={"cheapest for the free tier": _EXAMPLE}),
        replies=(Reply(200, "the model, why, and what else there is", RecommendAnswer),),
        errors=(NoCapableModel,),
    ),
)
