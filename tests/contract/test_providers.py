"""What the worker may expect of every provider that works by tasks, tried on the real class against its simulator."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from deploy.simulator.account import Options
from shared.catalog.load import Catalog, load_catalog
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
from shared.settings import Settings
from tests.contract.conftest import CALL_ID, KEY, Open
from tests.simulator_fixtures import PictureServer, Simulator, make_picture, opened
from worker.pixel_pool import PixelPool
from worker.providers.base import AdaptedEdit, Done, Failed, Outcome, Pending, Provider, Source
from worker.providers.registry import open_providers


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


async def download(simulator: Simulator, url: str | None) -> bytes:
    assert url is not None
    async with simulator.http.get(url) as response:
        return await response.read()


async def test_an_edit_is_submitted_polled_and_done(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], model: Model
) -> None:
    outcome = await provider.submit(edit(seed=5, output_format="png"))
    assert isinstance(outcome, Pending)
    assert 0 < outcome.check_after_s <= 10
    done = await ended(provider, outcome)
    assert opened(await download(simulator, done.url)).size == (96, 64)
    assert done.raw["task_id"] == outcome.task_id
    [billed] = await simulator.ledger()
    assert (billed["model"], billed["prompt"], billed["id"]) == (model.path, "make it blue", outcome.task_id)


async def test_a_task_is_resumed_by_another_object_that_knows_only_its_name(
    provider: Provider, open_provider: Open, simulator: Simulator, edit: Callable[..., AdaptedEdit]
) -> None:
    outcome = await provider.submit(edit())
    assert isinstance(outcome, Pending)
    assert await ended(open_provider(simulator.url), Pending(outcome.task_id, 0.01))
    assert len(await simulator.ledger()) == 1


SUBMIT_ERRORS = [
    ("400", ProviderRefused),
    ("401", ProviderUnusable),
    ("402", ProviderUnusable),
    ("403", ProviderUnusable),
    ("404", ProviderModelGone),
    ("422", ProviderRefused),
    ("429", ProviderRateLimited),
    ("500", ProviderTransient),
    ("502", ProviderTransient),
    ("503", ProviderTransient),
    ("504", ProviderAmbiguous),
    ("lost-answer", ProviderAmbiguous),
]
TASK_ERRORS = [
    ("1200", ProviderModerated),
    ("moderated", ProviderModerated),
    ("nsfw", ProviderModerated),
    ("1400", ProviderRefused),
    ("1401", ProviderRefused),
    ("1402", ProviderTransient),
    ("1403", ProviderTransient),
    ("1405", ProviderTransient),
    ("1406", ProviderTransient),
    ("1407", ProviderUnusable),
    ("5000", ProviderTransient),
    ("5003", ProviderTransient),
    ("5004", ProviderTransient),
    ("cancelled", ProviderTransient),
    ("timeout", ProviderTransient),
    ("deleted", ProviderTransient),
    ("no-outputs", ProviderBadOutput),
]


@pytest.mark.parametrize(("fault", "expected"), SUBMIT_ERRORS)
async def test_an_unaccepted_submit_raises_the_class_that_says_what_to_do(
    provider: Provider, edit: Callable[..., AdaptedEdit], fault: str, expected: type[ProviderError]
) -> None:
    with pytest.raises(ProviderError) as caught:
        await provider.submit(edit(fault))
    assert type(caught.value) is expected
    assert caught.value.billed is (None if expected is ProviderAmbiguous else False)
    assert_fit_for_the_caller(caught.value)


@pytest.mark.parametrize(("fault", "expected"), TASK_ERRORS)
async def test_a_task_that_ends_badly_has_failed_with_the_class_that_says_what_to_do(
    provider: Provider, edit: Callable[..., AdaptedEdit], fault: str, expected: type[ProviderError]
) -> None:
    failed = await outcome_of(provider, await provider.submit(edit(fault)))
    assert isinstance(failed, Failed)
    assert type(failed.error) is expected
    assert_fit_for_the_caller(failed.error)


def assert_fit_for_the_caller(error: ProviderError) -> None:
    """No key, no address, not even in the errors that it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        assert KEY not in str(cause)
        cause = cause.__cause__
    assert "http" not in str(error)
    assert "Signature" not in str(error)


