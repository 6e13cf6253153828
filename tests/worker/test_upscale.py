"""Whole enlargements: by a factor, to a size, or as far as the model goes; on every model that makes any."""

from typing import Any

import pytest

from shared.edit import Operation
from shared.job import JobState
from tests import pictures
from tests.simulator_fixtures import Simulator
from tests.worker.edit_bench import EditBench
from tests.worker.edit_fixtures import *  # noqa: F403
from tests.worker.edit_fixtures import OpenBench

SIZE = (301, 200)


@pytest.fixture
async def all_providers(open_bench: OpenBench, simulator: Simulator) -> EditBench:
    """A bench with Stability's and WaveSpeed's keys."""
    names = ("WAVESPEED", "STABILITY")
    access = {f"{name}_{key}": value for name in names for key, value in (("API_KEY", "k" * 40), ("BASE_URL", simulator.url))}
    bench: EditBench = await open_bench(provider_env=access)
    return bench


def by(factor: float) -> tuple[int, int]:
    return round(SIZE[0] * factor), round(SIZE[1] * factor)


@pytest.mark.parametrize(
    ("model", "wish", "sent", "delivered"),
    [
        ("image-upscaler", {}, {"target_resolution": "4k"}, (4_096, 2_722)),
        ("image-upscaler", {"options": {"factor": 2.5}}, {"target_resolution": "2k"}, by(2.5)),
        ("image-upscaler", {"options": {"factor": 7}}, {"target_resolution": "4k"}, by(7)),
        ("image-upscaler", {"size": "5000x3322"}, {"target_resolution": "8k"}, (5_000, 3_322)),
        ("image-upscaler", {"options": {"target_resolution": "2k"}}, {"target_resolution": "2k"}, (2_048, 1_361)),
        ("stability-upscale-fast", {"options": {"factor": 3}}, {}, by(3)),
        ("stability-upscale-conservative", {"options": {"factor": 2}, "prompt": "a cup"}, {}, by(2)),
        ("local-upscale", {}, {}, by(2)),
        ("local-upscale", {"options": {"factor": 4}}, {"factor": 4}, by(4)),
        ("local-upscale", {"options": {"factor": 2.5}}, {"factor": 3}, by(2.5)),
        ("local-upscale", {"size": "602x400"}, {"factor": 2}, (602, 400)),
    ],
)
async def test_an_enlargement_comes_to_exactly_what_was_asked_for(
    all_providers: EditBench, model: str, wish: dict[str, Any], sent: dict[str, Any], delivered: tuple[int, int]
) -> None:
    bench, seen = all_providers, []
    provider = bench.providers[bench.catalog.models[model].provider]
    submit = provider.submit

    async def watched(edit: Any) -> Any:
        seen.append(dict(edit.parameters))
        return await submit(edit)

    provider.submit = watched  # type: ignore[method-assign]
    photo = pictures.encoded(pictures.photo(size=SIZE), "PNG")
    await bench.accept(photo, **{"model": model, "operation": Operation.UPSCALE, "prompt": None, **wish})
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED, record.course.error
    assert pictures.opened(await bench.output(record)).size == delivered
    assert record.course.estimated_usd == float(bench.catalog.models[model].price.base)
    (parameters,) = seen
    assert {name: value for name, value in parameters.items() if name != "output_format"} == sent
