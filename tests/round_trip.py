"""A picture's way to a model and back, in one folder; sizes as real models have them."""

from pathlib import Path
from typing import Literal

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from shared.catalog.model import Size
from shared.geometry import GeometryPlan, plan_geometry
from shared.picture import PictureInfo, read_info
from tests import pictures
from worker import canvas
from worker.canvas import AdaptedPicture, RestoredPicture

MAX_PIXELS = 50_000_000
ANY_SIZE = Size(max_side=16_384)
QWEN = Size(control="WxH", min_side=256, max_side=1_536)
SEEDREAM = Size(
    control="WxH", min_side=512, max_side=8_192, min_pixels=3_686_400, max_pixels=16_777_216, min_aspect=1 / 16, max_aspect=16
)
KONTEXT = Size(
    control="aspect_ratio", max_side=16_384, aspects=("21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21")
)


def info_of(data: bytes) -> PictureInfo:
    """What `data` is."""
    return read_info(data, max_bytes=10**9, max_pixels=MAX_PIXELS, max_side=16_384, animated_first=True)


def plan_for(data: bytes, size: Size) -> GeometryPlan:
    """How `data` goes to a model with these limits."""
    return plan_geometry(info_of(data).upright_size, size)


class Trip:
    """A picture's way out and back in one folder; the model between gets the file that was sent and answers with another."""

    def __init__(self, folder: Path, data: bytes, size: Size = ANY_SIZE) -> None:
        self.source, self.sent = folder / "source", folder / "sent"
        self.received, self.result = folder / "received", folder / "result"
        self.source.write_bytes(data)
        self.plan = plan_for(data, size)

    def out(self, *, max_bytes: int = 10**9, keep_alpha: bool = False) -> AdaptedPicture:
        return canvas.adapt(self.source, self.sent, self.plan, max_bytes=max_bytes, max_pixels=MAX_PIXELS, keep_alpha=keep_alpha)

    def back(
        self,
        received: bytes | None = None,
        *,
        wanted_size: Literal["match_input", "model"] | tuple[int, int] = "match_input",
        output_format: str | None = None,
        output_quality: int | None = None,
        keep_metadata: bool = False,
    ) -> RestoredPicture:
        self.received.write_bytes(self.sent.read_bytes() if received is None else received)
        return canvas.restore(
            self.received,
            self.source,
            self.result,
            self.plan,
            wanted_size=wanted_size,
            output_format=output_format,
            output_quality=output_quality,
            keep_metadata=keep_metadata,
            max_pixels=MAX_PIXELS,
        )

    def delivered(self) -> Image.Image:
        return pictures.opened(self.result.read_bytes())


def distance(one: Image.Image, other: Image.Image) -> float:
    """Mean difference in levels of 255."""
    assert one.size == other.size
    return float(np.abs(np.asarray(one.convert("RGB"), int) - np.asarray(other.convert("RGB"), int)).mean())


def size_limits() -> st.SearchStrategy[Size]:
    """What a model may demand of sizes, never so narrow that nothing fits."""

    @st.composite
    def build(draw: st.DrawFn) -> Size:
        step = draw(st.sampled_from([1, 2, 8, 16, 64]))
        shortest = draw(st.integers(1, 400))
        longest = draw(st.integers(max(2 * shortest, 4 * step), 2_000))
        max_pixels = draw(st.none() | st.integers((shortest + 2 * step) ** 2 * 4, 4_000_000))
        aspects = draw(st.just(()) | st.just(KONTEXT.aspects))
        widest = draw(st.sampled_from([1e9, 4.0, 2.0]))
        return Size(
            control="aspect_ratio" if aspects else "WxH",
            min_side=shortest,
            max_side=longest,
            max_pixels=max_pixels,
            multiple_of=step,
            aspects=aspects if longest > 4 * (shortest + step) else (),
            min_aspect=1 / widest,
            max_aspect=widest,
        )

    return build()
