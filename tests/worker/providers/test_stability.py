"""Stability's forms as they leave, and answers that its simulator has no reason to give, each with the class it becomes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from shared.catalog.load import load_catalog
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
from tests.simulator_fixtures import Simulator, make_picture, opened, serving, simulator, start_simulator
from worker.providers.base import AdaptedEdit, Done, Failed, Outcome, Pending, Source
from worker.providers.stability import Stability

__all__ = ["simulator", "start_simulator"]

KEY = "a-key-that-must-not-be-seen"
CALL_ID = "0123456789abcdef"
MIB = 1024 * 1024
MODELS = {model.id: model for model in load_catalog().providers["stability"].models}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answering = Callable[[Answer], Awaitable[Stability]]
Make = Callable[..., AdaptedEdit]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def answering(http: aiohttp.ClientSession) -> AsyncIterator[Answering]:
    """A Stability whose server gives this answer to everything; `submit_timeout_s` is short."""
    async with AsyncExitStack() as stack:

        async def start(answer: Answer) -> Stability:
            app = web.Application()
            app.add_routes([web.route("*", "/{path:.*}", answer)])
            url = await stack.enter_async_context(serving(app))
            return Stability(api_key=KEY, base_url=url, http=http, picture_max_bytes=MIB, submit_timeout_s=0.3)

        yield start


@pytest.fixture
def real(http: aiohttp.ClientSession, simulator: Simulator) -> Stability:
    """Against the simulator."""
    return Stability(api_key=KEY, base_url=simulator.url, http=http, picture_max_bytes=64 * MIB)


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Source]:
    """A picture in a file; `size`: of the file in bytes, if it does not matter what is in it."""

    def make(name: str = "input", *, size: int | None = None) -> Source:
        file = tmp_path / f"{name}.png"
        if size is None:
            file.write_bytes(make_picture(128, 96, shade=len(name)))
        else:
            with file.open("wb") as target:
                target.truncate(size)
        return Source("image/png", 128, 96, None, file)

    return make


@pytest.fixture
def edit(source: Callable[..., Source]) -> Make:
    """An edit by the model with this short name."""

    def make(name: str = "search-recolor", *, prompt: str | None = "make it blue", **given: Any) -> AdaptedEdit:
        model = MODELS[f"stability-{name}"]
        if name == "search-recolor":
            given.setdefault("parameters", {"select_prompt": "the cup"})
        return AdaptedEdit(CALL_ID, model, model.operations[0], prompt, **{"parameters": {}, "images": (source(),), **given})

    return make


async def ended(provider: Stability, outcome: Outcome) -> Outcome:
    """What the task comes to, polled without its pause."""
    async with asyncio.timeout(10):
        while isinstance(outcome, Pending):
            await asyncio.sleep(0.01)
            outcome = await provider.poll(outcome.task_id)
    return outcome


def picture(**headers: str) -> Answer:
    """Answers one pixel's worth of a picture, with these headers."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"picture", headers={"Content-Type": "image/png", **headers})

    return answer


def said(status: int, body: str, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers=headers)

    return answer


def error(status: int, name: str, *errors: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"id": "1", "name": name, "errors": list(errors)}, status=status)

    return answer


WHOLE_FORMS: list[tuple[str, dict[str, Any], set[str]]] = [
    (
        "inpaint",
        {"grow_mask": 7, "negative_prompt": "dogs", "seed": 5, "style_preset": "anime", "output_format": "webp"},
        {"prompt=make it blue", "grow_mask=7", "negative_prompt=dogs", "seed=5", "style_preset=anime", "output_format=webp"},
    ),
    ("outpaint", {"left": 8, "creativity": 0.25}, {"prompt=make it blue", "left=8", "creativity=0.25"}),
    ("remove-background", {"output_format": "png"}, {"output_format=png"}),
    ("search-replace", {"search_prompt": "a cup"}, {"prompt=make it blue", "search_prompt=a cup"}),
    ("search-recolor", {"select_prompt": "a cup"}, {"prompt=make it blue", "select_prompt=a cup"}),
    (
        "relight",
        {"keep_original_background": True, "light_source_direction": "left", "light_source_strength": 0.5},
        {
            "background_prompt=make it blue",
            "keep_original_background=true",
            "light_source_direction=left",
            "light_source_strength=0.5",
        },
    ),
    ("erase", {"seed": 3}, {"seed=3"}),
    ("upscale-fast", {}, set()),
    ("upscale-conservative", {"creativity": 0.2}, {"prompt=make it blue", "creativity=0.2"}),
]


