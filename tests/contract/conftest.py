"""The providers over HTTP, each as the worker opens it, against the simulator."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from shared.catalog.load import Catalog, load_catalog
from shared.catalog.model import Model
from shared.edit import Operation
from shared.settings import Settings
from tests.contract.subjects import SUBJECTS, Subject
from tests.simulator_fixtures import PictureServer, Simulator, http, make_picture, picture_server, simulator, start_simulator
from worker.pixel_pool import PixelPool
from worker.providers.base import AdaptedEdit, Provider, Source
from worker.providers.registry import open_providers

__all__ = ["http", "picture_server", "simulator", "start_simulator"]

KEY = "a-key-that-must-not-be-seen"
CALL_ID = "0123456789abcdef"

Open = Callable[..., Provider]


@pytest.fixture(params=[*SUBJECTS.values()], ids=[*SUBJECTS])
def subject(request: pytest.FixtureRequest) -> Subject:
    subject: Subject = request.param
    return subject


@pytest.fixture
def provider_name(subject: Subject) -> str:
    return subject.provider


@pytest.fixture
def model(subject: Subject) -> Model:
    model = load_catalog().models[subject.model]
    return model if subject.path is None else model.model_copy(update={"provider": subject.provider, "path": subject.path})


@pytest.fixture
async def pool() -> AsyncIterator[PixelPool]:
    """What `open_providers` wants; none of these providers uses it."""
    pool = PixelPool(Settings(secret=SecretStr("s" * 32)))
    yield pool
    await pool.close()


@pytest.fixture
def open_provider(provider_name: str, http: aiohttp.ClientSession, pool: PixelPool) -> Open:
    """Opens the provider as the worker does, for a server at `base_url`."""

    def run(base_url: str, *, key: str = KEY) -> Provider:
        catalog = load_catalog()
        only = Catalog(catalog.models, {provider_name: catalog.providers[provider_name]})
        variables = {f"{provider_name.upper()}_API_KEY": SecretStr(key), f"{provider_name.upper()}_BASE_URL": SecretStr(base_url)}
        return open_providers(only, Settings(secret=SecretStr("s" * 32), provider_env=variables), http, pool)[provider_name]

    return run


@pytest.fixture
async def provider(open_provider: Open, simulator: Simulator) -> AsyncIterator[Provider]:
    provider = open_provider(simulator.url)
    yield provider
    await provider.close()


@pytest.fixture
def edit(model: Model, picture_server: PictureServer, tmp_path: Path) -> Callable[..., AdaptedEdit]:
    """An edit that the model can do; the argument is the tail with the faults."""

    def make(faults: str = "", *, sources: tuple[Source, ...] | None = None, **own: Any) -> AdaptedEdit:
        prompt = "make it blue" + (f" [[sim: {faults}]]" if faults else "")
        takes_prompt = any(parameter.field == "prompt" for parameter in model.parameters.values())
        is_masked = model.operations[0] in (Operation.INPAINT, Operation.ERASE)
        return AdaptedEdit(
            CALL_ID,
            model,
            model.operations[0],
            prompt if takes_prompt else None,
            {**own, **_needed(model)},
            sources or (_source(model, picture_server, tmp_path),),
            mask=_source(model, picture_server, tmp_path, "mask") if is_masked else None,
        )

    return make


def _source(model: Model, pictures: PictureServer, folder: Path, name: str = "input") -> Source:
    """A picture behind a link that holds the call's name, or in a file where the provider takes no links."""
    if load_catalog().providers[model.provider].takes_links:
        url = pictures.add(f"{name}.png", make_picture()) + f"?call={CALL_ID}&X-Amz-Signature=secret"
        return Source("image/png", 96, 64, url, None)
    file = folder / f"{name}.png"
    file.write_bytes(make_picture())
    return Source("image/png", 96, 64, None, file)


def _needed(model: Model) -> dict[str, Any]:
    """What an edit cannot do without beside its prompt and its pictures."""
    needed: dict[str, Any] = {
        name: "the cup" for name, parameter in model.parameters.items() if parameter.required and parameter.field != "prompt"
    }
    if model.price.unit == "megapixel":  # The price is not known without a size.
        needed |= {name: "96*64" for name, parameter in model.parameters.items() if parameter.field == "size"}
    return {**needed, **{name: 8 for name, parameter in model.parameters.items() if parameter.field == "expand_left"}}
