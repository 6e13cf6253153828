"""Makes the page's two sample pictures: `python -m tests.studio.make_samples`.

Drawn by us, so that nobody else's rights are in them.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parents[2] / "gateway" / "studio" / "samples"
_WIDTH, _HEIGHT = 1800, 1350
_SHOWN = (1200, 900)
_LIGHT = np.array([-0.55, 0.75, -0.5]) / np.linalg.norm([-0.55, 0.75, -0.5])

Points = np.ndarray
Scene = Callable[[Points], tuple[np.ndarray, np.ndarray]]


def _sphere(p: Points, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    return np.linalg.norm(p - np.array(centre), axis=-1) - radius


def _box(
    p: Points, centre: tuple[float, float, float], half: tuple[float, float, float], turn: float, round_by: float
) -> np.ndarray:
    q = p - np.array(centre)
    c, s = np.cos(turn), np.sin(turn)
    q = np.stack([c * q[..., 0] - s * q[..., 2], q[..., 1], s * q[..., 0] + c * q[..., 2]], axis=-1)
    d = np.abs(q) - (np.array(half) - round_by)
    return np.linalg.norm(np.maximum(d, 0), axis=-1) + np.minimum(d.max(axis=-1), 0) - round_by


def _turned(p: Points, x: float, z: float, profile: list[tuple[float, float]], lean: float = 0.0) -> np.ndarray:
    """A body of revolution around a vertical axis; `profile`: (height, radius)."""
    heights, radii = np.array(profile).T
    y = p[..., 1]
    r = np.hypot(p[..., 0] - x - lean * y, p[..., 2] - z)
    out = np.maximum(heights[0] - y, y - heights[-1])
    inside = np.interp(y, heights, radii)
    return np.maximum((r - inside) * 0.7, out)


def _smooth(profile: list[tuple[float, float]]) -> list[tuple[float, float]]:
    heights, radii = np.array(profile).T
    at = np.linspace(heights[0], heights[-1], 200)
    values = np.interp(at, heights, radii)
    kernel = np.hanning(61)
    padded = np.pad(values, 30, mode="edge")
    return list(zip(at, np.convolve(padded, kernel / kernel.sum(), mode="valid"), strict=True))


_VASE = _smooth([(0.0, 0.34), (0.25, 0.46), (0.8, 0.62), (1.2, 0.56), (1.55, 0.3), (1.75, 0.2), (1.95, 0.24)])
_PEAR = _smooth([(0.0, 0.05), (0.08, 0.3), (0.35, 0.42), (0.62, 0.33), (0.85, 0.2), (1.02, 0.12), (1.08, 0.02)])


def _pick(parts: list[tuple[np.ndarray, tuple[float, float, float]]]) -> tuple[np.ndarray, np.ndarray]:
    distances = np.stack([distance for distance, _ in parts])
    nearest = distances.argmin(axis=0)
    return distances.min(axis=0), np.array([colour for _, colour in parts])[nearest]


def _vase(p: Points) -> tuple[np.ndarray, np.ndarray]:
    wall = (0.80, 0.81, 0.83)
    floor = np.minimum(p[..., 1], 3.2 - p[..., 2])
    return _pick(
        [
            (floor, wall),
            (_turned(p, 0.05, 0.3, _VASE), (0.93, 0.91, 0.87)),
            (_box(p, (-1.25, 0.32, -0.1), (0.32, 0.32, 0.32), 0.45, 0.03), (0.60, 0.61, 0.63)),
            (_sphere(p, (1.15, 0.3, -0.25), 0.3), (0.72, 0.72, 0.74)),
        ]
    )


def _pears(p: Points) -> tuple[np.ndarray, np.ndarray]:
    floor = np.minimum(p[..., 1] + 0.12, 3.2 - p[..., 2])
    parts = [(floor, (0.78, 0.80, 0.76)), (_box(p, (0, -0.06, 0.1), (1.75, 0.06, 0.75), 0.12, 0.03), (0.62, 0.44, 0.28))]
    for x, z, lean, colour in (
        (-0.9, 0.2, 0.06, (0.74, 0.72, 0.30)),
        (0.05, -0.05, -0.05, (0.82, 0.66, 0.24)),
        (0.95, 0.3, 0.09, (0.62, 0.68, 0.30)),
    ):
        parts.append((_turned(p, x, z, _PEAR, lean), colour))
        parts.append((_turned(p, x, z, [(1.0, 0.03), (1.28, 0.022)], lean * 1.1), (0.30, 0.22, 0.14)))
    return _pick(parts)


def _march(scene: Scene, start: Points, along: Points, steps: int, most: float) -> np.ndarray:
    t = np.full(start.shape[:-1], 0.02)
    for _ in range(steps):
        distance, _ = scene(start + t[..., None] * along)
        t = np.minimum(t + distance * 0.9, most)
    return t


def _render(scene: Scene, eye: tuple[float, float, float], target: tuple[float, float, float]) -> Image.Image:
    rows = []
    forward = np.array(target) - np.array(eye)
    forward /= np.linalg.norm(forward)
    right = np.cross((0.0, 1.0, 0.0), forward)
    right /= np.linalg.norm(right)
    up = np.cross(forward, right)
    for top in range(0, _HEIGHT, 50):
        y, x = np.mgrid[top : top + 50, 0:_WIDTH]
        u, v = (x + 0.5 - _WIDTH / 2) / _HEIGHT, (_HEIGHT / 2 - y - 0.5) / _HEIGHT
        along = forward * 2.2 + u[..., None] * right + v[..., None] * up
        along /= np.linalg.norm(along, axis=-1, keepdims=True)
        start = np.broadcast_to(np.array(eye), along.shape)
        p = start + _march(scene, start, along, 70, 14.0)[..., None] * along
        _, colour = scene(p)
        e = 0.004
        steps = np.eye(3) * e
        normal = np.stack([scene(p + step)[0] - scene(p - step)[0] for step in steps], axis=-1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
        shadow = np.zeros(p.shape[:-1])
        for jitter in ((0, 0, 0), (0.09, 0, 0.05), (-0.07, 0.05, 0.06), (0.03, -0.06, -0.09)):
            light = _LIGHT + np.array(jitter)
            reach = _march(scene, p + normal * 0.02, np.broadcast_to(light / np.linalg.norm(light), p.shape), 30, 5.0)
            shadow += (reach >= 4.9) / 4
        lit = np.clip((normal * _LIGHT).sum(-1), 0, 1) * (0.25 + 0.75 * shadow)
        near = np.clip(scene(p + normal * 0.18)[0] / 0.18, 0, 1)
        shade = 0.42 * (0.6 + 0.4 * near) * (0.75 + 0.25 * normal[..., 1]) + 0.72 * lit
        rows.append(colour * shade[..., None])
    pixels = np.clip(np.concatenate(rows), 0, 1) ** (1 / 1.15)
    return Image.fromarray((pixels * 255).astype(np.uint8)).resize(_SHOWN, Image.Resampling.LANCZOS)


def main() -> None:
    """Write both pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    _render(_vase, (0.0, 2.0, -7.4), (0.0, 0.85, 0.0)).save(FOLDER / "vase.jpg", quality=82)
    _render(_pears, (0.1, 1.9, -6.0), (0.0, 0.4, 0.0)).save(FOLDER / "pears.jpg", quality=82)


if __name__ == "__main__":
    main()
