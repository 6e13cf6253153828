"""What an edit's choice rested on, and what its caller says of the result."""

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.fields import parse_json
from gateway.intake import read_small_json
from gateway.route import Body, Call, Reply, Route, json_response
from shared.errors import AlreadyFinished, Gone, NotFinished, NotFound
from shared.job import API_PREFIX, JobRecord, JobState, time_of
from shared.receipt import FeedbackView, Receipt, receipt
from shared.store.experience import Feedback


class FeedbackRequest(BaseModel):
    """How good the result is, and whether it is used. It enters the recommendation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rating: Annotated[int, Field(ge=1, le=5, description="5 is best")]
    accepted: Annotated[bool | None, Field(description="whether the result is used; left out, nothing is said of it")] = None
    comment: Annotated[str, StringConstraints(max_length=1_000)] | None = None


async def show(call: Call) -> web.Response:
    """The receipt of an edit, whatever its state."""
    connections = call.connections
    record = await connections.jobs.get(call.tenant, call.id)
    feedback = await connections.experiences.feedback_of(call.tenant, record.id)
    return json_response(receipt(record, _view(feedback) if feedback else None, connections.catalog))


async def rate(call: Call) -> web.Response:
    """Keep the feedback; the last one counts."""
    asked = parse_json(FeedbackRequest, await read_small_json(call.request))
    connections = call.connections
    record = await connections.jobs.get(call.tenant, call.id)
    await connections.experiences.rate(
        call.tenant,
        record.id,
        model=_model_of(record),
        operation=record.spec.operation,
        rating=asked.rating,
        accepted=asked.accepted,
        comment=asked.comment or "",
    )
    stored = await connections.experiences.feedback_of(call.tenant, record.id)
    if stored is None:
        raise NotFound("the edit was deleted while its feedback was on its way")
    return json_response(_view(stored))


def _model_of(record: JobRecord) -> str:
    """The model whose result is rated. Raises NotFinished, AlreadyFinished."""
    if not record.state.terminal:
        raise NotFinished("the edit has not ended yet; rate it when it has a result")
    if record.state is not JobState.SUCCEEDED or record.course.model is None:
        raise AlreadyFinished("the edit has ended without a result: there is nothing to rate")
    return record.course.model


def _view(feedback: Feedback) -> FeedbackView:
    return FeedbackView(
        rating=feedback.rating, accepted=feedback.accepted, comment=feedback.comment or None, at=time_of(feedback.at_ms)
    )


_JOB = f"{API_PREFIX}/jobs/{{id}}"
ROUTES = (
    Route(
        "GET",
        f"{_JOB}/receipt",
        "Show why and for how much",
        show,
        description="The models that were weighed at each turn and those left out, attempts, prices, sizes, hashes and the end.",
        replies=(Reply(200, "the receipt as of now", Receipt),),
        errors=(Gone,),
    ),
    Route(
        "POST",
        f"{_JOB}/feedback",
        "Rate a result",
        rate,
        description="Only an edit that succeeded can be rated. Sent again it replaces what was said before.",
        scope="submit",
        body=Body(FeedbackRequest, examples={"good enough to be used": {"rating": 4, "accepted": True}}),
        replies=(Reply(200, "the feedback as it is kept", FeedbackView),),
        errors=(NotFinished, AlreadyFinished, Gone),
    ),
)
