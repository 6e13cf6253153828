"""What the worker may expect of every provider over HTTP, tried on the real class against its simulator."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from shared.catalog.load import Catalog, load_catalog
from shared.catalog.model import Model
from shared.edit import Operation
from shared.errors import (
    ProviderAmbiguous,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTransient,
    ProviderUnusable,
)
from shared.pricing import price_usd
from shared.settings import Settings
from tests.contract.conftest import CALL_ID, KEY, Open
from tests.contract.subjects import BY_TASK, GIVING_LINKS, REFUSALS, SUBJECTS, WITH_HISTORY, ErrorClass, Subject
from tests.simulator_fixtures import PictureServer, Simulator, make_picture, opened
from worker.pixel_pool import PixelPool
from worker.providers.base import AdaptedEdit, Done, Failed, Outcome, Pending, Provider, Source
from worker.providers.registry import open_providers

by_task = pytest.mark.parametrize("subject", BY_TASK.values(), ids=BY_TASK.keys(), indirect=True)
giving_links = pytest.mark.parametrize("subject", GIVING_LINKS.values(), ids=GIVING_LINKS.keys(), indirect=True)
with_history = pytest.mark.parametrize("subject", WITH_HISTORY.values(), ids=WITH_HISTORY.keys(), indirect=True)


async def outcome_of(provider: Provider, outcome: Outcome, *, within_s: float = 10.0) -> Done | Failed:
    """Poll until the task ends."""
    async with asyncio.timeout(within_s):
        while isinstance(outcome, Pending):
            await asyncio.sleep(min(outcome.check_after_s, 0.02))
            outcome = await provider.poll(outcome.task_id)
    return outcome


async def ended(provider: Provider, outcome: Outcome) -> Done:
    """Poll until the task succeeds."""
    done = await outcome_of(provider, outcome)
    assert isinstance(done, Done)
    return done


async def run(provider: Provider, edit: AdaptedEdit) -> Done:
    return await ended(provider, await provider.submit(edit))


async def picture_of(simulator: Simulator, done: Done) -> bytes:
    """The result, wherever it is."""
    if done.data is not None:
        return done.data
    assert done.url is not None
    return await download(simulator, done.url)


async def download(simulator: Simulator, url: str) -> bytes:
    async with simulator.http.get(url) as response:
        return await response.read()


async def error_of(provider: Provider, edit: AdaptedEdit) -> ProviderError:
    """What the task fails with, or what `submit` raises where it has the result."""
    try:
        outcome = await outcome_of(provider, await provider.submit(edit))
    except ProviderError as error:
        return error
    assert isinstance(outcome, Failed)
    return outcome.error


def test_every_provider_with_a_key_is_tried_here() -> None:
    with_key = {name for name, entry in load_catalog().providers.items() if entry.needs_key}
    assert {subject.provider for subject in SUBJECTS.values()} == with_key


async def test_an_edit_is_made_and_billed_once(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], model: Model
) -> None:
    wanted = edit(seed=5, output_format="png")
    picture = opened(await picture_of(simulator, await run(provider, wanted)))
    assert picture.format == "PNG"
    assert picture.width / picture.height == pytest.approx(96 / 64, rel=0.01)
    [billed] = await simulator.ledger()
    assert model.path.endswith(billed["model"])
    assert billed["usd"] == pytest.approx(float(price_usd(model, wanted.parameters)))
    assert billed["prompt"].startswith(wanted.prompt)


@by_task
async def test_a_task_is_named_polled_and_done(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit]
) -> None:
    outcome = await provider.submit(edit())
    assert isinstance(outcome, Pending)
    assert 0 < outcome.check_after_s <= 10
    done = await ended(provider, outcome)
    assert done.raw["task_id"] == outcome.task_id
    [billed] = await simulator.ledger()
    assert outcome.task_id.endswith(billed["id"])


@by_task
async def test_a_task_is_resumed_by_another_object_that_knows_only_its_name(
    provider: Provider, open_provider: Open, simulator: Simulator, edit: Callable[..., AdaptedEdit]
) -> None:
    outcome = await provider.submit(edit())
    assert isinstance(outcome, Pending)
    assert await ended(open_provider(simulator.url), Pending(outcome.task_id, 0.01))
    assert len(await simulator.ledger()) == 1


def of_each(kind: str) -> list[Any]:
    """Every subject with every fault of its own table and what it becomes."""
    return [
        pytest.param(subject, fault, expected, id=f"{name}-{fault}")
        for name, subject in SUBJECTS.items()
        for fault, expected in (subject.endings if kind == "endings" else {**REFUSALS, **subject.refusals}).items()
    ]


@pytest.mark.parametrize(("subject", "fault", "expected"), of_each("refusals"), indirect=["subject"])
async def test_an_unaccepted_submit_raises_the_class_that_says_what_to_do(
    provider: Provider, edit: Callable[..., AdaptedEdit], fault: str, expected: ErrorClass
) -> None:
    with pytest.raises(ProviderError) as caught:
        await provider.submit(edit(fault))
    assert type(caught.value) is expected
    assert caught.value.billed is (None if expected is ProviderAmbiguous else False)
    assert_fit_for_the_caller(caught.value)


@pytest.mark.parametrize(("subject", "fault", "expected"), of_each("endings"), indirect=["subject"])
async def test_an_accepted_call_that_ends_badly_has_the_class_that_says_what_to_do(
    provider: Provider, edit: Callable[..., AdaptedEdit], fault: str, expected: ErrorClass
) -> None:
    error = await error_of(provider, edit(fault))
    assert type(error) is expected
    assert_fit_for_the_caller(error)


def assert_fit_for_the_caller(error: ProviderError) -> None:
    """No key, no address, not even in the errors that it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        assert KEY not in str(cause)
        cause = cause.__cause__
    assert "http" not in str(error)
    assert "Signature" not in str(error)


