"""What a picture looks like, in 256 bits: enough to tell that a model returned one picture twice (pure, runs off the loop)."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

_CELLS = 136  # 17 × 8: both grids are made of it, so that a large picture is shrunk once
_NOISE = 4  # levels of 255: recoding and rescaling change the mean of a cell by less
_EDGES_LEAST = 20  # of 256; a small spot on plain ground has 16


@dataclass(frozen=True, slots=True)
class Likeness:
    """`text`: 64 hex digits; pictures that look alike differ in few of their bits.

    `is_flat`: hardly any part of it differs from the next. Many pictures do so, and are alike by nature.
    """

    text: str
    is_flat: bool


def likeness(image: Image.Image) -> Likeness:
    """The difference hash: one bit for each two cells beside or below each other, set where the second one is brighter."""
    small = image.resize((_CELLS, _CELLS), Image.Resampling.BOX, reducing_gap=1.5).convert("L")
    across = np.diff(np.asarray(small.resize((17, 8), Image.Resampling.BOX), dtype=np.int16), axis=1)
    down = np.diff(np.asarray(small.resize((8, 17), Image.Resampling.BOX), dtype=np.int16), axis=0)
    steps = np.concatenate((across.ravel(), down.ravel()))
    return Likeness(np.packbits(steps > _NOISE).tobytes().hex(), bool(np.count_nonzero(abs(steps) > _NOISE) < _EDGES_LEAST))
