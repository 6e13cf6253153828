"""The simulated router against the facts page, section 2: what an answer looks like when nobody's client is in between."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.simulator.account import Options
from tests.simulator_fixtures import AUTH, PictureServer, Simulator, make_picture, opened

QUEUE = "fal-ai/fal-ai/qwen-image-edit?_subdomain=queue"
PREDICT = "replicate/v1/models/black-forest-labs/flux-kontext-dev/predictions"
FORWARDED = "wavespeed/api/v3/wavespeed-ai/flux-2-dev/edit"


async def call(simulator: Simulator, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of one call."""
    url = f"{simulator.url}/{path}"
    async with simulator.http.request(method, url, json=body, headers={**AUTH, **headers}) as response:
        return response.status, await response.json()


async def until(look: Callable[[], Awaitable[Any]], *, within_s: float = 10.0) -> Any:
    """What `look` answers once it is true."""
    async with asyncio.timeout(within_s):
        while not (seen := await look()):
            await asyncio.sleep(0.01)
    return seen


async def completed(simulator: Simulator, task: dict[str, Any]) -> str:
    """The path of the queued task's result, once it is completed."""
    path = f"fal-ai{urlsplit(task['response_url']).path}"

    async def look() -> bool:
        _, state = await call(simulator, "GET", f"{path}/status?_subdomain=queue")
        return bool(state["status"] == "COMPLETED")

    await until(look)
    return f"{path}?_subdomain=queue"


async def download(simulator: Simulator, url: str) -> bytes:
    async with simulator.http.get(url) as response:
        assert response.status == 200
        return await response.read()


@pytest.fixture
def image(picture_server: PictureServer) -> str:
    return picture_server.add("input.png", make_picture(90, 60))


async def test_a_queued_edit_goes_from_in_queue_to_a_picture_of_the_asked_size(simulator: Simulator, image: str) -> None:
    body = {"prompt": "make it blue", "image_url": image, "image_urls": [image], "image_size": {"width": 320, "height": 256}}
    status, task = await call(simulator, "POST", QUEUE, body)
    assert (status, task["status"]) == (200, "IN_QUEUE")
    assert task["response_url"] == f"https://queue.fal.run/fal-ai/qwen-image-edit/requests/{task['request_id']}"
    _, result = await call(simulator, "GET", await completed(simulator, task))
    [shown] = result["images"]
    assert shown["content_type"] == "image/png"
    assert opened(await download(simulator, shown["url"])).size == (320, 256)
    [billed] = await simulator.ledger()
    assert billed["usd"] == pytest.approx(0.03 * 320 * 256 / 1_000_000)


async def test_a_result_that_is_not_there_yet_is_refused(
    start_simulator: Callable[[Options], Awaitable[Simulator]], image: str
) -> None:
    simulator = await start_simulator(Options(latency_s=60))
    _, task = await call(simulator, "POST", QUEUE, {"prompt": "x", "image_url": image})
    path = f"fal-ai{urlsplit(task['response_url']).path}"
    assert (await call(simulator, "GET", f"{path}?_subdomain=queue"))[0] == 400
    assert (await call(simulator, "GET", path))[0] == 404
    _, state = await call(simulator, "GET", f"{path}/status?_subdomain=queue")
    assert state["status"] in ("IN_QUEUE", "IN_PROGRESS")


async def test_a_moderated_edit_is_completed_and_its_result_is_422(simulator: Simulator, image: str) -> None:
    _, task = await call(simulator, "POST", QUEUE, {"prompt": "x [[sim: moderated]]", "image_url": image})
    status, result = await call(simulator, "GET", await completed(simulator, task))
    assert (status, result["detail"][0]["type"]) == (422, "content_policy_violation")


async def test_a_prediction_is_held_until_it_has_an_output_if_the_caller_prefers_to_wait(
    start_simulator: Callable[[Options], Awaitable[Simulator]], image: str
) -> None:
    simulator = await start_simulator(Options(latency_s=0.05))
    body = {"input": {"prompt": "make it blue", "input_image": image, "output_format": "jpg"}}
    status, done = await call(simulator, "POST", PREDICT, body, Prefer="wait")
    assert (status, done["status"]) == (201, "succeeded")
    assert opened(await download(simulator, done["output"])).format == "JPEG"
    _, begun = await call(simulator, "POST", PREDICT, body)
    assert begun["status"] in ("starting", "processing")
    assert begun["output"] is None
    path = f"replicate{urlsplit(begun['urls']['get']).path}"

    async def look() -> Any:
        return (await call(simulator, "GET", path))[1]["output"]

    assert await until(look)


async def test_another_providers_tasks_are_reached_below_its_name_and_not_without_it(simulator: Simulator, image: str) -> None:
    _, answer = await call(simulator, "POST", FORWARDED, {"prompt": "make it blue", "image": image})
    path = urlsplit(answer["data"]["urls"]["get"]).path
    assert (await call(simulator, "GET", path[1:]))[0] == 404

    async def look() -> Any:
        return (await call(simulator, "GET", f"wavespeed{path}"))[1]["data"]["outputs"]

    [url] = await until(look)
    assert opened(await download(simulator, url)).width > 90
    assert (await call(simulator, "POST", "wavespeed/api/v3/predictions", {"page": 1}))[0] == 404


@pytest.mark.parametrize("headers", [{"Authorization": ""}, {"Authorization": "Basic x"}, {"Authorization": "Bearer invalid"}])
@pytest.mark.parametrize("path", [QUEUE, PREDICT])
async def test_a_call_without_a_valid_token_is_answered_401(simulator: Simulator, path: str, headers: dict[str, str]) -> None:
    status, answer = await call(simulator, "POST", path, {}, **headers)
    assert (status, list(answer)) == (401, ["error"])


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (QUEUE, {"prompt": "x"}, 422),
        (QUEUE, {"prompt": "x", "image_url": "u", "strength": 1}, 422),
        (QUEUE, {"prompt": "x", "image_url": "u", "image_urls": []}, 200),
        (QUEUE, {"prompt": "x [[sim: nonsense]]", "image_url": "u"}, 422),
        (QUEUE, [], 400),
        (PREDICT, {"prompt": "x"}, 422),
        (PREDICT, {"input": {"prompt": "x", "images": ["u"]}}, 201),
        ("fal-ai/fal-ai/no-such-model?_subdomain=queue", {"prompt": "x"}, 404),
        ("replicate/v1/predictions", {"version": "0abc", "input": {}}, 404),
    ],
)
async def test_a_body_that_does_not_fit_the_model_is_refused_and_not_billed(
    simulator: Simulator, path: str, body: Any, status: int
) -> None:
    assert (await call(simulator, "POST", path, body))[0] == status
    assert len(await simulator.ledger()) == (status < 300)


async def test_the_hub_tells_which_sub_provider_serves_a_model(simulator: Simulator) -> None:
    _, answer = await call(simulator, "GET", "api/models/Qwen/Qwen-Image-Edit?expand=inferenceProviderMapping")
    assert answer["inferenceProviderMapping"] == {
        "fal-ai": {"status": "live", "providerId": "fal-ai/qwen-image-edit", "task": "image-to-image"}
    }
    assert (await call(simulator, "GET", "api/models/nobody/nothing"))[0] == 404


async def test_the_service_is_down_here_too(simulator: Simulator) -> None:
    await simulator.set_faults(down_s=60)
    async with simulator.http.get(f"{simulator.url}/replicate/v1/predictions/0", headers=AUTH) as response:
        assert response.status == 503