async def test_a_busy_provider_says_when_to_come_back_or_leaves_it_to_what_is_known_of_it(
    provider: Provider, edit: Callable[..., AdaptedEdit], subject: Subject
) -> None:
    for fault, expected in (("429=7s", 7.0), ("429", subject.busy_s)):
        with pytest.raises(ProviderRateLimited) as caught:
            await provider.submit(edit(fault))
        assert caught.value.retry_after_s == expected


async def test_a_submit_that_was_refused_for_a_while_succeeds_afterwards_and_is_billed_once(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit]
) -> None:
    for expected in (ProviderRateLimited, ProviderRateLimited, ProviderTransient):
        with pytest.raises(expected):
            await provider.submit(edit("429*2, 503*1"))
    assert await picture_of(simulator, await run(provider, edit("429*2, 503*1")))
    assert len(await simulator.ledger()) == 1


async def test_a_wrong_key_makes_the_provider_unusable(
    open_provider: Open, simulator: Simulator, edit: Callable[..., AdaptedEdit], subject: Subject
) -> None:
    provider = open_provider(simulator.url, key="invalid-key-0001")
    calls: list[Callable[[], Awaitable[object]]] = [lambda: provider.submit(edit()), lambda: provider.poll(subject.unknown_task)]
    if subject.has_history:
        calls.append(lambda: provider.find(CALL_ID, edit().model, submitted_at_ms=0))
    for call in calls:
        with pytest.raises(ProviderUnusable) as caught:
            await call()
        assert "invalid-key-0001" not in str(caught.value)


async def test_a_provider_without_a_key_is_left_out(provider_name: str, http: aiohttp.ClientSession, pool: PixelPool) -> None:
    catalog = load_catalog()
    only = Catalog(catalog.models, {provider_name: catalog.providers[provider_name]})
    assert open_providers(only, Settings(secret=SecretStr("s" * 32)), http, pool) == {}


@by_task
async def test_polls_that_fail_for_a_while_do_not_harm_the_task(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit]
) -> None:
    outcome = await provider.submit(edit("poll-503*1, poll-429*1"))
    assert isinstance(outcome, Pending)
    for expected in (ProviderTransient, ProviderRateLimited):
        with pytest.raises(expected):
            await provider.poll(outcome.task_id)
    assert await picture_of(simulator, await ended(provider, outcome))


@by_task
async def test_a_task_that_nobody_knows_has_failed_and_is_no_missing_model(provider: Provider, subject: Subject) -> None:
    for task_id in (subject.unknown_task, "../balance"):
        failed = await provider.poll(task_id)
        assert isinstance(failed, Failed)
        assert type(failed.error) is ProviderTransient


async def test_a_slow_call_ends_well(provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit]) -> None:
    assert await picture_of(simulator, await run(provider, edit("slow=0.2s")))


async def test_a_hanging_submit_can_be_broken_off_and_is_not_billed(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit]
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await provider.submit(edit("hang"))
    assert await simulator.ledger() == []


@by_task
async def test_a_slow_task_stays_pending(provider: Provider, edit: Callable[..., AdaptedEdit]) -> None:
    outcome = await provider.submit(edit("slow=60s"))
    assert isinstance(outcome, Pending)
    assert outcome == await provider.poll(outcome.task_id)


@giving_links
async def test_an_undocumented_status_is_polled_on_and_logged_once(
    provider: Provider, edit: Callable[..., AdaptedEdit], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    outcome = await provider.submit(edit("odd-status, slow=60s"))
    assert isinstance(outcome, Pending)
    for _ in range(3):
        assert isinstance(await provider.poll(outcome.task_id), Pending)
    assert [record.getMessage().count("warming-up") for record in caplog.records if "warming" in record.getMessage()] == [1]


@pytest.mark.parametrize("fault", ["truncated", "blank", "placeholder", "echo"])
async def test_a_spoiled_output_is_handed_on_for_inspection(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], fault: str
) -> None:
    assert await picture_of(simulator, await run(provider, edit(fault)))


@giving_links
@pytest.mark.parametrize("fault", ["html", "objects"])
async def test_an_odd_output_is_handed_on_for_inspection(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], fault: str
) -> None:
    assert await picture_of(simulator, await run(provider, edit(fault)))


