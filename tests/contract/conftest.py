"""The providers that work by tasks, each as the worker opens it, against the simulator."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from shared.catalog.load import Catalog, load_catalog
from shared.catalog.model import Model
from shared.edit import Operation
from shared.settings import Settings
from tests.simulator_fixtures import PictureServer, Simulator, http, make_picture, picture_server, simulator, start_simulator
from worker.pixel_pool import PixelPool
from worker.providers.base import AdaptedEdit, Provider, Source
from worker.providers.registry import open_providers

__all__ = ["http", "picture_server", "simulator", "start_simulator"]

KEY = "a-key-that-must-not-be-seen"
CALL_ID = "0123456789abcdef"
TASK_PROVIDERS = ("wavespeed",)

Open = Callable[..., Provider]


@pytest.fixture(params=TASK_PROVIDERS)
def provider_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(provider_name: str) -> Model:
    """The provider's first model."""
    return load_catalog().providers[provider_name].models[0]


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
def edit(model: Model, picture_server: PictureServer) -> Callable[..., AdaptedEdit]:
    """An edit of one picture behind a link that holds the call's name; the argument is the tail with the faults."""

    def make(faults: str = "", *, sources: tuple[Source, ...] | None = None, **parameters: Any) -> AdaptedEdit:
        url = picture_server.add("input.png", make_picture()) + f"?call={CALL_ID}&X-Amz-Signature=secret"
        source = Source("image/png", 96, 64, url, None)
        prompt = "make it blue" + (f" [[sim: {faults}]]" if faults else "")
        return AdaptedEdit(CALL_ID, model, Operation.GENERAL_EDIT, prompt, parameters, sources or (source,))

    return make
