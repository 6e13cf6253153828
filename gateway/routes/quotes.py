"""A price before the edit: `POST …/quote`."""

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from gateway.fields import pointer_to, refusal
from gateway.intake import Submission, read_submission
from gateway.pictures import REFERENCE_FILES, SINGLE_FILES
from gateway.quoting import wish_of
from gateway.route import Body, Call, Reply, Route, json_response
from gateway.routes.process import PICTURE_ERRORS
from gateway.rules import spec_of
from shared.candidates import Circumstances
from shared.edit import EditSpec, InputRef, QuoteRequest, Role
from shared.errors import NoCapableModel
from shared.estimate import micro_usd
from shared.job import API_PREFIX, Time, time_of
from shared.picture import PictureInfo
from shared.pinned import check_possible
from shared.recommend import Recommendation, recommend

_MODELS_MAX = 4


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QuotedModel(_Wire):
    """A model and its price for this edit in USD."""

    model_id: str
    name: str
    provider: str
    usd: float
    price_source: str


class QuotedSeconds(_Wire):
    """What half of the first model's calls took at most, and nine in ten."""

    p50: float
    p90: float


class QuoteAnswer(_Wire):
    """What is offered until `expires_at`. `models`: the second one only if the first one fails, and so on.

    `total`: the most that is charged, in USD; it is the first model's price unless `max_cost` allows for dearer ones after it.
    `estimated_seconds`: null as long as no call has shown it.
    """

    quote_id: str
    models: tuple[QuotedModel, ...]
    total: float
    reason: str
    estimated_seconds: QuotedSeconds | None
    expires_at: Time


async def quote(call: Call) -> web.Response:
    """Choose as a worker would, and keep the answer."""
    connections = call.connections
    async with read_submission(call.request, connections, call.tenant, model=QuoteRequest) as submission:
        size = _size(submission)
        options, inputs = submission.options, _inputs(submission, size)
    spec = spec_of(options, inputs, user_tier=call.key.tier)
    check_possible(spec, connections.catalog, {})
    learned = await connections.experiences.look()
    now = Circumstances(
        configured=await connections.jobs.providers_seen(),
        upright_size=size,
        down=learned.down,
        experience=learned.experience_of(spec.operation, await connections.experiences.history(call.tenant)),
    )
    found = recommend(spec, catalog=connections.catalog, now=now)
    models = _offered(found, spec)
    kept = await connections.quotes.keep(
        call.tenant,
        wish_of(options, inputs, size),
        models=tuple(model.model_id for model in models),
        total_micro_usd=round(max(model.usd for model in models) * 1e6),
    )
    experience = now.experience_of(found.model)
    seconds = None
    if experience.p50_s is not None and experience.p90_s is not None:
        seconds = QuotedSeconds(p50=round(experience.p50_s, 3), p90=round(experience.p90_s, 3))
    answer = QuoteAnswer(
        quote_id=kept.id,
        models=models,
        total=kept.total_micro_usd / 1e6,
        reason=found.reason,
        estimated_seconds=seconds,
        expires_at=time_of(kept.expires_ms),
    )
    return json_response(answer)


def _size(submission: Submission) -> tuple[int, int]:
    """The picture's, upright: as it is or as it is said to be. Raises ValidationFailed."""
    said = submission.options.image_resolution if isinstance(submission.options, QuoteRequest) else None
    known = next((picture.ref.info for picture in submission.pictures if picture.ref.role is Role.IMAGE), None)
    if known is None:
        if said is None:
            raise refusal(
                pointer_to("image_resolution"), "missing_field", "the price depends on the size; a URL does not tell it"
            )
        return said.width, said.height
    if said is not None and (said.width, said.height) != known.upright_size:
        width, height = known.upright_size
        raise refusal(pointer_to("image_resolution"), "invalid_value", f"the picture has {width}×{height} pixels")
    return known.upright_size


def _inputs(submission: Submission, size: tuple[int, int]) -> tuple[InputRef, ...]:
    """The pictures, with stand-ins for those that are only described."""
    given = tuple(picture.ref for picture in submission.pictures)
    roles = {ref.role for ref in given}
    info = PictureInfo(format="png", width=size[0], height=size[1], bytes=1)
    said = [Role.IMAGE]
    if isinstance(submission.options, QuoteRequest) and submission.options.has_mask:
        said.append(Role.MASK)
    return (*given, *(InputRef(role=role, key="-", info=info, sha256="-") for role in said if role not in roles))


def _offered(found: Recommendation, spec: EditSpec) -> tuple[QuotedModel, ...]:
    """The chosen model and those after it that may take its place."""
    offered = [(found.model, found.usd)]
    if found.mode == "recommended" and spec.fallback == "auto":
        # Without `max_cost`, which has kept out what is dearer than it, the first model's price binds the others.
        offered += [(other.model, other.usd) for other in found.others if other.usd <= found.usd or spec.max_cost is not None]
    return tuple(
        QuotedModel(
            model_id=model.id,
            name=model.name,
            provider=model.provider,
            usd=micro_usd(usd) / 1e6,
            price_source=model.price.source,
        )
        for model, usd in offered[:_MODELS_MAX]
    )


ROUTES = (
    Route(
        "POST",
        f"{API_PREFIX}/quote",
        "Ask for a price",
        quote,
        description=(
            "The body of a submit; of the picture its size is enough. `quote_id` on a submit of the same edit within ten minutes "
            "holds the models, in their order, and the price."
        ),
        scope="submit",
        rate="submit",
        body=Body(
            QuoteRequest,
            files=SINGLE_FILES,
            repeatable_files=(REFERENCE_FILES,),
            examples={"by size": {"image_resolution": {"width": 1024, "height": 1024}, "prompt": "make the cup blue"}},
        ),
        replies=(Reply(200, "what is offered", QuoteAnswer),),
        errors=(*PICTURE_ERRORS, NoCapableModel),
    ),
)