@with_history
async def test_a_file_without_a_link_is_uploaded_under_the_calls_name(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], tmp_path: Path
) -> None:
    file = tmp_path / "input.png"
    file.write_bytes(make_picture(100, 80))
    done = await run(provider, edit(sources=(Source("image/png", 100, 80, None, file),)))
    assert opened(await picture_of(simulator, done)).size == (100, 80)
    [address] = (await simulator.ledger())[0]["inputs"]
    assert address.startswith(simulator.url)
    assert CALL_ID in address
    assert await download(simulator, address) == file.read_bytes()


@with_history
async def test_a_small_file_goes_inside_the_request_where_uploads_are_refused(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], tmp_path: Path
) -> None:
    await simulator.set_faults(refuse_uploads=True)
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    small.write_bytes(make_picture(100, 80))
    large.write_bytes(b"\0" * (1024 * 1024 + 1))
    assert (await run(provider, edit(sources=(Source("image/png", 100, 80, None, small),)))).url
    assert (await simulator.ledger())[0]["inputs"][0].startswith("data:image/png;base64,")
    with pytest.raises(ProviderUnusable):
        await provider.submit(edit(sources=(Source("image/png", 100, 80, None, large),)))
    assert len(await simulator.ledger()) == 1


@with_history
async def test_a_model_of_several_images_gets_them_in_order(
    provider: Provider, provider_name: str, simulator: Simulator, picture_server: PictureServer
) -> None:
    model = next(model for model in load_catalog().providers[provider_name].models if model.max_images > 1)
    urls = [picture_server.add(f"{number}.png", make_picture(shade=number)) for number in range(model.max_images)]
    sources = tuple(Source("image/png", 96, 64, url, None) for url in urls)
    await run(provider, AdaptedEdit(CALL_ID, model, Operation.GENERAL_EDIT, "merge them", {}, sources))
    assert (await simulator.ledger())[0]["inputs"] == urls


def every_model() -> list[Any]:
    return [
        pytest.param(Subject(entry.provider, model.id), id=model.id)
        for entry in load_catalog().providers.values()
        if entry.needs_key
        for model in entry.models
    ]


@pytest.mark.parametrize("subject", every_model(), indirect=True)
async def test_every_model_of_the_catalogue_takes_its_own_parameters(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], model: Model
) -> None:
    """The catalogue and the simulator's own table were written apart: neither may know a parameter that the other lacks."""
    parameters: dict[str, Any] = {}
    for key, parameter in model.parameters.items():
        if parameter.default is not None or parameter.enum:
            parameters[key] = parameter.default if parameter.default is not None else parameter.enum[0]
        elif parameter.field == "size":
            side = max(model.size.min_side, math.isqrt(model.size.min_pixels - 1) + 1)
            parameters[key] = f"{side}*{side}"
    wanted = edit(**parameters)
    assert opened(await picture_of(simulator, await run(provider, wanted)))
    [billed] = await simulator.ledger()
    assert billed["model"] == model.path
    assert billed["usd"] == pytest.approx(float(price_usd(model, wanted.parameters)))
    if model.mask.kind == "native":
        images = wanted.images
        assert await run(provider, replace(wanted, mask=wanted.mask or images[0]))
        with_mask = (await simulator.ledger())[1]
        assert len(with_mask["inputs"]) > len(images)


async def test_an_undeclared_parameter_never_leaves(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit]
) -> None:
    with pytest.raises(ProviderRefused, match="enable_sync_mode"):
        await provider.submit(edit(enable_sync_mode=True))
    assert await simulator.ledger() == []


@giving_links
async def test_a_mask_that_the_model_does_not_take_is_refused_and_not_left_out(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit]
) -> None:
    wanted = edit()
    with pytest.raises(ProviderRefused, match="mask"):
        await provider.submit(replace(wanted, mask=wanted.images[0]))
    assert await simulator.ledger() == []


async def test_an_unreachable_provider_is_transient_since_nothing_was_sent(
    open_provider: Open, edit: Callable[..., AdaptedEdit], subject: Subject, unused_tcp_port: int
) -> None:
    provider = open_provider(f"http://127.0.0.1:{unused_tcp_port}")
    for call in (provider.submit(edit()), provider.poll(subject.unknown_task)):
        with pytest.raises(ProviderTransient) as caught:
            await call
        assert type(caught.value) is ProviderTransient
        assert_fit_for_the_caller(caught.value)


@giving_links
async def test_only_addresses_on_the_configured_server_may_be_fetched_from_a_private_network(open_provider: Open) -> None:
    provider = open_provider("http://127.0.0.1:9000/prefix")
    assert provider.may_fetch("http://127.0.0.1:9000/output/1.png")
    for other in (
        "https://127.0.0.1:9000/output/1.png",
        "http://127.0.0.1:9001/output/1.png",
        "http://127.0.0.1/output/1.png",
        "http://127.0.0.1:9000@elsewhere.example/1.png",
        "http://localhost:9000/1.png",
        "file:///etc/passwd",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "",
    ):
        assert not provider.may_fetch(other), other
    assert open_provider("https://api.example").may_fetch("https://API.example:443/x")
