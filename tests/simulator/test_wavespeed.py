"""The simulated wire against the facts page, section 1: what an answer looks like when nobody's client is in between."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from deploy.simulator.account import Options
from tests.simulator_fixtures import AUTH, PictureServer, Simulator, make_picture, opened

QWEN, KONTEXT = "wavespeed-ai/qwen-image/edit", "wavespeed-ai/flux-kontext-pro"


async def call(simulator: Simulator, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of one API call."""
    url = f"{simulator.url}/api/v3/{path}"
    async with simulator.http.request(method, url, json=body, headers={**AUTH, **headers}) as response:
        return response.status, await response.json()


async def submit(simulator: Simulator, path: str = QWEN, **body: Any) -> dict[str, Any]:
    """The accepted task."""
    status, answer = await call(simulator, "POST", path, {"prompt": "make it blue", **body})
    assert (status, answer["code"]) == (200, 200), answer
    data: dict[str, Any] = answer["data"]
    return data


async def ended(simulator: Simulator, task_id: str, *, within_s: float = 10.0) -> dict[str, Any]:
    """The task once it is terminal."""
    async with asyncio.timeout(within_s):
        while True:
            _, answer = await call(simulator, "GET", f"predictions/{task_id}/result")
            if answer["data"]["status"] not in ("created", "processing", "warming-up"):
                data: dict[str, Any] = answer["data"]
                return data
            await asyncio.sleep(0.01)


async def download(simulator: Simulator, url: str) -> bytes:
    async with simulator.http.get(url) as response:
        assert response.status == 200
        return await response.read()


@pytest.fixture
def image(picture_server: PictureServer) -> str:
    """The address of an input, signed in its query like a storage's links."""
    return picture_server.add("input.png", make_picture(90, 60)) + "?X-Amz-Signature=abc"


async def test_an_edit_goes_from_created_to_a_changed_picture(simulator: Simulator, image: str) -> None:
    task = await submit(simulator, image=image)
    assert task["status"] == "created"
    assert len(task["id"]) == 32
    assert int(task["id"], 16)
    assert task["outputs"] == []
    assert task["urls"]["get"] == f"{simulator.url}/api/v3/predictions/{task['id']}/result"
    done = await ended(simulator, task["id"])
    assert (done["status"], done["has_nsfw_contents"], done["error"]) == ("completed", [False], "")
    picture = opened(await download(simulator, done["outputs"][0]))
    assert (picture.format, picture.size) == ("JPEG", (90, 60))
    assert (await call(simulator, "GET", f"predictions/{task['id']}"))[1]["data"]["status"] == "completed"


@pytest.mark.parametrize(
    ("path", "parameters", "size", "picture_format"),
    [
        (QWEN, {"size": "320*256", "output_format": "png"}, (320, 256), "PNG"),
        (QWEN, {"output_format": "webp"}, (90, 60), "WEBP"),
        (KONTEXT, {"aspect_ratio": "1:1"}, (1024, 1024), "JPEG"),
        (KONTEXT, {}, (1254, 836), "JPEG"),
        ("wavespeed-ai/hidream-e1-full", {}, (941, 627), "JPEG"),
    ],
)
async def test_size_and_format_follow_the_parameters(
    simulator: Simulator, image: str, path: str, parameters: dict[str, str], size: tuple[int, int], picture_format: str
) -> None:
    done = await ended(simulator, (await submit(simulator, path, image=image, **parameters))["id"])
    picture = opened(await download(simulator, done["outputs"][0]))
    assert (picture.size, picture.format) == (size, picture_format)


@pytest.mark.parametrize("path", ["openai/gpt-image-1", "wavespeed-ai/z-image/turbo-inpaint"])
async def test_models_with_a_mask_take_one(simulator: Simulator, picture_server: PictureServer, image: str, path: str) -> None:
    mask = picture_server.add("mask.png", make_picture(90, 60))
    assert (await ended(simulator, (await submit(simulator, path, image=image, mask_image=mask))["id"]))["status"] == "completed"