def test_every_operation_is_tried() -> None:
    assert {f"stability-{name}" for name, _, _ in WHOLE_FORMS} == MODELS.keys()


@pytest.mark.parametrize(("name", "parameters", "texts"), WHOLE_FORMS, ids=[name for name, _, _ in WHOLE_FORMS])
async def test_a_form_holds_the_pictures_with_name_and_type_and_the_fields_as_text(
    real: Stability,
    simulator: Simulator,
    edit: Make,
    source: Callable[..., Source],
    name: str,
    parameters: dict[str, Any],
    texts: set[str],
) -> None:
    model = MODELS[f"stability-{name}"]
    takes_prompt = any(parameter.field == "prompt" for parameter in model.parameters.values())
    mask = source("mask") if model.mask.kind == "native" else None
    wanted = edit(name, prompt="make it blue" if takes_prompt else None, parameters=parameters, mask=mask)
    done = await ended(real, await real.submit(wanted))
    assert isinstance(done, Done)
    assert done.data is not None
    assert opened(done.data)
    assert done.raw["finish_reason"] == "SUCCESS"
    [billed] = await simulator.ledger()
    names = [model.image_parameter, *(("mask",) if mask else ())]
    assert {part for part in billed["inputs"] if "=@" not in part} == texts
    pictures = [part.rpartition(";")[0] for part in billed["inputs"] if "=@" in part]
    assert pictures == [f"{field}=@{CALL_ID}-{field}.png;image/png" for field in names]


async def test_relighting_sends_both_references_under_stabilitys_names(
    real: Stability, simulator: Simulator, edit: Make, source: Callable[..., Source]
) -> None:
    others = {"background_image": source("background"), "lighting_image": source("lighting")}
    outcome = await real.submit(edit("relight", prompt=None, others=others))
    assert isinstance(outcome, Pending)
    assert outcome.check_after_s == 10
    assert isinstance(await ended(real, outcome), Done)
    [billed] = await simulator.ledger()
    assert [part.partition("=")[0] for part in billed["inputs"]] == ["subject_image", "background_reference", "light_reference"]


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("erase", {"prompt": "no such field"}, "declares no parameter prompt"),
        ("search-recolor", {"parameters": {}}, "needs select_prompt"),
        ("search-recolor", {"parameters": {"select_prompt": "x", "mode": "y"}}, "declares no parameter mode"),
        ("inpaint", {"prompt": None}, "needs prompt"),
        ("relight", {"prompt": None}, "needs a prompt or a background picture"),
        ("relight", {"prompt": None, "others": ("lighting_image",)}, "needs a prompt or a background picture"),
        ("relight", {"parameters": {"light_source_direction": "left"}, "others": ("lighting_image",)}, "not both"),
        ("erase", {"prompt": None, "others": ("background_image",)}, "takes no background_image"),
    ],
)
async def test_what_the_operation_cannot_do_never_leaves(
    real: Stability,
    simulator: Simulator,
    edit: Make,
    source: Callable[..., Source],
    name: str,
    given: dict[str, Any],
    reason: str,
) -> None:
    others = {role: source(role) for role in given.pop("others", ())}
    with pytest.raises(ProviderRefused, match=reason):
        await real.submit(edit(name, **given, others=others))
    assert await simulator.ledger() == []


async def test_pictures_over_10_mib_together_never_leave(answering: Answering, edit: Make, source: Callable[..., Source]) -> None:
    came = []

    async def answer(request: web.Request) -> web.Response:
        came.append(request)
        return web.Response()

    large = {"images": (source("large", size=5 * MIB),), "mask": source("mask", size=5 * MIB)}
    with pytest.raises(ProviderRefused, match="10485760"):
        await (await answering(answer)).submit(edit("inpaint", **large))
    assert came == []


