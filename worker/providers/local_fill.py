"""Filling holes of a picture from what is around them, each hole by itself.

A thin hole is filled by Telea's method. Of a thick one only the broad colours can be known (Navier-Stokes on a small copy); the
grain over them is borrowed from beside the hole, since a smooth patch is what gives an erased thing away.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_THIN_PX = 24  # a hole up to this thickness is filled at full size
_MARGIN_PX = 64  # what a fill sees around a hole, at least; a large hole as much as its own size
_WORK_PIXELS = 3_000_000  # a larger surrounding is worked on as a smaller copy

Plane = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def filled(colours: Pixels, weight: Pixels, cv2: Any) -> Pixels:
    """The RGB picture with the pixels where `weight` is above 0 filled: 255 wholly, less as a blend. No others change."""
    # The rim of an object is mixed with its colour, so the fill looks at what lies a little outside of it.
    hole = cv2.dilate((weight > 0).astype(np.uint8), np.ones((5, 5), np.uint8))
    if hole.all():
        hole = (weight > 0).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(hole)
    thick = np.unique(labels[_depth(hole, cv2) > _THIN_PX / 2])
    fill = colours.copy()
    for label in thick:
        left, top, width, height = stats[label, :4]
        margin_x, margin_y = max(_MARGIN_PX, width), max(_MARGIN_PX, height)
        box = np.s_[max(0, top - margin_y) : top + height + margin_y, max(0, left - margin_x) : left + width + margin_x]
        inside = labels[box] == label
        fill[box][inside] = _thick_fill(colours[box], hole[box], cv2)[inside]
    if len(thick) < count - 1:
        thin = (hole > 0) & ~np.isin(labels, thick)
        fill = cv2.inpaint(fill, thin.astype(np.uint8), 5, cv2.INPAINT_TELEA)
    chosen = weight > 0
    share = (weight[chosen] / np.float32(255))[:, None]
    result = colours.copy()
    result[chosen] = np.rint(colours[chosen] * (1 - share) + fill[chosen] * share)
    return result


def _depth(hole: Pixels, cv2: Any) -> Plane:
    """How far each pixel of a hole is from its rim; the picture's edge counts as one."""
    padded = cv2.copyMakeBorder(hole, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth: Plane = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return depth


def _thick_fill(colours: Pixels, hole: Pixels, cv2: Any) -> Pixels:
    height, width = hole.shape
    if hole.size > _WORK_PIXELS:
        scale = (_WORK_PIXELS / hole.size) ** 0.5
        size = max(1, round(width * scale)), max(1, round(height * scale))
        touched = (cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
        smaller = _thick_fill(cv2.resize(colours, size, interpolation=cv2.INTER_AREA), touched, cv2)
        enlarged: Pixels = cv2.resize(smaller, (width, height), interpolation=cv2.INTER_CUBIC)
        return enlarged
    shrink = max(1.0, 2 * float(_depth(hole, cv2).max()) / _THIN_PX)
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    open_ = (1 - hole).astype(np.float32)
    known = cv2.resize(open_, size, interpolation=cv2.INTER_AREA)
    # The mean of the known pixels only, or the object's colour would seep in at the rim.
    small = cv2.resize(colours * open_[..., None], size, interpolation=cv2.INTER_AREA) / np.maximum(known, 1e-3)[..., None]
    small = cv2.inpaint(small.clip(0, 255).astype(np.uint8), (known < 0.3).astype(np.uint8), 3, cv2.INPAINT_NS)
    broad: Plane = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    result: Pixels = np.clip(broad + _grain(colours, hole, open_, shrink, cv2), 0, 255).astype(np.uint8)
    return result


def _grain(colours: Pixels, hole: Pixels, open_: Plane, reach_px: float, cv2: Any) -> Plane:
    """Detail finer than `reach_px`, taken for each place of the hole from the nearest shift that lies outside of it."""
    window = (2 * round(reach_px) + 1,) * 2
    means = cv2.blur(colours * open_[..., None], window) / np.maximum(cv2.blur(open_, window), 1e-3)[..., None]
    detail = (colours - means) * open_[..., None]
    # Grain, not things: an edge from elsewhere would look like a scar.
    outside = detail[hole == 0]
    bound = 3 * float(np.median(np.abs(outside))) if len(outside) else 0.0
    detail = np.clip(detail, -bound, bound)
    result: Plane = np.zeros_like(detail)
    todo = hole > 0
    rows, columns = np.nonzero(hole)
    across, down = int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1
    for shift in ((0, across), (0, -across), (down, 0), (-down, 0)):
        usable = todo & (np.roll(hole, shift, (0, 1)) == 0)
        result[usable] = np.roll(detail, shift, (0, 1))[usable]
        todo &= ~usable
    return result