async def test_several_images_are_taken_up_to_the_models_limit(simulator: Simulator, image: str) -> None:
    plus = "wavespeed-ai/qwen-image/edit-plus"
    assert (await ended(simulator, (await submit(simulator, plus, images=[image] * 3))["id"]))["status"] == "completed"
    status, _ = await call(simulator, "POST", plus, {"prompt": "x", "images": [image] * 4})
    assert status == 400


@pytest.mark.parametrize("headers", [{"Authorization": ""}, {"Authorization": "Bearer "}, {"Authorization": "Basic x"}])
async def test_a_call_without_a_key_is_answered_401(simulator: Simulator, headers: dict[str, str]) -> None:
    assert await call(simulator, "GET", "balance", **headers) == (401, {"error": "missing API key"})


async def test_a_wrong_key_is_answered_401(simulator: Simulator) -> None:
    wrong = await call(simulator, "GET", "balance", Authorization="Bearer invalid-key")
    assert wrong == (401, {"code": 401, "message": "Invalid API key"})


@pytest.mark.parametrize(
    "body",
    [
        {"image": "https://example.invalid/a.png"},
        {"prompt": "x"},
        {"prompt": "x", "image": 5},
        {"prompt": "x", "image": "u", "seed": "5"},
        {"prompt": "x", "image": "u", "seed": True},
        {"prompt": "x", "image": "u", "output_format": "gif"},
        {"prompt": "x", "image": "u", "guidance_scale": 3.5},
        {"prompt": "x [[sim: nonsense]]", "image": "u"},
    ],
)
async def test_a_body_that_does_not_fit_the_model_is_answered_400_and_not_billed(
    simulator: Simulator, body: dict[str, Any]
) -> None:
    status, answer = await call(simulator, "POST", QWEN, body)
    assert (status, answer["code"]) == (400, 400)
    assert await simulator.ledger() == []


async def test_a_body_that_is_no_object_gets_the_other_error_shape(simulator: Simulator) -> None:
    assert await call(simulator, "POST", QWEN, ["prompt"]) == (400, {"error": "the body is not a JSON object"})


async def test_an_unknown_model_or_task_is_answered_404(simulator: Simulator) -> None:
    assert (await call(simulator, "POST", "wavespeed-ai/no-such-model", {}))[0] == 404
    assert (await call(simulator, "GET", "predictions/0123/result"))[0] == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"image": "http://127.0.0.1:1/nothing.png"}, 1402),
        ({"image": "ftp://example.invalid/x.png"}, 1402),
        ({"image": "data:image/png;base64,@@@"}, 1402),
        ({"image": "data:image/png;base64," + base64.b64encode(b"no picture").decode()}, 1401),
        ({"image": "data:image/png;base64,", "size": "100*100"}, 1401),
        ({"image": "data:image/png;base64,", "seed": -2}, 1401),
    ],
)
async def test_a_bad_input_makes_the_task_fail(simulator: Simulator, body: dict[str, Any], code: int) -> None:
    done = await ended(simulator, (await submit(simulator, **body))["id"])
    assert (done["status"], done["code"], done["outputs"]) == ("failed", code, [])
    assert done["error"]


async def test_the_ledger_lists_every_accepted_submit_with_its_price(simulator: Simulator, image: str) -> None:
    first = await submit(simulator, image=image)
    second = await submit(
        simulator, "ideogram-ai/ideogram-character", image=f"data:image/png;base64,{'A' * 1000}", rendering_speed="Turbo"
    )
    ledger = await simulator.ledger()
    assert [(entry["id"], entry["usd"]) for entry in ledger] == [(first["id"], 0.02), (second["id"], 0.1)]
    assert ledger[0]["inputs"] == [image]
    assert len(ledger[1]["inputs"][0]) < 100
    assert (await call(simulator, "GET", "balance"))[1]["data"]["balance"] == pytest.approx(1000 - 0.12)


