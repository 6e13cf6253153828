"""Pictures on their way to the models of the catalogue and back, as pixels: no server, no network.

The plans are made for each model by what a worker uses (`Pictures.layout`). What is done to the pixels depends on nothing but the
plan, whether transparency is kept, and what kind of answer comes: models that agree in these share one trip of a picture (most
take a small photograph as it is), and it counts for each of them. Where a model wants a large picture, only some of the pictures
go there, few of them really made as large; for the others the way back is gone with half of what was planned.
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.catalog.load import load_catalog
from shared.catalog.model import Model
from shared.edit import EditSpec, InputRef, Operation, Role
from shared.geometry import GeometryPlan, enlarged_size
from shared.operations import EXPAND_FIELDS
from shared.settings import Settings
from tests import pictures
from tests.conftest import SECRET
from tests.drawn_pictures import MODES, draw
from tests.round_trip import MAX_PIXELS
from worker.canvas import adapt
from worker.pictures import Layout, Pictures, SourcePicture
from worker.pixel_tasks import Wanted, inspect_result, restore_result

CATALOG = load_catalog()
MODELS = tuple(CATALOG.models.values())
TELLING = (Operation.UPSCALE, Operation.OUTPAINT, Operation.REMOVE_BACKGROUND)  #: whose answers are unlike those of the others

#: The most that eight by eight fields of a picture may differ after it was there and back, in levels of 255. Where it lies by a
#: sixteenth of its side elsewhere, they differ by twice as much.
MOVED = 12
LARGE_PIXELS = 200_000  #: of what is sent
LARGE_SHARE, WHOLE_SHARE = 0.35, 0.05  #: of the pictures: those that go such a way at all; and that are made as large as that
CUT_OUT = 200  #: how opaque the answers of models are that remove backgrounds


class Inline:
    """A pixel pool without processes."""

    async def run(self, function: Any, *args: Any, timeout_s: float) -> Any:
        return function(*args)


_NOTHING = cast(Any, None)
PICTURES = Pictures(settings=Settings(secret=SECRET), storage=_NOTHING, http=_NOTHING, pool=cast(Any, Inline()), leases=_NOTHING)


def draw_sides(chance: random.Random) -> dict[str, int]:
    """How far a picture is to be extended. Some models extend one only to two opposite sides."""
    first = chance.choice([0, 2])
    sides = chance.choice([EXPAND_FIELDS, EXPAND_FIELDS[first : first + 2]])
    return {side: chance.randint(1, 50) for side in sides}


def spec_for(model: Model, sides: Mapping[str, int]) -> EditSpec:
    """What asks for the first operation that the model does."""
    operation = model.operations[0]
    wishes = {"factor": 2} if operation is Operation.UPSCALE else {}
    return EditSpec(operation=operation, options=wishes, **(sides if operation is Operation.OUTPAINT else {}))


def asked_for(spec: EditSpec, size: tuple[int, int]) -> tuple[int, int]:
    """The size that has to be delivered of a picture of this size."""
    times = 2 if spec.operation is Operation.UPSCALE else 1
    left, right, up, down = (getattr(spec, side) for side in EXPAND_FIELDS)
    return size[0] * times + left + right, size[1] * times + up + down


def answer(sent: Image.Image, layout: Layout, *, times: float, cuts_out: bool) -> bytes:
    """What a model may make of it: another blue, on a larger canvas, cut out, in a size of its own."""
    picture = sent.convert("RGBA" if sent.has_transparency_data else "RGB")
    bands = list(picture.split())
    bands[2] = bands[2].point([(level + 60) if level < 128 else (level - 60) for level in range(256)])
    edited = Image.merge(picture.mode, bands)
    if any(layout.expand):
        left, right, up, down = layout.expand
        edited = Image.fromarray(np.pad(np.asarray(edited), ((up, down), (left, right), (0, 0)), mode="symmetric"))
    if cuts_out:
        edited.putalpha(CUT_OUT)
    if times != 1:
        edited = edited.resize((max(1, round(edited.width * times)), max(1, round(edited.height * times))))
    if edited.mode == "RGBA":
        return pictures.encoded(edited, "PNG")
    return pictures.encoded(edited, "JPEG", quality=92)


def half_of(upright: Image.Image, plan: GeometryPlan) -> Image.Image:
    """The picture as the plan says, at half the size and by our own hands: the least that may come back of it."""
    across, down = (-(-side // 2) for side in plan.sent)
    scaled = max(1, plan.scaled[0] // 2), max(1, plan.scaled[1] // 2)
    left, up = plan.offset[0] // 2, plan.offset[1] // 2
    seen = (
        Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright.convert("RGBA"))
        .convert("RGB")
        .resize(scaled, Image.Resampling.BILINEAR)
    )
    sides = ((up, down - scaled[1] - up), (left, across - scaled[0] - left), (0, 0))
    return Image.fromarray(np.pad(np.asarray(seen), sides, mode="symmetric"))


def fields(picture: Image.Image) -> npt.NDArray[np.int_]:
    """Red and green of eight by eight fields, as if nothing were transparent."""
    return np.asarray(picture.convert("RGBA").convert("RGB").resize((8, 8), Image.Resampling.BOX), int)[..., :2]


def is_large(plan: GeometryPlan) -> bool:
    """Whether the model wants a picture that takes long to make."""
    return plan.sent[0] * plan.sent[1] > LARGE_PIXELS


class Trips:
    """One picture's ways to the models and back; those that are alike are gone once."""

    def __init__(self, folder: Path, chance: random.Random, modes: Sequence[str] = MODES) -> None:
        self.folder = folder
        self.drawn = draw(folder, chance, modes)
        self.times = chance.choice([1.0, 1.0, 0.75, 1.5])
        self.form = chance.choice([None, None, None, "png", "jpeg", "webp"])
        self.sides = draw_sides(chance)
        share = chance.random()
        self.goes_large, self.is_whole = share < LARGE_SHARE, share < WHOLE_SHARE
        self.chance = chance
        self.gone: set[object] = set()

    @property
    def source(self) -> SourcePicture:
        """The picture as a worker holds it."""
        return SourcePicture(InputRef(role=Role.IMAGE), self.drawn.info, "0" * 64, "key", self.drawn.file)

    async def there_and_back(self, model: Model) -> bool:
        """Without a mask, unless a like way has been gone. Raises NoCapableModel where the model cannot be asked for it.

        False: the way is large, and for this picture no more than planned.
        """
        spec = spec_for(model, self.sides)
        layout = await self.layout(model, spec)
        keep_alpha = CATALOG.providers[model.provider].in_process and self.drawn.info.has_alpha
        times = 1.0 if model.size.control in ("WxH", "echo") else self.times
        kind = spec.operation if spec.operation in TELLING else None
        way = (kind, layout.plan, layout.canvas, layout.expand, keep_alpha, times)
        if is_large(layout.plan) and not self.goes_large:
            return False
        if way not in self.gone:
            self.gone.add(way)
            self._go(model, spec, layout, keep_alpha=keep_alpha, times=times)
        return True

    async def layout(self, model: Model, spec: EditSpec, source: SourcePicture | None = None) -> Layout:
        """How the model sees the picture."""
        given: dict[Role, list[SourcePicture]] = {**{role: [] for role in Role}, Role.IMAGE: [source or self.source]}
        return await PICTURES.layout(given, spec, model, self.folder)

    def _go(self, model: Model, spec: EditSpec, layout: Layout, *, keep_alpha: bool, times: float) -> None:
        drawn, plan = self.drawn, layout.plan
        sent, received, result = (self.folder / name for name in ("sent", "received", "result"))
        if not is_large(plan) or any(layout.expand) or self.is_whole:
            adapt(drawn.file, sent, plan, max_bytes=model.input_max_bytes, max_pixels=MAX_PIXELS, keep_alpha=keep_alpha)
            shown = pictures.opened(sent.read_bytes())
            assert shown.size == plan.sent, drawn.says
        else:
            shown, times = half_of(drawn.upright, plan), max(1.0, times)
        resizes = spec.operation in (Operation.UPSCALE, Operation.OUTPAINT)
        cuts_out = spec.operation is Operation.REMOVE_BACKGROUND
        times = 2.0 if spec.operation is Operation.UPSCALE else times
        received.write_bytes(answer(shown, layout, times=times, cuts_out=cuts_out))
        before = drawn.file if plan.method == "identity" and not resizes else None
        inspect_result(received, before, None, None if resizes else plan.sent, False, MAX_PIXELS)
        wanted: Wanted = enlarged_size(spec, drawn.info.upright_size) or "match_input"
        made = restore_result((received, drawn.file, result), layout.canvas, wanted, (self.form, None, False), MAX_PIXELS)
        delivered = pictures.opened(result.read_bytes())
        size = drawn.upright.size
        assert (made.width, made.height) == delivered.size == asked_for(spec, size), f"{drawn.says}, {model.id}"
        if spec.operation is Operation.OUTPAINT:
            left, up = spec.expand_left, spec.expand_up
            delivered = delivered.crop((left, up, left + size[0], up + size[1]))
        # Dots of few colours are no gradients, and what was laid on white for the model is cut out with the white.
        is_telling = drawn.info.mode not in ("1", "P") and not (cuts_out and drawn.info.has_alpha)
        if min(size) >= 16 and is_telling:
            seen = drawn.upright.convert("RGBA")
            if cuts_out:
                seen.putalpha(CUT_OUT)
            if not delivered.has_transparency_data:
                seen = Image.alpha_composite(Image.new("RGBA", size, "white"), seen)
            moved = np.abs(fields(delivered) - fields(seen)).max()
            assert moved <= MOVED, f"{drawn.says}, {model.id}, {plan}, {self.form}: {moved}"
