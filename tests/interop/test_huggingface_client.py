"""Hugging Face's own client runs against the simulator: what it understands, ours has to understand as well.

The client knows no setting for the router's address, and takes a provider's name out of the paths only if the host is the
router's. So it speaks to the real addresses, and its connections lead to the simulator.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image

from deploy.simulator.account import Options
from tests.simulator_fixtures import Simulator, make_picture

httpx = pytest.importorskip("httpx2" if huggingface_hub.__version__ >= "2" else "httpx")

HOSTS = ("router.huggingface.co", "huggingface.co")
SERVED = [
    ("fal-ai", "Qwen/Qwen-Image-Edit", {"seed": 3, "num_inference_steps": 20, "guidance_scale": 4.0}),
    ("fal-ai", "black-forest-labs/FLUX.1-Kontext-dev", {"seed": 3}),
    ("replicate", "black-forest-labs/FLUX.1-Kontext-dev", {"seed": 3}),
    ("wavespeed", "black-forest-labs/FLUX.2-dev", {"seed": 3}),
]


class Redirected(httpx.HTTPTransport):  # type: ignore[misc, name-defined]
    """Connections to Hugging Face's hosts lead to `address`; others may only lead to this machine."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = httpx.URL(address)

    def handle_request(self, request: Any) -> Any:
        if request.url.host in HOSTS:
            request.url = request.url.copy_with(scheme="http", host=self._address.host, port=self._address.port)
        assert request.url.host == "127.0.0.1", request.url
        return super().handle_request(request)


@pytest.fixture
async def simulator(start_simulator: Callable[[Options], Awaitable[Simulator]]) -> Simulator:
    return await start_simulator(Options(latency_s=0, key="hf_right"))


@pytest.fixture
def connected(simulator: Simulator) -> Iterator[None]:
    """The client's connections lead to the simulator."""
    default = huggingface_hub.utils._http.default_client_factory
    huggingface_hub.set_client_factory(
        lambda: httpx.Client(transport=Redirected(simulator.url), follow_redirects=True, timeout=30)
    )
    yield
    huggingface_hub.set_client_factory(default)


async def run(provider: str, model: str, prompt: str = "make it blue", *, key: str = "hf_right", **options: Any) -> Image.Image:
    """The client's edit of a small picture, in a thread."""
    client = InferenceClient(provider=provider, api_key=key, timeout=30)  # type: ignore[arg-type]
    result = await asyncio.to_thread(client.image_to_image, make_picture(96, 64), prompt=prompt, model=model, **options)
    assert isinstance(result, Image.Image)
    return result


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(("provider", "model", "options"), SERVED)
async def test_it_edits_a_picture_by_every_sub_provider(
    simulator: Simulator, provider: str, model: str, options: dict[str, Any]
) -> None:
    picture = await run(provider, model, **options)
    assert picture.width / picture.height == pytest.approx(1.5, rel=0.01)
    [billed] = await simulator.ledger()
    assert billed["prompt"] == "make it blue"
    assert billed["inputs"][0].startswith("data:image/")


@pytest.mark.usefixtures("connected")
async def test_it_gets_the_size_that_it_asks_for() -> None:
    picture = await run("fal-ai", "Qwen/Qwen-Image-Edit", target_size={"width": 320, "height": 256})
    assert picture.size == (320, 256)


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("status", [401, 402, 403, 404, 422, 429, 503])
@pytest.mark.parametrize(("provider", "model"), [served[:2] for served in SERVED])
async def test_it_reports_a_refusal_with_its_status(provider: str, model: str, status: int) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        await run(provider, model, f"make it blue [[sim: {status}]]")
    assert caught.value.response.status_code == status


@pytest.mark.usefixtures("connected")
async def test_it_reports_a_wrong_token() -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        await run("fal-ai", "Qwen/Qwen-Image-Edit", key="hf_wrong")
    assert caught.value.response.status_code == 401


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("provider", "model", "error"),
    [
        ("fal-ai", "Qwen/Qwen-Image-Edit", KeyError),
        ("replicate", "black-forest-labs/FLUX.1-Kontext-dev", TimeoutError),
        ("wavespeed", "black-forest-labs/FLUX.2-dev", ValueError),
    ],
)
async def test_a_moderated_edit_looks_to_it_as_the_facts_page_says(provider: str, model: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await run(provider, model, "make it blue [[sim: moderated]]")
