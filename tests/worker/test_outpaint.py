"""Whole edits that extend a picture, on models that are told only how large their canvas is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from shared.catalog.load import load_catalog
from shared.edit import EditSpec, Operation
from shared.errors import ProviderBadOutput
from shared.geometry import plan_edit
from shared.job import JobRecord, JobState
from tests import pictures
from tests.worker.edit_bench import EditBench
from tests.worker.edit_fixtures import *  # noqa: F403
from worker import canvas

ZOOM, BRIA = "image-zoom-out", "bria-expand"
EXACT = 1.0  # levels of 255 on average, after a PNG that was nowhere scaled
SCALED = 12.0


async def extended(bench: EditBench, model: str, size: tuple[int, int], sides: tuple[int, int, int, int]) -> JobRecord:
    left, right, up, down = sides
    wish: dict[str, Any] = {"expand_left": left, "expand_right": right, "expand_up": up, "expand_down": down}
    photo = pictures.encoded(pictures.photo(size=size), "PNG")
    await bench.accept(photo, model=model, operation=Operation.OUTPAINT, prompt=None, output_format="png", **wish)
    return await bench.work()


@pytest.mark.parametrize(
    ("model", "size", "sides", "sent", "apart"),
    [
        (ZOOM, (600, 400), (37, 0, 111, 3), {"size": "674*622"}, EXACT),
        (ZOOM, (51, 40), (10, 10, 10, 10), {"size": "257*256"}, EXACT),
        (ZOOM, (600, 401), (0, 400, 0, 0), {"size": "1400*401"}, EXACT),
        (BRIA, (600, 600), (0, 200, 0, 0), {"aspect_ratio": "16:9"}, SCALED),
        (BRIA, (600, 601), (30, 31, 0, 0), {"aspect_ratio": "5:4"}, SCALED),
        (BRIA, (600, 400), (0, 0, 90, 60), {"aspect_ratio": "1:1"}, SCALED),
    ],
)
async def test_a_picture_is_extended_by_exactly_the_pixels_that_were_asked_for(
    bench: EditBench,
    model: str,
    size: tuple[int, int],
    sides: tuple[int, int, int, int],
    sent: dict[str, str],
    apart: float,
) -> None:
    record = await extended(bench, model, size, sides)
    assert record.state is JobState.SUCCEEDED, record.course.error
    result = pictures.opened(await bench.output(record)).convert("RGB")
    left, right, up, down = sides
    assert result.size == (size[0] + left + right, size[1] + up + down)
    inner = np.asarray(result.crop((left, up, left + size[0], up + size[1])), int)
    half = np.s_[: size[1] // 2, :]  # There is no mark of the simulator there.
    assert np.abs(inner - np.asarray(pictures.photo(size=size), int))[half].mean() < apart
    (submit,) = await bench.simulator.ledger()
    async with bench.simulator.http.post(
        f"{bench.simulator.url}/api/v3/predictions", json={}, headers={"Authorization": "Bearer simulated-key"}
    ) as answer:
        (task,) = (await answer.json())["data"]["items"]
    assert sent.items() <= task["inputs"].items()
    assert submit["usd"] == pytest.approx(float(bench.catalog.models[model].price.base))


@pytest.mark.parametrize(
    ("model", "sides"),
    [(ZOOM, (500, 0, 0, 0)), (BRIA, (10, 0, 10, 0)), (BRIA, (400, 400, 0, 0))],
    ids=["too large a canvas", "two directions", "too wide an aspect"],
)
async def test_what_a_model_cannot_extend_so_far_is_refused_before_anything_is_paid(
    bench: EditBench, model: str, sides: tuple[int, int, int, int]
) -> None:
    record = await extended(bench, model, (600, 600), sides)
    assert record.course.error is not None
    assert record.course.error.code == "no_capable_model"
    assert "extends a picture evenly" in record.course.error.message
    assert await bench.simulator.ledger() == []


@pytest.mark.parametrize("sample", ["coffee.png", "chelsea.png", "astronaut.png"])
@pytest.mark.parametrize(
    ("place", "fits"), [("as it is", True), ("repainted", True), ("filling the canvas", False), ("aside", False)]
)
def test_a_picture_that_lies_elsewhere_in_its_canvas_is_not_delivered(
    tmp_path: Path, sample: str, place: str, fits: bool
) -> None:
    """Where these models put the picture is not documented: it is looked for, each time, where it has to be."""
    photo = Image.open(Path(__file__).parents[1] / "data" / sample).convert("RGB").resize((400, 300))
    spec = EditSpec(operation=Operation.OUTPAINT, expand_left=100, expand_right=150, expand_up=60)
    plan = plan_edit(spec, load_catalog().models[ZOOM], photo.size)
    assert plan is not None
    answer = photo.resize(plan.canvas.sent).filter(ImageFilter.GaussianBlur(9))
    at = (plan.expand[0], plan.expand[2])
    if place == "repainted":
        answer.paste(photo.filter(ImageFilter.GaussianBlur(2)).point([min(255, level + 8) for level in range(256)] * 3), at)
    elif place != "filling the canvas":
        answer.paste(photo, at if place == "as it is" else (0, 0))
    (tmp_path / "source").write_bytes(pictures.encoded(photo, "PNG"))
    (tmp_path / "received").write_bytes(pictures.encoded(answer, "PNG"))

    def delivered() -> canvas.RestoredPicture:
        return canvas.restore(
            tmp_path / "received",
            tmp_path / "source",
            tmp_path / "result",
            plan.canvas,
            wanted_size="match_input",
            output_format=None,
            output_quality=None,
            keep_metadata=False,
            max_pixels=10**7,
        )

    if fits:
        made = delivered()
        assert (made.width, made.height) == (650, 360)
    else:
        with pytest.raises(ProviderBadOutput, match="does not lie"):
            delivered()
