"""Random masks on every model of the catalogue that takes one: what lies outside of them stays as it was."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from shared.catalog.model import Model
from shared.edit import EditSpec
from shared.geometry import GeometryPlan
from shared.mask import MaskMode
from tests import pictures
from tests.drawn_pictures import MODES_OF_8_BITS, draw_mask, encoded_mask
from tests.model_trips import MODELS, PICTURES, Trips, is_large
from tests.round_trip import MAX_PIXELS
from worker.pictures import Layout
from worker.pixel_tasks import deliver_masked, mask_of

MASKABLE = tuple(model for model in MODELS if model.mask.kind != "no")
CHUNKS, MASKS_A_CHUNK = 8, 8
MASK_MODES: tuple[MaskMode, ...] = ("white_is_edit", "black_is_edit", "alpha_transparent_is_edit")


def noise(plan: GeometryPlan, chance: random.Random) -> Image.Image:
    """An answer that has nothing to do with what was sent, as small as may come back."""
    shape = (-(-plan.sent[1] // 2), -(-plan.sent[0] // 2), 4)
    values = np.random.default_rng(chance.randint(0, 2**32)).integers(0, 256, shape, np.uint8)
    return Image.fromarray(values).convert(chance.choice(["L", "RGB", "RGBA"]))


@pytest.mark.parametrize("chunk", range(CHUNKS))
async def test_random_masks_leave_every_other_pixel_as_it_was_on_every_model(tmp_path: Path, chunk: int) -> None:
    """Whatever a model answers, wherever it was given the mask itself or only what lies around it: bit for bit, in PNG."""
    chance, done = random.Random(1_000 + chunk), Counter[str]()
    while done.total() < MASKS_A_CHUNK * len(MASKABLE):
        trips = Trips(tmp_path, chance, MODES_OF_8_BITS)
        size = trips.drawn.upright.size
        if size[0] * size[1] < 2:
            continue
        edited = draw_mask(size, chance)
        source = trips.source
        source.mask = tmp_path / "mask.png"
        mode = chance.choice(MASK_MODES)
        (tmp_path / "given").write_bytes(encoded_mask(edited, mode))
        source.box = mask_of(tmp_path / "given", source.mask, size, mode, MAX_PIXELS)
        for model in MASKABLE:
            layout = await trips.layout(model, EditSpec(operation=model.operations[0]), source)
            await check_outside(trips, model, layout, edited)
            done[model.id] += 1


async def check_outside(trips: Trips, model: Model, layout: Layout, edited: npt.NDArray[np.bool_]) -> None:
    """Deliver a wholly different answer, and compare; once of models that are shown the same, of some where it is large."""
    mask = await PICTURES.mask(layout, model, trips.folder)
    assert (mask is not None) == (model.mask.kind == "native")
    assert mask is None or (mask.width, mask.height) == layout.plan.sent
    assert layout.mask is not None
    if (layout.plan, layout.box) in trips.gone or (is_large(layout.plan) and not trips.goes_large):
        return
    trips.gone.add((layout.plan, layout.box))
    received, target = trips.folder / "received", trips.folder / "target"
    received.write_bytes(pictures.encoded(noise(layout.plan, trips.chance), "PNG"))
    made = deliver_masked(
        (received, trips.drawn.file, layout.mask, target),
        layout.plan,
        layout.box,
        "match_input",
        ("png", None, False),
        MAX_PIXELS,
    )
    before, after = (
        np.asarray(picture.convert("RGBA")) for picture in (trips.drawn.upright, pictures.opened(target.read_bytes()))
    )
    assert before.shape == after.shape, f"{trips.drawn.says}, {model.id}"
    assert (before[~edited] == after[~edited]).all(), f"{trips.drawn.says}, {model.id}"
    # One pixel of noise may be what was there before.
    assert edited.sum() < 16 or (before[edited] != after[edited]).any(), f"{trips.drawn.says}, {model.id}: nothing was edited"
    assert made.outside_mask_max_delta == 0
