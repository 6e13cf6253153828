"""Answers of WaveSpeed that its simulator has no reason to give, each with the class that it has to become."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from shared.catalog.load import load_catalog
from shared.edit import Operation
from shared.errors import (
    ProviderAmbiguous,
    ProviderBadOutput,
    ProviderError,
    ProviderModerated,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTransient,
    ProviderUnusable,
)
from tests.simulator_fixtures import make_picture, serving
from worker.providers.base import AdaptedEdit, Failed, Source
from worker.providers.wavespeed import WaveSpeed

KEY = "a-key-that-must-not-be-seen"
LINK = Source("image/png", 96, 64, "https://storage.invalid/input.png?X-Amz-Signature=secret", None)
MODEL = load_catalog().models["qwen-edit"]
EDIT = AdaptedEdit("0123456789abcdef", MODEL, Operation.GENERAL_EDIT, "make it blue", {}, (LINK,))

Answering = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[WaveSpeed]]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def answering(http: aiohttp.ClientSession) -> AsyncIterator[Answering]:
    """A WaveSpeed whose server gives this answer to everything; `submit_timeout_s` is short."""
    async with AsyncExitStack() as stack:

        async def start(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> WaveSpeed:
            app = web.Application()
            app.add_routes([web.route("*", "/{path:.*}", answer)])
            url = await stack.enter_async_context(serving(app))
            return WaveSpeed(api_key=KEY, base_url=url, http=http, submit_timeout_s=0.3)

        yield start


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, '{"code": 200, "message": "success", "data": {}}', ProviderAmbiguous),
        (200, '{"code": 200, "message": "success"}', ProviderAmbiguous),
        (200, "<html>ok</html>", ProviderAmbiguous),
        (200, "[]", ProviderAmbiguous),
        (202, "", ProviderAmbiguous),
        (200, "x" * 5_000_000, ProviderAmbiguous),
        (200, '{"code": 429, "message": "slow down"}', ProviderRateLimited),
        (200, '{"code": 1407, "message": "no credits"}', ProviderUnusable),
        (200, '{"code": 500, "message": "oops"}', ProviderTransient),
        (400, '{"error": "Insufficient balance for this model"}', ProviderUnusable),
        (400, '{"code": 1200, "message": "no"}', ProviderModerated),
        (400, '{"error": "the prompt holds sensitive information"}', ProviderModerated),
        (400, '{"message": ["not", "a", "text"]}', ProviderRefused),
        (500, '{"error": "moderation backend is down"}', ProviderTransient),
        (301, "", ProviderUnusable),
        (418, "", ProviderTransient),
    ],
)
async def test_every_shape_of_answer_to_a_submit_has_its_class(
    answering: Answering,
    status: int,
    body: str,
    expected: type[ProviderError],
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers={"Location": "https://elsewhere.invalid/"} if status == 301 else {})

    with pytest.raises(ProviderError) as caught:
        await (await answering(answer)).submit(EDIT)
    assert type(caught.value) is expected


async def test_a_submit_that_is_never_answered_is_ambiguous(answering: Answering) -> None:
    released = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    provider = await answering(answer)
    with pytest.raises(ProviderAmbiguous):
        await provider.submit(EDIT)
    released.set()


async def test_an_error_text_shows_neither_key_nor_addresses(answering: Answering) -> None:
    async def answer(request: web.Request) -> web.Response:
        image = (await request.json())["image"]
        return web.json_response(
            {"message": f"{request.headers['Authorization']} may not load {image} " + "x" * 9_999}, status=400
        )

    with pytest.raises(ProviderRefused) as caught:
        await (await answering(answer)).submit(EDIT)
    for hidden in (KEY, "http", "Signature"):
        assert hidden not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"status": "completed", "outputs": None}, ProviderBadOutput),
        ({"status": "completed", "outputs": ["iVBORw0KGgo="]}, ProviderBadOutput),
        ({"status": "completed", "outputs": [{"type": "image"}]}, ProviderBadOutput),
        ({"status": "failed"}, ProviderTransient),
        ({"status": "failed", "code": "1200", "error": "sensitive information"}, ProviderModerated),
        ({"status": "failed", "error": "insufficient credits"}, ProviderUnusable),
    ],
)
async def test_every_shape_of_an_ended_task_has_its_class(
    answering: Answering, data: dict[str, Any], expected: type[ProviderError]
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"code": 200, "data": data})

    failed = await (await answering(answer)).poll("0" * 32)
    assert isinstance(failed, Failed)
    assert type(failed.error) is expected


async def test_an_upload_never_goes_where_a_forged_ticket_leads(answering: Answering, tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.Response:
        upload = {"method": "PUT", "url": "http://169.254.169.254/latest", "headers": {}}
        return web.json_response({"code": 200, "data": {"download_url": "https://x.invalid/a", "upload": upload}})

    file = tmp_path / "input.png"
    file.write_bytes(make_picture())
    with pytest.raises(ProviderTransient, match="not safe"):
        await (await answering(answer)).submit(replace(EDIT, images=(Source("image/png", 96, 64, None, file),)))