@pytest.mark.parametrize(("fault", "expected"), [("429=7s", 7.0), ("429", None)])
async def test_a_busy_provider_says_when_to_come_back_or_nothing(
    provider: Provider, edit: Callable[..., AdaptedEdit], fault: str, expected: float | None
) -> None:
    with pytest.raises(ProviderRateLimited) as caught:
        await provider.submit(edit(fault))
    assert caught.value.retry_after_s == expected


async def test_a_submit_that_was_refused_for_a_while_succeeds_afterwards_and_is_billed_once(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit]
) -> None:
    for expected in (ProviderRateLimited, ProviderRateLimited, ProviderTransient):
        with pytest.raises(expected):
            await provider.submit(edit("429*2, 503*1"))
    assert (await run(provider, edit("429*2, 503*1"))).url
    assert len(await simulator.ledger()) == 1


async def test_a_wrong_key_makes_the_provider_unusable(
    open_provider: Open, simulator: Simulator, edit: Callable[..., AdaptedEdit]
) -> None:
    provider = open_provider(simulator.url, key="invalid-key-0001")
    for call in (provider.submit(edit()), provider.poll("0" * 32), provider.find(CALL_ID, edit().model, submitted_at_ms=0)):
        with pytest.raises(ProviderUnusable) as caught:
            await call
        assert "invalid-key-0001" not in str(caught.value)


async def test_a_provider_without_a_key_is_left_out(provider_name: str, http: aiohttp.ClientSession, pool: PixelPool) -> None:
    catalog = load_catalog()
    only = Catalog(catalog.models, {provider_name: catalog.providers[provider_name]})
    assert open_providers(only, Settings(secret=SecretStr("s" * 32)), http, pool) == {}


async def test_polls_that_fail_for_a_while_do_not_harm_the_task(provider: Provider, edit: Callable[..., AdaptedEdit]) -> None:
    outcome = await provider.submit(edit("poll-503*1, poll-429*1"))
    assert isinstance(outcome, Pending)
    for expected in (ProviderTransient, ProviderRateLimited):
        with pytest.raises(expected):
            await provider.poll(outcome.task_id)
    assert (await ended(provider, outcome)).url


async def test_a_task_that_nobody_knows_has_failed_and_is_no_missing_model(provider: Provider) -> None:
    for task_id in ("f" * 32, "../balance"):
        failed = await provider.poll(task_id)
        assert isinstance(failed, Failed)
        assert type(failed.error) is ProviderTransient


async def test_a_slow_task_stays_pending(provider: Provider, edit: Callable[..., AdaptedEdit]) -> None:
    outcome = await provider.submit(edit("slow=60s"))
    assert isinstance(outcome, Pending)
    assert outcome == await provider.poll(outcome.task_id)


async def test_an_undocumented_status_is_polled_on_and_logged_once(
    provider: Provider, edit: Callable[..., AdaptedEdit], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    outcome = await provider.submit(edit("odd-status, slow=60s"))
    assert isinstance(outcome, Pending)
    for _ in range(3):
        assert isinstance(await provider.poll(outcome.task_id), Pending)
    assert [record.getMessage().count("warming-up") for record in caplog.records if "warming" in record.getMessage()] == [1]


@pytest.mark.parametrize("fault", ["truncated", "html", "blank", "placeholder", "echo", "objects"])
async def test_a_spoiled_output_is_handed_on_for_inspection(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], fault: str
) -> None:
    done = await run(provider, edit(fault))
    assert await download(simulator, done.url)


async def test_a_lost_answer_is_found_again_by_the_calls_name(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], model: Model
) -> None:
    before_ms = int(time.time() * 1000)
    with pytest.raises(ProviderAmbiguous):
        await provider.submit(edit("lost-answer"))
    [billed] = await simulator.ledger()
    task_id = await provider.find(CALL_ID, model, submitted_at_ms=before_ms)
    assert task_id is not None
    assert task_id == billed["id"]
    assert (await ended(provider, Pending(task_id, 0.01))).url
    assert await provider.find("f" * 16, model, submitted_at_ms=before_ms) is None
    assert await provider.find(CALL_ID, model, submitted_at_ms=before_ms + 3_600_000) is None