@pytest.mark.parametrize(
    ("answer", "expected", "billed"),
    [
        (picture(), ProviderBadOutput, None),
        (picture(**{"finish-reason": "ERROR"}), ProviderBadOutput, None),
        (picture(**{"finish-reason": "CONTENT_FILTERED"}), ProviderModerated, True),
        (said(200, '{"image": "aGk=", "finish_reason": "SUCCESS"}'), ProviderBadOutput, None),
        (said(200, "<html>log in</html>"), ProviderBadOutput, None),
        (said(202, ""), ProviderBadOutput, None),
        (said(301, "", Location="https://elsewhere.invalid/"), ProviderUnusable, False),
        (said(400, "[]"), ProviderRefused, False),
        (said(403, "<html>blocked</html>"), ProviderUnusable, False),
        (said(418, ""), ProviderTransient, False),
        (error(401, "unauthorized"), ProviderUnusable, False),
        (error(402, "payment_required", "You lack sufficient credits"), ProviderUnusable, False),
        (error(403, "content_moderation", "flagged"), ProviderModerated, False),
        (error(422, "public_figure", "likeness"), ProviderModerated, False),
        (error(422, "invalid_language", "English only"), ProviderRefused, False),
        (error(413, "payload_too_large"), ProviderRefused, False),
        (error(500, "internal_error"), ProviderTransient, False),
        (error(500, "content_moderation", "its backend is down"), ProviderTransient, False),
        (said(200, "x" * (MIB + 1), **{"finish-reason": "SUCCESS"}), ProviderAmbiguous, None),
    ],
)
async def test_every_shape_of_answer_has_its_class(
    answering: Answering, edit: Make, answer: Answer, expected: type[ProviderError], billed: bool | None
) -> None:
    with pytest.raises(ProviderError) as caught:
        await (await answering(answer)).submit(edit())
    assert (type(caught.value), caught.value.billed) == (expected, billed)


@pytest.mark.parametrize("body", ["{}", "[]", "no json", '{"id": ""}', '{"id": 5}'])
async def test_an_accepted_task_without_a_name_is_ambiguous(answering: Answering, edit: Make, body: str) -> None:
    with pytest.raises(ProviderAmbiguous):
        await (await answering(said(200, body))).submit(edit("relight"))


async def test_a_paid_call_that_is_never_answered_is_ambiguous_and_is_not_found(answering: Answering, edit: Make) -> None:
    released = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    provider = await answering(answer)
    with pytest.raises(ProviderAmbiguous) as caught:
        await provider.submit(edit())
    assert caught.value.billed is None
    assert await provider.find(CALL_ID, MODELS["stability-erase"], submitted_at_ms=0) is None
    released.set()


async def test_a_picture_that_breaks_off_is_ambiguous(answering: Answering, edit: Make) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Length": "1000", "finish-reason": "SUCCESS"})
        await stream.prepare(request)
        await stream.write(b"half a picture")
        assert request.transport is not None
        request.transport.close()
        return stream

    with pytest.raises(ProviderAmbiguous):
        await (await answering(answer)).submit(edit())


@pytest.mark.parametrize(("headers", "expected"), [({}, 60.0), ({"Retry-After": "7"}, 7.0), ({"Retry-After": "soon"}, 60.0)])
async def test_too_many_requests_are_waited_out_for_a_minute_unless_the_answer_knows_better(
    answering: Answering, edit: Make, headers: Mapping[str, str], expected: float
) -> None:
    with pytest.raises(ProviderRateLimited) as caught:
        await (await answering(said(429, "{}", **headers))).submit(edit())
    assert caught.value.retry_after_s == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (picture(**{"finish-reason": "CONTENT_FILTERED"}), ProviderModerated),
        (picture(), ProviderBadOutput),
        (error(403, "content_moderation"), ProviderModerated),
        (error(400, "bad_request"), ProviderRefused),
        (error(404, "generation_not_found"), ProviderTransient),
    ],
)
async def test_a_task_that_ended_without_a_picture_has_failed(
    answering: Answering, answer: Answer, expected: type[ProviderError]
) -> None:
    failed = await (await answering(answer)).poll("0" * 64)
    assert isinstance(failed, Failed)
    assert type(failed.error) is expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (error(500, "internal_error"), ProviderTransient),
        (said(504, ""), ProviderTransient),
        (error(402, "payment_required"), ProviderUnusable),
        (error(429, "rate_limit_exceeded"), ProviderRateLimited),
    ],
)
async def test_a_task_that_cannot_be_looked_at_has_not_failed(
    answering: Answering, answer: Answer, expected: type[ProviderError]
) -> None:
    with pytest.raises(ProviderError) as caught:
        await (await answering(answer)).poll("0" * 64)
    assert type(caught.value) is expected


async def test_an_error_text_shows_neither_key_nor_addresses(answering: Answering, edit: Make) -> None:
    async def answer(request: web.Request) -> web.Response:
        words = f"{request.headers['Authorization']} may not use https://storage.invalid/x?Signature=1 " + "x" * 9_999
        return web.json_response({"name": "bad_request", "errors": [words]}, status=400)

    with pytest.raises(ProviderRefused) as caught:
        await (await answering(answer)).submit(edit())
    for hidden in (KEY, "http", "Signature"):
        assert hidden not in str(caught.value)
    assert len(str(caught.value)) < 400