async def test_prices_are_asked_for_without_being_billed(simulator: Simulator) -> None:
    for inputs, price in (({"resolution": "8k"}, 0.18), ({}, 0.15)):
        wish = {"model_id": "google/nano-banana-pro/edit-ultra", "inputs": inputs}
        assert (await call(simulator, "POST", "model/price", wish))[1]["data"]["price"] == price
    assert len((await call(simulator, "GET", "models"))[1]["data"]) == 20
    assert await simulator.ledger() == []


@pytest.mark.parametrize("shown", [True, False])
async def test_the_history_lists_inputs_only_if_told_to(
    start_simulator: Callable[[Options], Awaitable[Simulator]], image: str, shown: bool
) -> None:
    simulator = await start_simulator(Options(latency_s=0, history_inputs=shown))
    ids = [(await submit(simulator, image=image))["id"] for _ in range(3)]
    await submit(simulator, KONTEXT, image=image)
    _, answer = await call(simulator, "POST", "predictions", {"page": 1, "page_size": 2, "model": QWEN})
    items = answer["data"]["items"]
    assert [item["id"] for item in items] == ids[:0:-1]
    assert [item.get("inputs", {}).get("image") for item in items] == [image if shown else None] * 2
    for bad in ({"page_size": 101}, {"page": 0}, {"created_after": "yesterday"}):
        assert (await call(simulator, "POST", "predictions", bad))[0] == 400


async def test_a_deleted_task_has_no_output(simulator: Simulator, image: str) -> None:
    done = await ended(simulator, (await submit(simulator, image=image))["id"])
    _, answer = await call(simulator, "POST", "predictions/delete", {"ids": [done["id"], "unknown"]})
    assert answer["data"] == {"deleted_count": 1}
    assert (await ended(simulator, done["id"]))["status"] == "deleted"
    async with simulator.http.get(done["outputs"][0]) as response:
        assert response.status == 404


async def test_a_counted_fault_strikes_per_prompt_and_picture_however_the_link_is_signed(
    simulator: Simulator, picture_server: PictureServer
) -> None:
    async def statuses(image: str) -> list[int]:
        body = {"prompt": "x [[sim: 429=7*2]]"}
        return [(await call(simulator, "POST", QWEN, {**body, "image": f"{image}?{number}"}))[0] for number in range(3)]

    assert await statuses(picture_server.add("one.png", make_picture(shade=1))) == [429, 429, 200]
    assert await statuses(picture_server.add("two.png", make_picture(shade=2))) == [429, 429, 200]
    assert await statuses(picture_server.add("again.png", make_picture(shade=1))) == [200, 200, 200]
    assert len(await simulator.ledger()) == 5


async def test_faults_come_by_header_and_for_everybody_too(simulator: Simulator, image: str) -> None:
    body = {"prompt": "x", "image": image}
    assert (await call(simulator, "POST", QWEN, body, **{"X-Sim": "402"}))[0] == 402
    await simulator.set_faults(faults="429=7*1")
    async with simulator.http.post(f"{simulator.url}/api/v3/{QWEN}", json=body, headers=AUTH) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
    assert (await call(simulator, "POST", QWEN, body))[0] == 200
    await simulator.set_faults(down_s=60)
    async with simulator.http.get(f"{simulator.url}/api/v3/balance", headers=AUTH) as response:
        assert response.status == 503
    await simulator.set_faults()
    assert (await call(simulator, "GET", "balance"))[0] == 200


async def test_limits_are_answered_429(start_simulator: Callable[[Options], Awaitable[Simulator]], image: str) -> None:
    busy = await start_simulator(Options(latency_s=60, max_concurrent=2))
    assert [(await call(busy, "POST", QWEN, {"prompt": "x", "image": image}))[0] for _ in range(3)] == [200, 200, 429]