async def test_a_lost_answer_is_found_on_a_later_page_of_the_history(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], model: Model
) -> None:
    with pytest.raises(ProviderAmbiguous):
        await provider.submit(edit("lost-answer"))
    other = Source("image/png", 96, 64, edit().images[0].url.partition("?")[0], None)  # type: ignore[union-attr]
    for _ in range(101):
        await provider.submit(edit(sources=(other,)))
    assert await provider.find(CALL_ID, model, submitted_at_ms=int(time.time() * 1000)) == (await simulator.ledger())[0]["id"]


async def test_two_tasks_of_one_call_are_not_told_apart(
    provider: Provider, edit: Callable[..., AdaptedEdit], model: Model
) -> None:
    await provider.submit(edit())
    await provider.submit(edit())
    assert await provider.find(CALL_ID, model, submitted_at_ms=int(time.time() * 1000)) is None


async def test_a_lost_answer_stays_unknown_where_the_history_shows_no_inputs(
    open_provider: Open,
    start_simulator: Callable[[Options], Awaitable[Simulator]],
    edit: Callable[..., AdaptedEdit],
    model: Model,
) -> None:
    simulator = await start_simulator(Options(latency_s=0, history_inputs=False))
    provider = open_provider(simulator.url)
    with pytest.raises(ProviderAmbiguous):
        await provider.submit(edit("lost-answer"))
    assert await provider.find(CALL_ID, model, submitted_at_ms=int(time.time() * 1000)) is None


async def test_a_file_without_a_link_is_uploaded_under_the_calls_name(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], tmp_path: Path
) -> None:
    file = tmp_path / "input.png"
    file.write_bytes(make_picture(100, 80))
    done = await run(provider, edit(sources=(Source("image/png", 100, 80, None, file),)))
    assert opened(await download(simulator, done.url)).size == (100, 80)
    [address] = (await simulator.ledger())[0]["inputs"]
    assert address.startswith(simulator.url)
    assert CALL_ID in address
    assert await download(simulator, address) == file.read_bytes()


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


async def test_a_model_of_several_images_gets_them_in_order(
    provider: Provider, provider_name: str, simulator: Simulator, picture_server: PictureServer
) -> None:
    model = next(model for model in load_catalog().providers[provider_name].models if model.max_images > 1)
    urls = [picture_server.add(f"{number}.png", make_picture(shade=number)) for number in range(model.max_images)]
    sources = tuple(Source("image/png", 96, 64, url, None) for url in urls)
    await run(provider, AdaptedEdit(CALL_ID, model, Operation.GENERAL_EDIT, "merge them", {}, sources))
    assert (await simulator.ledger())[0]["inputs"] == urls


async def test_every_model_of_the_catalogue_takes_its_own_parameters(
    provider: Provider, provider_name: str, simulator: Simulator, edit: Callable[..., AdaptedEdit]
) -> None:
    """The catalogue and the simulator's own table were written apart: neither may know a parameter that the other lacks."""
    for model in load_catalog().providers[provider_name].models:
        parameters: dict[str, Any] = {}
        for key, parameter in model.parameters.items():
            if parameter.field != "prompt":
                parameters[key] = parameter.default if parameter.default is not None else (parameter.enum or ("512*512",))[0]
        await run(provider, AdaptedEdit(CALL_ID, model, Operation.GENERAL_EDIT, "make it blue", parameters, edit().images))
    prices = {model.path: float(model.price.base) for model in load_catalog().providers[provider_name].models}
    assert {entry["model"]: entry["usd"] for entry in await simulator.ledger()} == prices


async def test_an_undeclared_parameter_never_leaves(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit]
) -> None:
    with pytest.raises(ProviderRefused, match="enable_sync_mode"):
        await provider.submit(edit(enable_sync_mode=True))
    assert await simulator.ledger() == []


async def test_an_unreachable_provider_is_transient_since_nothing_was_sent(
    open_provider: Open, edit: Callable[..., AdaptedEdit], unused_tcp_port: int
) -> None:
    provider = open_provider(f"http://127.0.0.1:{unused_tcp_port}")
    for call in (provider.submit(edit()), provider.poll("0" * 32)):
        with pytest.raises(ProviderTransient) as caught:
            await call
        assert type(caught.value) is ProviderTransient
        assert_fit_for_the_caller(caught.value)


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
