"""What becomes of a paid call whose answer was lost: found by its name where the provider keeps a history, else unknown."""

import time
from collections.abc import Awaitable, Callable

import pytest

from deploy.simulator.account import Options
from shared.catalog.model import Model
from shared.errors import ProviderAmbiguous
from tests.contract.conftest import CALL_ID, Open
from tests.contract.subjects import SUBJECTS, WITH_HISTORY
from tests.contract.test_providers import ended, picture_of
from tests.simulator_fixtures import Simulator
from worker.providers.base import AdaptedEdit, Pending, Provider, Source

WITHOUT_HISTORY = {name: subject for name, subject in SUBJECTS.items() if name not in WITH_HISTORY}

with_history = pytest.mark.parametrize("subject", WITH_HISTORY.values(), ids=WITH_HISTORY.keys(), indirect=True)
without_history = pytest.mark.parametrize("subject", WITHOUT_HISTORY.values(), ids=WITHOUT_HISTORY.keys(), indirect=True)


@without_history
async def test_a_lost_answer_is_not_found_where_there_is_no_history(
    provider: Provider, edit: Callable[..., AdaptedEdit], model: Model
) -> None:
    with pytest.raises(ProviderAmbiguous) as caught:
        await provider.submit(edit("lost-answer"))
    assert caught.value.billed is None
    assert not provider.has_history
    assert await provider.find(CALL_ID, model, submitted_at_ms=0) is None


@with_history
async def test_a_lost_answer_is_found_again_by_the_calls_name(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], model: Model
) -> None:
    before_ms = int(time.time() * 1000)
    with pytest.raises(ProviderAmbiguous):
        await provider.submit(edit("lost-answer"))
    [billed] = await simulator.ledger()
    assert provider.has_history
    task_id = await provider.find(CALL_ID, model, submitted_at_ms=before_ms)
    assert task_id is not None
    assert task_id == billed["id"]
    assert await picture_of(simulator, await ended(provider, Pending(task_id, 0.01)))
    assert await provider.find("f" * 16, model, submitted_at_ms=before_ms) is None
    assert await provider.find(CALL_ID, model, submitted_at_ms=before_ms + 3_600_000) is None


@with_history
async def test_a_lost_answer_is_found_on_a_later_page_of_the_history(
    provider: Provider, simulator: Simulator, edit: Callable[..., AdaptedEdit], model: Model
) -> None:
    with pytest.raises(ProviderAmbiguous):
        await provider.submit(edit("lost-answer"))
    other = Source("image/png", 96, 64, edit().images[0].url.partition("?")[0], None)  # type: ignore[union-attr]
    for _ in range(101):
        await provider.submit(edit(sources=(other,)))
    assert await provider.find(CALL_ID, model, submitted_at_ms=int(time.time() * 1000)) == (await simulator.ledger())[0]["id"]


@with_history
async def test_two_tasks_of_one_call_are_not_told_apart(
    provider: Provider, edit: Callable[..., AdaptedEdit], model: Model
) -> None:
    await provider.submit(edit())
    await provider.submit(edit())
    assert await provider.find(CALL_ID, model, submitted_at_ms=int(time.time() * 1000)) is None


@with_history
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