async def test_the_synchronous_mode_and_base64_output_work_where_they_are_declared(simulator: Simulator, image: str) -> None:
    done = await submit(simulator, image=image, enable_sync_mode=True, enable_base64_output=True)
    assert done["status"] == "completed"
    assert opened(base64.b64decode(done["outputs"][0])).size == (90, 60)


async def test_an_upload_is_taken_as_announced_and_never_with_a_key(simulator: Simulator) -> None:
    data = make_picture()
    wish = {"filename": "a.png", "size": len(data), "content_type": "image/png"}
    ticket = (await call(simulator, "POST", "media/uploads", wish))[1]["data"]
    put = ticket["upload"]

    async def send(body: bytes, **headers: str) -> int:
        async with simulator.http.request(
            put["method"], put["url"], data=body, headers={**put["headers"], **headers}
        ) as response:
            return response.status

    assert await send(data, **AUTH) == 400
    assert await send(data[:-1]) == 403
    assert await send(data, **{"Content-Type": "text/plain"}) == 403
    assert await send(data) == 200
    assert await send(data) == 403
    assert await download(simulator, ticket["download_url"]) == data
    assert (await ended(simulator, (await submit(simulator, image=ticket["download_url"]))["id"]))["status"] == "completed"
    await simulator.set_faults(refuse_uploads=True)
    assert (await call(simulator, "POST", "media/uploads", wish))[0] == 403


async def test_the_older_upload_by_form_works(simulator: Simulator) -> None:
    form = aiohttp.FormData()
    form.add_field("file", make_picture(), filename="a.png", content_type="image/png")
    async with simulator.http.post(f"{simulator.url}/api/v3/media/upload/binary", data=form, headers=AUTH) as response:
        answer = await response.json()
    assert (
        hashlib.sha256(await download(simulator, answer["data"]["download_url"])).digest()
        == hashlib.sha256(make_picture()).digest()
    )


async def test_outputs_beyond_the_room_for_files_are_dropped(
    start_simulator: Callable[[Options], Awaitable[Simulator]], image: str
) -> None:
    simulator = await start_simulator(Options(latency_s=0, files_max_bytes=1))
    first = await ended(simulator, (await submit(simulator, image=image))["id"])
    second = await ended(simulator, (await submit(simulator, image=image))["id"])
    async with simulator.http.get(first["outputs"][0]) as response:
        assert response.status == 404
    assert opened(await download(simulator, second["outputs"][0]))


async def test_the_server_says_which_variables_lead_to_it(simulator: Simulator) -> None:
    async with simulator.http.get(f"{simulator.url}/sim/env") as response:
        variables = await response.json()
    for name in ("WAVESPEED", "STABILITY"):
        assert (variables[f"{name}_API_KEY"], variables[f"{name}_BASE_URL"]) == ("simulated", simulator.url)


async def test_a_hanging_submit_is_neither_answered_nor_billed(simulator: Simulator, image: str) -> None:
    body = {"prompt": "x [[sim: hang]]", "image": image}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await call(simulator, "POST", QWEN, body)
    assert await simulator.ledger() == []


async def test_a_stuck_task_never_ends_and_does_not_keep_the_server_from_ending(simulator: Simulator, image: str) -> None:
    task = await submit(simulator, image=image, prompt="x [[sim: stuck]]")
    with pytest.raises(TimeoutError):
        await ended(simulator, task["id"], within_s=0.3)


async def test_failed_downloads_are_counted_per_task(simulator: Simulator, image: str) -> None:
    done = await ended(simulator, (await submit(simulator, image=image, prompt="x [[sim: output-503*1]]"))["id"])
    statuses = []
    for _ in range(2):
        async with simulator.http.get(done["outputs"][0]) as response:
            statuses.append(response.status)
    assert statuses == [503, 200]
