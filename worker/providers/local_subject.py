"""Where the subject of a picture is: a prior from the picture's border, GrabCut, and an alpha channel that follows edges.

The border prior is that of Zhu et al., "Saliency Optimization from Robust Background Detection" (CVPR 2014): what is joined to
the border over a long stretch is background. Two things are added: the bottom and the middle of the top count for nothing,
since subjects are cut off there, and the middle of the picture is more likely subject.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import ProviderRefused

_CUT_SIDE_PX = 320  # GrabCut works on a copy of this longer side
_CUT_SIDE_MIN_PX = 16
_PRIOR_SIDE_PX = 200
_CELLS_ACROSS = (12, 16, 20)  # superpixels along the longer side; the mean over several grids hangs less on where one lies
_CELL_WEIGHT = 12.0  # Lab units that one cell's width is worth: larger makes rounder superpixels
_COLOUR_SIGMA = 7.0  # Lab units within which colours count as the same
_COLOUR_SLACK = 3.0  # a difference that is noise
_NEAR = 0.4  # of the longer side: how far away contrast still counts

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]
Cells = NDArray[np.int64]


def subject_alpha(picture: Image.Image, cv2: Any) -> NDArray[np.uint8]:
    """Opacity of each pixel of an RGB picture, 0–255. Raises ProviderRefused if nothing stands out from the background."""
    if min(picture.size) < _CUT_SIDE_MIN_PX:
        raise ProviderRefused(f"a picture to cut out of needs {_CUT_SIDE_MIN_PX} px a side at least")
    small = np.asarray(_shrunk(picture, _CUT_SIDE_PX))
    height, width = small.shape[:2]
    smaller = np.asarray(_shrunk(picture, _PRIOR_SIDE_PX))
    prior: Plane = cv2.resize(sum(_prior(smaller, cells, cv2) for cells in _CELLS_ACROSS) / len(_CELLS_ACROSS), (width, height))
    threshold = cv2.threshold((255 * prior).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)[0] / 255
    seeds = np.where(prior > threshold, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[prior > min(0.8, 1.5 * threshold)] = cv2.GC_FGD
    seeds[prior < 0.3 * threshold] = cv2.GC_BGD
    subject = np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if not subject.any() or subject.all():
        raise ProviderRefused("no subject stands out from the background")
    cv2.grabCut(small, seeds, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    subject = _without_specks(np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD)), cv2)
    return _alpha(picture, small, subject, cv2)


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
    scale = side / max(picture.size)
    if scale >= 1:
        return picture
    return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.BOX)


def _prior(rgb: NDArray[np.uint8], cells_across: int, cv2: Any) -> Plane:
    """How much each pixel looks like subject, 0–1, judged on superpixels of one size."""
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    height, width = rgb.shape[:2]
    cells, count = _superpixels(lab, cells_across, cv2)
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    sizes = np.bincount(cells.ravel(), minlength=count).clip(1)
    means = [np.bincount(cells.ravel(), plane.ravel(), count) / sizes for plane in (*cv2.split(lab), across, down)]
    colours, places = np.stack(means[:3], 1), np.stack(means[3:], 1)
    contrast = np.linalg.norm(colours[:, None] - colours[None], axis=2)
    if contrast.max() <= _COLOUR_SLACK:
        raise ProviderRefused("no subject stands out from the background")
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) / max(height, width)
    beside = np.zeros((count, count), bool)
    for one, other in ((cells[:, 1:], cells[:, :-1]), (cells[1:], cells[:-1])):
        beside[one, other] = beside[other, one] = True
    quarter, upper = max(1, width // 4), max(1, height * 6 // 10)
    edges = (cells[0, :quarter], cells[0, -quarter:], cells[:upper, 0], cells[:upper, -1])
    border = np.unique(np.concatenate(edges))
    beside[np.ix_(border, border)] = True

    joined = np.exp(-(_distances(contrast, beside) ** 2) / (2 * _COLOUR_SIGMA**2))
    on_border = joined[:, border].sum(1) / np.sqrt(joined.sum(1))
    middle = np.exp(-1.5 * ((places / (width, height) - (0.5, 0.6)) ** 2).sum(1) / 0.25)
    background = (1 - np.exp(-(on_border**2) / 2)) * (1 - 0.75 * middle)
    foreground = (contrast * np.exp(-(apart**2) / (2 * _NEAR**2)) * background).sum(1)
    foreground = 0.65 * foreground / max(foreground.max(), 1e-9) + 0.35 * middle * (1 - background) ** 2
    return _settled(contrast, beside, background, foreground)[cells].astype(np.float32)


def _superpixels(lab: Plane, cells_across: int, cv2: Any) -> tuple[Cells, int]:
    """The cell of each pixel, and how many cells there are: k-means over colour and place, as SLIC."""
    height, width = lab.shape[:2]
    step = max(height, width) / cells_across
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    features = np.dstack([lab, across * (_CELL_WEIGHT / step), down * (_CELL_WEIGHT / step)]).reshape(-1, 5)
    columns = max(1, round(width / step))
    rows = max(1, round(height / step))
    start = np.minimum(down // step, rows - 1) * columns + np.minimum(across // step, columns - 1)
    used, labels = np.unique(start.astype(np.int32), return_inverse=True)
    labels = labels.reshape(-1, 1).astype(np.int32)
    stop = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 6, 1.0)
    labels = cv2.kmeans(np.ascontiguousarray(features), len(used), labels, stop, 1, cv2.KMEANS_USE_INITIAL_LABELS)[1]
    cells: Cells = labels.reshape(height, width).astype(np.int64)
    return cells, len(used)


def _distances(contrast: Floats, beside: NDArray[np.bool_]) -> Floats:
    """The least sum of colour steps on a way from each cell to each other (Floyd and Warshall)."""
    ways = np.where(beside, np.maximum(contrast - _COLOUR_SLACK, 0), np.inf)
    np.fill_diagonal(ways, 0)
    for cell in range(len(ways)):
        np.minimum(ways, ways[:, cell, None] + ways[cell], out=ways)
    return ways


def _settled(contrast: Floats, beside: NDArray[np.bool_], background: Floats, foreground: Floats) -> Floats:
    """The values nearest to both wishes that differ little between like neighbours: a linear system (section 4 of the paper)."""
    alike = np.where(beside, np.exp(-(contrast**2) / (2 * _COLOUR_SIGMA**2)) + 0.1, 0)
    np.fill_diagonal(alike, 0)
    system = np.diag(alike.sum(1) + 5 * background + foreground + 1e-6) - alike
    values = np.linalg.solve(system, foreground).clip(0)
    return np.asarray(values / max(values.max(), 1e-9))


def _without_specks(subject: NDArray[np.bool_], cv2: Any) -> NDArray[np.bool_]:
    """Parts under a tenth of the largest go, and enclosed gaps under a hundredth of the picture are filled."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(subject.astype(np.uint8))
    if count < 2:
        raise ProviderRefused("no subject stands out from the background")
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.isin(labels, 1 + np.flatnonzero(areas >= areas.max() / 10))
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~kept).astype(np.uint8))
    outer = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < kept.size / 100)
    return np.asarray(kept | np.isin(labels, np.setdiff1d(small, outer)))


def _alpha(picture: Image.Image, small: NDArray[np.uint8], subject: NDArray[np.bool_], cv2: Any) -> NDArray[np.uint8]:
    """The cut at full size: a guided filter, whose coefficients are found on the small copy (He et al., "Fast Guided Filter")."""
    guide = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    cut = subject.astype(np.float32)

    def mean(plane: Plane) -> Plane:
        blurred: Plane = cv2.blur(plane, (5, 5))
        return blurred

    spread = mean(guide * guide) - mean(guide) ** 2
    slope = (mean(guide * cut) - mean(guide) * mean(cut)) / (spread + 1e-3)
    offset = mean(mean(cut) - slope * mean(guide))
    full = np.asarray(picture.convert("L"), np.float32) / 255
    alpha: Plane = cv2.resize(mean(slope), picture.size) * full + cv2.resize(offset, picture.size)
    # The filter leaves a veil of a few per cent around the cut; a steeper edge takes it away.
    opacity: NDArray[np.uint8] = np.rint(255 * np.clip(1.6 * alpha - 0.3, 0, 1)).astype(np.uint8)
    return opacity
