"""The models for OpenAI's clients."""

from typing import Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict

from gateway.fields import did_you_mean
from gateway.openai.errors import OPENAI_PREFIX
from gateway.openai.headers import ANSWER_HEADERS
from gateway.openai.wishes import AUTO
from gateway.route import JSON, Call, Reply, Route
from shared.errors import UnknownModel

_OURS = "edit-studio"


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenAIModel(_Wire):
    """One model. `created` is 0: nobody says when a model was made; `owned_by`: its provider."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str


class OpenAIModels(_Wire):
    """`auto`, which chooses for each edit, and the models whose provider is configured, in catalogue order."""

    object: Literal["list"] = "list"
    data: tuple[OpenAIModel, ...]


async def models(call: Call) -> web.Response:
    """What `model` may be, and can be done."""
    seen = await call.connections.jobs.providers_seen()
    found = [model for model in call.connections.catalog.models.values() if model.provider in seen and model.status != "retired"]
    listed = (_AUTO, *(OpenAIModel(id=model.id, owned_by=model.provider) for model in found))
    return _response(OpenAIModels(data=listed))


async def model(call: Call) -> web.Response:
    """One model of the catalogue, configured or not."""
    if call.id == AUTO:
        return _response(_AUTO)
    found = call.connections.catalog.models.get(call.id)
    if found is None:
        raise UnknownModel(f"there is no model {call.id!r}{did_you_mean(call.id, call.connections.catalog.models, count=3)}")
    return _response(OpenAIModel(id=found.id, owned_by=found.provider))


def _response(document: BaseModel) -> web.Response:
    return web.Response(text=document.model_dump_json(), headers={hdrs.CONTENT_TYPE: JSON})


_AUTO = OpenAIModel(id=AUTO, owned_by=_OURS)
ROUTES = (
    Route(
        "GET",
        f"{OPENAI_PREFIX}/models",
        "List models, for OpenAI's clients",
        models,
        tag="openai",
        replies=(Reply(200, "what can be asked for", OpenAIModels, headers=ANSWER_HEADERS),),
    ),
    Route(
        "GET",
        f"{OPENAI_PREFIX}/models/{{id}}",
        "Show a model, for OpenAI's clients",
        model,
        tag="openai",
        id_pattern=r"^[A-Za-z0-9._-]{1,100}$",
        replies=(Reply(200, "the model", OpenAIModel, headers=ANSWER_HEADERS),),
        errors=(UnknownModel,),
    ),
)
