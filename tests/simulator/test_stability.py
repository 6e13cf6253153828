"""The simulated wire against the facts page: what an answer looks like when nobody's client is in between."""

import asyncio
import base64
import io
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import pytest
from PIL import Image

from deploy.simulator.account import Options
from tests.simulator_fixtures import AUTH, Simulator, make_picture, opened

EDIT, ERASE, INPAINT, OUTPAINT = "edit/search-and-recolor", "edit/erase", "edit/inpaint", "edit/outpaint"
RELIGHT, REMOVE, FAST = "edit/replace-background-and-relight", "edit/remove-background", "upscale/fast"
WORDS = {"prompt": "make it blue", "select_prompt": "the cup"}
PICTURE = make_picture(128, 96)

Parts = Mapping[str, str | bytes]


async def post(simulator: Simulator, path: str, parts: Parts, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of one call with this form; bytes go as files."""
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in parts.items():
        if isinstance(value, bytes):
            form.add_field(name, io.BytesIO(value), filename=f"{name}.png", content_type="image/png")
        else:
            form.add_field(name, value)
    url = f"{simulator.url}/v2beta/stable-image/{path}"
    async with simulator.http.post(url, data=form, headers={**AUTH, **headers}) as response:
        return response.status, response.headers, await response.read()


async def get(simulator: Simulator, path: str, **headers: str) -> tuple[int, Any]:
    """Status and body of one call."""
    async with simulator.http.get(f"{simulator.url}/{path}", headers={**AUTH, **headers}) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.read()


async def refusal(simulator: Simulator, path: str, parts: Parts, **headers: str) -> tuple[int, str, list[str]]:
    """Status, name and errors; the shape is the only one there is."""
    status, received, _ = answer = await post(simulator, path, parts, **headers)
    assert received["Content-Type"].startswith("application/json"), answer
    body = json.loads(answer[2])
    assert body.keys() == {"id", "name", "errors"}
    return status, body["name"], body["errors"]


async def relight(simulator: Simulator, prompt: str = "a beach", **parts: str | bytes) -> str:
    """The name of an accepted task."""
    status, headers, body = await post(
        simulator, RELIGHT, {"subject_image": PICTURE, "background_prompt": prompt, **parts}, Accept="image/*"
    )
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "application/json")
    name = str(json.loads(body)["id"])
    assert len(name) == 64
    assert int(name, 16)
    return name


async def result(simulator: Simulator, name: str, *, within_s: float = 10.0, **headers: str) -> tuple[int, Any]:
    """The first answer that is not `in-progress`."""
    async with asyncio.timeout(within_s):
        while True:
            status, body = await get(simulator, f"v2beta/results/{name}", **headers)
            if status != 202:
                return status, body
            assert body == {"id": name, "status": "in-progress"}
            await asyncio.sleep(0.01)


async def test_a_synchronous_edit_answers_the_picture_with_three_headers(simulator: Simulator) -> None:
    status, headers, body = await post(simulator, EDIT, {"image": PICTURE, **WORDS, "seed": "7", "output_format": "webp"})
    assert (status, headers["Content-Type"], headers["finish-reason"], headers["seed"]) == (200, "image/webp", "SUCCESS", "7")
    assert headers["x-request-id"]
    picture = opened(body)
    assert (picture.format, picture.size) == ("WEBP", (128, 96))


async def test_who_asks_for_json_gets_base64_and_no_headers(simulator: Simulator) -> None:
    status, headers, body = await post(simulator, EDIT, {"image": PICTURE, **WORDS}, Accept="application/json")
    assert (status, headers["Content-Type"]) == (200, "application/json; type=image/png")
    assert not {"finish-reason", "seed"} & {name.lower() for name in headers}
    answer = json.loads(body)
    assert answer["finish_reason"] == "SUCCESS"
    assert 0 < answer["seed"] <= 4294967294
    assert opened(base64.b64decode(answer["image"])).format == "PNG"


async def test_a_bare_key_is_taken_too(simulator: Simulator) -> None:
    assert (await post(simulator, EDIT, {"image": PICTURE, **WORDS}, Authorization="simulated-key"))[0] == 200


@pytest.mark.parametrize("key", ["", "Bearer ", "Bearer invalid-key", "invalid-key"])
async def test_a_missing_or_wrong_key_is_answered_401(simulator: Simulator, key: str) -> None:
    assert (await refusal(simulator, EDIT, {"image": PICTURE, **WORDS}, Authorization=key))[:2] == (401, "unauthorized")


@pytest.mark.parametrize(
    ("path", "parts", "size"),
    [
        (INPAINT, {"prompt": "a dog", "mask": PICTURE}, (2365, 1774)),
        (ERASE, {"mask": PICTURE}, (2365, 1774)),
        ("edit/search-and-replace", {"prompt": "a dog", "search_prompt": "a cat"}, (2365, 1774)),
        (OUTPAINT, {"left": "10", "down": "5"}, (138, 101)),
        (REMOVE, {}, (128, 96)),
        (FAST, {}, (512, 384)),
        ("upscale/conservative", {"prompt": "a coffee cup"}, (2365, 1774)),
    ],
)
async def test_every_operation_has_its_own_size_out(
    simulator: Simulator, path: str, parts: dict[str, str | bytes], size: tuple[int, int]
) -> None:
    status, _, body = await post(simulator, path, {"image": PICTURE, **parts})
    assert (status, opened(body).size) == (200, size)


async def test_outpainting_leaves_the_picture_where_it_was(simulator: Simulator) -> None:
    _, _, body = await post(simulator, OUTPAINT, {"image": PICTURE, "left": "40", "up": "100", "right": "30", "down": "60"})
    inner = opened(body).crop((40, 100, 168, 196))
    assert inner.tobytes() == opened(PICTURE).tobytes()


async def test_a_removed_background_is_transparent(simulator: Simulator) -> None:
    _, _, body = await post(simulator, REMOVE, {"image": PICTURE})
    alpha = opened(body).getchannel("A")
    assert alpha.getpixel((0, 0)) == 0
    assert alpha.getpixel((64, 48)) == 255


async def test_a_picture_that_is_transparent_in_part_needs_no_mask(simulator: Simulator) -> None:
    picture = Image.new("RGBA", (100, 100), (200, 30, 30, 255))
    picture.paste((0, 0, 0, 0), (50, 0, 100, 100))
    target = io.BytesIO()
    picture.save(target, "PNG")
    _, _, body = await post(simulator, INPAINT, {"image": target.getvalue(), "prompt": "a dog"})
    edited = opened(body)
    assert edited.getpixel((10, 10)) == (200, 30, 30)
    assert edited.getpixel((1900, 10)) != (0, 0, 0)


@pytest.mark.parametrize(
    ("path", "parts", "field"),
    [
        (EDIT, {"select_prompt": "x", "image": PICTURE}, "prompt"),
        (EDIT, {**WORDS, "prompt": "", "image": PICTURE}, "prompt"),
        (EDIT, WORDS, "image"),
        (EDIT, {**WORDS, "image": "no file"}, "image"),
        (EDIT, {**WORDS, "image": b"GIF89a"}, "image"),
        (EDIT, {**WORDS, "image": make_picture(63, 100)}, "image"),
        (EDIT, {**WORDS, "image": make_picture(100, 251)}, "image"),
        (EDIT, {**WORDS, "image": make_picture(3100, 3100)}, "image"),
        (EDIT, {**WORDS, "image": PICTURE, "grow_mask": "21"}, "grow_mask"),
        (EDIT, {**WORDS, "image": PICTURE, "seed": "many"}, "seed"),
        (EDIT, {**WORDS, "image": PICTURE, "seed": "-1"}, "seed"),
        (EDIT, {**WORDS, "image": PICTURE, "style_preset": "baroque"}, "style_preset"),
        (REMOVE, {"image": PICTURE, "output_format": "jpeg"}, "output_format"),
        (OUTPAINT, {"image": PICTURE}, "left"),
        (OUTPAINT, {"image": PICTURE, "left": "0"}, "left"),
        (OUTPAINT, {"image": PICTURE, "left": "1.5"}, "left"),
        (INPAINT, {"image": PICTURE, "prompt": "x"}, "mask"),
        (FAST, {"image": make_picture(1600, 64)}, "image"),
        (RELIGHT, {"subject_image": PICTURE}, "background_prompt"),
        (RELIGHT, {"subject_image": PICTURE, "light_reference": PICTURE}, "background_prompt"),
        (
            RELIGHT,
            {"subject_image": PICTURE, "background_prompt": "x", "light_source_strength": "0.5"},
            "light_source_strength",
        ),
        (EDIT, {**WORDS, "image": PICTURE, "prompt": "x [[sim: nonsense]]"}, "prompt"),
    ],
)
async def test_a_form_that_does_not_fit_names_the_field_and_is_not_billed(
    simulator: Simulator, path: str, parts: Parts, field: str
) -> None:
    status, name, errors = await refusal(simulator, path, parts)
    assert (status, name) == (400, "bad_request")
    assert any(error.startswith(field) for error in errors), errors
    assert await simulator.ledger() == []


async def test_a_picture_of_any_shape_is_taken_where_no_ratio_is_asked_for(simulator: Simulator) -> None:
    tall = make_picture(64, 640)
    assert (await post(simulator, ERASE, {"image": tall, "mask": tall}))[0] == 200


async def test_what_is_no_form_is_refused(simulator: Simulator) -> None:
    url = f"{simulator.url}/v2beta/stable-image/{EDIT}"
    async with simulator.http.post(url, json={"prompt": "x"}, headers=AUTH) as response:
        assert response.status == 400
        assert (await response.json())["errors"] == ["content-type: must be multipart/form-data"]


async def test_a_form_over_10_mib_is_answered_413(simulator: Simulator) -> None:
    half = b"\0" * (5 * 1024 * 1024)
    answer = await refusal(simulator, INPAINT, {"image": half, "mask": half, "prompt": "x"})
    assert answer[:2] == (413, "payload_too_large")


async def test_a_prompt_in_another_language_is_answered_422(simulator: Simulator) -> None:
    answer = await refusal(simulator, EDIT, {**WORDS, "image": PICTURE, "prompt": "让它变蓝"})
    assert answer[:2] == (422, "invalid_language")
    assert (await post(simulator, EDIT, {**WORDS, "image": PICTURE, "prompt": "a café – “in the rain”"}))[0] == 200


async def test_fields_that_an_operation_does_not_know_are_ignored_and_shown_in_the_ledger(simulator: Simulator) -> None:
    assert (await post(simulator, REMOVE, {"image": PICTURE, "prompt": "whatever"}))[0] == 200
    [billed] = await simulator.ledger()
    assert billed["inputs"] == [f"image=@image.png;image/png;{len(PICTURE)}", "prompt=whatever"]
    assert (billed["model"], billed["usd"], billed["prompt"]) == (REMOVE, 0.05, "")


@pytest.mark.parametrize(
    ("fault", "status", "name"),
    [
        ("400", 400, "bad_request"),
        ("402", 402, "payment_required"),
        ("moderated", 403, "content_moderation"),
        ("413", 413, "payload_too_large"),
        ("422", 422, "invalid_language"),
        ("429", 429, "rate_limit_exceeded"),
        ("500", 500, "internal_error"),
    ],
)
async def test_a_refusal_by_fault_has_the_shape_of_a_real_one_and_is_free(
    simulator: Simulator, fault: str, status: int, name: str
) -> None:
    answer = await refusal(simulator, EDIT, {**WORDS, "image": PICTURE, "prompt": f"x [[sim: {fault}]]"})
    assert answer[:2] == (status, name)
    assert (await refusal(simulator, REMOVE, {"image": PICTURE}, **{"X-Sim": fault}))[:2] == (status, name)
    assert await simulator.ledger() == []


async def test_a_filtered_picture_is_a_success_that_is_billed_and_blurred(simulator: Simulator) -> None:
    clear = (await post(simulator, EDIT, {**WORDS, "image": PICTURE, "seed": "1"}))[2]
    parts: Parts = {**WORDS, "image": PICTURE, "seed": "1", "prompt": "make it blue [[sim: nsfw]]"}
    status, headers, body = await post(simulator, EDIT, parts)
    assert (status, headers["finish-reason"]) == (200, "CONTENT_FILTERED")
    assert len(body) < len(clear)
    as_json = (await post(simulator, EDIT, parts, Accept="application/json"))[2]
    assert json.loads(as_json)["finish_reason"] == "CONTENT_FILTERED"
    assert len(await simulator.ledger()) == 3


async def test_a_task_is_pending_then_answers_the_picture_as_often_as_it_is_asked_for(simulator: Simulator) -> None:
    name = await relight(simulator, background_reference=make_picture(shade=9), light_reference=make_picture(shade=99))
    assert await simulator.ledger() == []
    status, body = await result(simulator, name)
    assert (status, opened(body).size) == (200, (128, 96))
    assert await get(simulator, f"v2beta/results/{name}") == (200, body)
    status, answer = await get(simulator, f"v2beta/results/{name}", Accept="application/json")
    assert (status, base64.b64decode(answer["image"])) == (200, body)
    assert [billed["id"] for billed in await simulator.ledger()] == [name]


async def test_a_task_is_not_shown_to_another_key_nor_is_one_that_does_not_exist(simulator: Simulator) -> None:
    name = await relight(simulator)
    for path, key in ((name, "Bearer another-key"), ("0" * 64, AUTH["Authorization"])):
        status, body = await get(simulator, f"v2beta/results/{path}", Authorization=key)
        assert (status, body["name"]) == (404, "generation_not_found")
    assert (await result(simulator, name, Authorization="simulated-key"))[0] == 200


async def test_polling_faster_than_allowed_is_refused(
    start_simulator: Callable[[Options], Awaitable[Simulator]],
) -> None:
    simulator = await start_simulator(Options(latency_s=0, poll_pause_s=60))
    name = await relight(simulator)
    assert (await get(simulator, f"v2beta/results/{name}"))[0] in (200, 202)
    status, body = await get(simulator, f"v2beta/results/{name}")
    assert (status, body["name"], body["id"]) == (429, "rate_limit_exceeded", "rate_limit_exceeded")


async def test_limits_of_the_account_are_answered_429(start_simulator: Callable[[Options], Awaitable[Simulator]]) -> None:
    simulator = await start_simulator(Options(latency_s=60, max_concurrent=1))
    await relight(simulator)
    assert (await refusal(simulator, EDIT, {**WORDS, "image": PICTURE}))[:2] == (429, "rate_limit_exceeded")


async def test_the_balance_falls_by_what_was_billed(simulator: Simulator) -> None:
    assert await get(simulator, "v1/user/balance") == (200, {"credits": 100_000})
    await post(simulator, EDIT, {**WORDS, "image": PICTURE})
    assert await get(simulator, "v1/user/balance") == (200, {"credits": 99_995})


async def test_the_same_seed_gives_the_same_picture_and_none_gives_another(simulator: Simulator) -> None:
    def parts(seed: str) -> Parts:
        return {**WORDS, "image": PICTURE, "seed": seed}

    bodies = [(await post(simulator, EDIT, parts(seed)))[2] for seed in ("5", "5", "0", "0")]
    assert bodies[0] == bodies[1]
    assert len(set(bodies)) == 3


async def test_a_server_that_is_down_answers_nothing_else(simulator: Simulator) -> None:
    await simulator.set_faults(down_s=60)
    assert (await post(simulator, EDIT, {**WORDS, "image": PICTURE}))[0] == 503
