"""What Hugging Face's router may answer and its simulator has no reason to, and what leaves for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from deploy.simulator.account import Options
from shared.catalog.load import load_catalog
from shared.catalog.model import Model
from shared.edit import Operation
from shared.errors import (
    ProviderAmbiguous,
    ProviderBadOutput,
    ProviderError,
    ProviderModelGone,
    ProviderModerated,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTransient,
    ProviderUnusable,
)
from tests.simulator_fixtures import Simulator, http, make_picture, picture_server, serving, start_simulator
from worker.providers.base import AdaptedEdit, Done, Failed, Pending, Source
from worker.providers.huggingface import HuggingFace

__all__ = ["http", "picture_server", "start_simulator"]

KEY = "hf_a-key-that-must-not-be-seen"
LINK = Source("image/png", 96, 64, "https://storage.invalid/input.png?X-Amz-Signature=secret", None)
QUEUE, PREDICTION = (load_catalog().models[name] for name in ("qwen-image-edit", "flux-kontext-dev"))
FORWARDED = load_catalog().models["qwen-edit"].model_copy(update={"path": "wavespeed/wavespeed-ai/qwen-image/edit"})
QUEUE_TASK = "fal-ai/fal-ai/qwen-image-edit/requests/0123"
PREDICTION_TASK = "replicate/v1/predictions/0123"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answering = Callable[[Answer], Awaitable[HuggingFace]]

each_wire = pytest.mark.parametrize("model", [QUEUE, PREDICTION, FORWARDED], ids=["queue", "prediction", "forwarded"])


def edit_of(model: Model, **parameters: Any) -> AdaptedEdit:
    return AdaptedEdit("0123456789abcdef", model, Operation.GENERAL_EDIT, "make it blue", parameters, (LINK,))


@pytest.fixture
async def answering(http: aiohttp.ClientSession) -> AsyncIterator[Answering]:
    """A HuggingFace whose router gives this answer to everything; `submit_timeout_s` is short."""
    async with AsyncExitStack() as stack:

        async def start(answer: Answer) -> HuggingFace:
            app = web.Application(client_max_size=64 * 1024 * 1024)
            app.add_routes([web.route("*", "/{path:.*}", answer)])
            url = await stack.enter_async_context(serving(app))
            return HuggingFace(api_key=KEY, base_url=url, http=http, submit_timeout_s=0.3)

        yield start


def always(status: int, body: str, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers=headers)

    return answer


@each_wire
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, "{}", ProviderAmbiguous),
        (200, "<html>ok</html>", ProviderAmbiguous),
        (200, "[]", ProviderAmbiguous),
        (202, "", ProviderAmbiguous),
        (200, "x" * 5_000_000, ProviderAmbiguous),
        (301, "", ProviderUnusable),
        (302, "", ProviderUnusable),
        (402, '{"error": "You have exceeded your monthly included credits"}', ProviderUnusable),
        (402, '{"error": "Pay-as-you go is not enabled for provider X yet."}', ProviderModelGone),
        (400, '{"error": "Model not supported by provider X"}', ProviderModelGone),
        (400, '{"error": "the prompt holds sensitive information"}', ProviderModerated),
        (418, "", ProviderTransient),
        (503, '{"error": "moderation backend is down"}', ProviderTransient),
    ],
)
async def test_every_shape_of_answer_to_a_submit_has_its_class(
    answering: Answering, model: Model, status: int, body: str, expected: type[ProviderError]
) -> None:
    provider = await answering(always(status, body, Location="https://elsewhere.invalid/"))
    with pytest.raises(ProviderError) as caught:
        await provider.submit(edit_of(model))
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"detail": [{"loc": ["body"], "msg": "no", "type": "content_policy_violation"}]}', ProviderModerated),
        ('{"detail": [{"loc": ["body"], "msg": "no", "type": "image_too_large"}]}', ProviderRefused),
        ('{"detail": [{"loc": ["body"], "msg": "no", "type": "no_media_generated"}]}', ProviderBadOutput),
        ('{"detail": [{"loc": ["body"], "msg": "no", "type": "downstream_service_error"}]}', ProviderTransient),
        ('{"detail": "Unprocessable"}', ProviderRefused),
        ('{"detail": []}', ProviderRefused),
        ('{"error": {"message": "NSFW"}}', ProviderModerated),
    ],
)
async def test_the_type_of_a_queues_error_decides_and_else_its_status(
    answering: Answering, body: str, expected: type[ProviderError]
) -> None:
    with pytest.raises(ProviderError) as caught:
        await (await answering(always(422, body))).submit(edit_of(QUEUE))
    assert type(caught.value) is expected


@each_wire
async def test_a_submit_that_is_never_answered_is_ambiguous(answering: Answering, model: Model) -> None:
    released = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    provider = await answering(answer)
    with pytest.raises(ProviderAmbiguous):
        await provider.submit(edit_of(model))
    released.set()


@each_wire
async def test_an_error_text_shows_neither_key_nor_addresses(answering: Answering, model: Model) -> None:
    async def answer(request: web.Request) -> web.Response:
        said = f"{request.headers['Authorization']} may not load {LINK.url} " + "x" * 9_999
        return web.json_response({"error": said}, status=400)

    with pytest.raises(ProviderRefused) as caught:
        await (await answering(answer)).submit(edit_of(model))
    for hidden in (KEY, "http", "Signature"):
        assert hidden not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "response_url",
    [
        "https://elsewhere.invalid/../../v1/secrets",
        "https://queue.fal.run/fal-ai/../../requests/0123",
        "https://queue.fal.run/fal-ai/qwen-image-edit/requests/0123/../../x",
        "https://queue.fal.run/",
        "http://[::1",
        None,
        5,
    ],
)
async def test_an_address_that_is_no_tasks_is_never_followed(answering: Answering, response_url: Any) -> None:
    body = json.dumps({"request_id": "0123", "response_url": response_url, "status": "IN_QUEUE"})
    with pytest.raises(ProviderAmbiguous):
        await (await answering(always(200, body))).submit(edit_of(QUEUE))


async def test_the_key_goes_to_the_router_even_if_an_answer_names_another_host(answering: Answering) -> None:
    seen: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs))
        if request.method == "POST":
            url = "https://elsewhere.invalid:1/fal-ai/qwen-image-edit/requests/0123?steal=1"
            return web.json_response({"request_id": "0123", "response_url": url})
        if request.path.endswith("/status"):
            return web.json_response({"status": "COMPLETED"})
        return web.json_response({"images": [{"url": "https://cdn.invalid/1.png"}]})

    provider = await answering(answer)
    outcome = await provider.submit(edit_of(QUEUE))
    assert isinstance(outcome, Pending)
    done = await provider.poll(outcome.task_id)
    assert isinstance(done, Done)
    assert done.url == "https://cdn.invalid/1.png"
    assert seen == [
        ("POST", "/fal-ai/fal-ai/qwen-image-edit?_subdomain=queue"),
        ("GET", "/fal-ai/fal-ai/qwen-image-edit/requests/0123/status?_subdomain=queue"),
        ("GET", "/fal-ai/fal-ai/qwen-image-edit/requests/0123?_subdomain=queue"),
    ]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"images": None}, ProviderBadOutput),
        (200, {"images": [{}]}, ProviderBadOutput),
        (200, {"images": [{"url": "iVBORw0KGgo="}]}, ProviderBadOutput),
        (200, {"images": [{"url": "https://cdn.invalid/1.png"}], "has_nsfw_concepts": [True]}, ProviderModerated),
        (422, {"detail": [{"type": "content_policy_violation"}]}, ProviderModerated),
        (422, {"detail": "no"}, ProviderRefused),
        (500, {"detail": [{"type": "internal_server_error", "msg": "x"}]}, ProviderTransient),
        (404, {}, ProviderTransient),
    ],
)
async def test_a_completed_task_of_the_queue_has_succeeded_only_if_its_result_says_so(
    answering: Answering, status: int, body: dict[str, Any], expected: type[ProviderError]
) -> None:
    async def answer(request: web.Request) -> web.Response:
        is_status = request.path.endswith("/status")
        return web.json_response({"status": "COMPLETED"} if is_status else body, status=200 if is_status else status)

    failed = await (await answering(answer)).poll(QUEUE_TASK)
    assert isinstance(failed, Failed)
    assert type(failed.error) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, ProviderUnusable), (429, ProviderRateLimited), (503, ProviderTransient), (500, ProviderTransient)],
)
async def test_a_router_that_cannot_hand_out_a_result_now_does_not_end_the_task(
    answering: Answering, status: int, expected: type[ProviderError]
) -> None:
    async def answer(request: web.Request) -> web.Response:
        is_status = request.path.endswith("/status")
        return web.json_response({"status": "COMPLETED"} if is_status else {"error": "x"}, status=200 if is_status else status)

    with pytest.raises(expected):
        await (await answering(answer)).poll(QUEUE_TASK)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"status": "COMPLETED", "error": "no", "error_type": "generation_timeout"}, ProviderTransient),
        ({"status": "COMPLETED", "error": "no", "error_type": "image_too_small"}, ProviderRefused),
        ({"status": "FAILED"}, ProviderTransient),
        ({"status": "CANCELED"}, ProviderTransient),
    ],
)
async def test_a_task_of_the_queue_may_say_that_it_failed(
    answering: Answering, state: dict[str, Any], expected: type[ProviderError]
) -> None:
    failed = await (await answering(always(200, json.dumps(state)))).poll(QUEUE_TASK)
    assert isinstance(failed, Failed)
    assert type(failed.error) is expected
    assert failed.error.billed in (None, False)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ({"status": "succeeded", "output": None}, ProviderBadOutput),
        ({"status": "succeeded", "output": []}, ProviderBadOutput),
        ({"status": "succeeded", "output": "no address"}, ProviderBadOutput),
        ({"status": "failed", "error": "NSFW content detected"}, ProviderModerated),
        ({"status": "failed", "error": "The input was flagged as sensitive (E005)"}, ProviderModerated),
        ({"status": "failed", "error": "CUDA out of memory"}, ProviderTransient),
        ({"status": "failed", "error": None}, ProviderTransient),
        ({"status": "aborted"}, ProviderTransient),
    ],
)
async def test_every_shape_of_an_ended_prediction_has_its_class(
    answering: Answering, prediction: dict[str, Any], expected: type[ProviderError]
) -> None:
    failed = await (await answering(always(200, json.dumps(prediction)))).poll(PREDICTION_TASK)
    assert isinstance(failed, Failed)
    assert type(failed.error) is expected


async def test_a_prediction_that_ends_while_the_router_holds_the_call_is_done_at_once(
    start_simulator: Callable[[Options], Awaitable[Simulator]], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    simulator = await start_simulator(Options(latency_s=0))
    file = tmp_path / "input.png"
    file.write_bytes(make_picture(640, 480, compress_level=0))
    provider = HuggingFace(api_key=KEY, base_url=simulator.url, http=http)
    source = Source("image/png", 640, 480, None, file)
    done = await provider.submit(replace(edit_of(PREDICTION, output_format="png"), images=(source,)))
    assert isinstance(done, Done)
    assert done.url is not None
    assert provider.may_fetch(done.url)
    assert str(done.raw["task_id"]).startswith("replicate/v1/predictions/")


@pytest.mark.parametrize(
    ("model", "parameters", "path", "expected"),
    [
        (
            QUEUE,
            {"image_size": "1024*768", "seed": 5},
            "/fal-ai/fal-ai/qwen-image-edit",
            {"prompt": "make it blue", "image_url": LINK.url, "image_size": {"width": 1024, "height": 768}, "seed": 5},
        ),
        (
            QUEUE.model_copy(update={"path": "fal-ai/fal-ai/flux-2/klein/9b/edit", "image_parameter": "image_urls"}),
            {},
            "/fal-ai/fal-ai/flux-2/klein/9b/edit",
            {"prompt": "make it blue", "image_urls": [LINK.url]},
        ),
        (
            PREDICTION,
            {"guidance": 2.0},
            "/replicate/v1/models/black-forest-labs/flux-kontext-dev/predictions",
            {"input": {"prompt": "make it blue", "input_image": LINK.url, "guidance": 2.0}},
        ),
        (
            PREDICTION.model_copy(update={"path": "replicate/someone/edits:0abc"}),
            {},
            "/replicate/v1/predictions",
            {"input": {"prompt": "make it blue", "input_image": LINK.url}, "version": "0abc"},
        ),
        (
            FORWARDED,
            {"size": "512*512"},
            "/wavespeed/api/v3/wavespeed-ai/qwen-image/edit",
            {"prompt": "make it blue", "image": LINK.url, "size": "512*512"},
        ),
    ],
    ids=["queue", "queue of several", "prediction", "prediction by version", "forwarded"],
)
async def test_what_leaves_is_what_the_sub_provider_takes_and_nothing_else(
    answering: Answering, model: Model, parameters: dict[str, Any], path: str, expected: dict[str, Any]
) -> None:
    seen: list[tuple[str, Any, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.path, await request.json(), request.headers["Authorization"]))
        return web.Response(status=503)

    with pytest.raises(ProviderTransient):
        await (await answering(answer)).submit(edit_of(model, **parameters))
    assert seen == [(path, expected, f"Bearer {KEY}")]
