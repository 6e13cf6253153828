"""Which size a picture is sent in, and where it lies in what comes back (pure)."""

import math
from dataclasses import dataclass
from functools import lru_cache

from shared.catalog.model import Model, Size
from shared.edit import EditSpec, Operation


@dataclass(frozen=True, slots=True)
class GeometryPlan:
    """Sizes are (width, height) in pixels. The picture, scaled to `scaled`, lies at `offset` (left, top) in `sent`.

    `method`: identity, scaled, padded or scaled+padded. `inner`: of a larger canvas, where (left, top) in `upright` the
    caller's picture lies.
    """

    upright: tuple[int, int]
    scaled: tuple[int, int]
    sent: tuple[int, int]
    offset: tuple[int, int]
    inner: tuple[int, int] | None = None

    @property
    def method(self) -> str:
        """What is done to the size, in one word."""
        acts = [word for word, done in (("scaled", self.scaled != self.upright), ("padded", self.sent != self.scaled)) if done]
        return "+".join(acts) or "identity"

    def content_box(self, received: tuple[int, int]) -> tuple[float, float, float, float]:
        """Where the picture without its padding lies (left, top, right, bottom) in a result of size `received`."""
        (left, top), (width, height) = self.offset, self.scaled
        across = [edge * received[0] / self.sent[0] for edge in (left, left + width)]
        down = [edge * received[1] / self.sent[1] for edge in (top, top + height)]
        return across[0], down[0], across[1], down[1]


@dataclass(frozen=True, slots=True)
class EditPlan:
    """`picture`: of what is sent; `canvas`: of what comes back; `expand`: left, right, up, down in pixels of what is sent.

    The canvas is larger than the picture only when outpainting.
    """

    picture: GeometryPlan
    canvas: GeometryPlan
    expand: tuple[int, int, int, int] = (0, 0, 0, 0)


def plan_edit(spec: EditSpec, model: Model, shown: tuple[int, int]) -> EditPlan | None:
    """How the model is sent a picture of this size. None: it cannot be told to extend that picture as far as is asked."""
    if spec.operation is Operation.OUTPAINT:
        expand = (spec.expand_left, spec.expand_right, spec.expand_up, spec.expand_down)
        even = model.size.control in ("WxH", "aspect_ratio")
        return _plan_even_canvas(shown, expand, model.size) if even else plan_outpaint(shown, expand, model.size)
    plan = plan_geometry(shown, model.size, wanted_size(spec) if _is_told_its_size(spec, model) else None)
    return EditPlan(plan, plan)


def wanted_size(spec: EditSpec) -> tuple[int, int] | None:
    """The (width, height) that the caller names, if any."""
    if "x" not in spec.size:
        return None
    width, height = spec.size.split("x")
    return int(width), int(height)


def enlarged_size(spec: EditSpec, upright: tuple[int, int]) -> tuple[int, int] | None:
    """What an upscale has to come to, by `size` or by `options.factor`; None: as large as the model makes it."""
    if spec.operation is not Operation.UPSCALE:
        return None
    factor = spec.options.get("factor")
    if isinstance(factor, (int, float)):
        return round(upright[0] * factor), round(upright[1] * factor)
    return wanted_size(spec)


def plan_outpaint(upright: tuple[int, int], expand: tuple[int, int, int, int], size: Size) -> EditPlan:
    """For a model that is told each side: the picture as `plan_geometry` plans it, the sides in its scale."""
    (width, height), (left, right, up, down) = upright, expand
    full = (width + left + right, height + up + down)
    plan = plan_geometry(upright, size)
    across, along = plan.scaled[0] / width, plan.scaled[1] / height
    wanted = (round(left * across), round(right * across), round(up * along), round(down * along))
    # Padding is new canvas already; of a side with more padding than it is to grow by, the rest is cut off again.
    (x, y), (spare_x, spare_y) = plan.offset, (plan.sent[0] - plan.scaled[0], plan.sent[1] - plan.scaled[1])
    padding = (x, spare_x - x, y, spare_y - y)
    grown = [max(0, side - there) for side, there in zip(wanted, padding, strict=True)]
    scaled = (plan.scaled[0] + wanted[0] + wanted[1], plan.scaled[1] + wanted[2] + wanted[3])
    sent = (plan.sent[0] + grown[0] + grown[1], plan.sent[1] + grown[2] + grown[3])
    offset = (max(0, padding[0] - wanted[0]), max(0, padding[2] - wanted[2]))
    canvas = GeometryPlan(full, scaled, sent, offset, inner=(left, up))
    return EditPlan(plan, canvas, (grown[0], grown[1], grown[2], grown[3]))


def _plan_even_canvas(upright: tuple[int, int], expand: tuple[int, int, int, int], size: Size) -> EditPlan | None:
    """For a model that is told only its canvas, in whose middle the picture lies as it is: the smallest that holds it all.

    What the canvas has beyond the sides that were asked for is cut off again. None: no canvas of the model's is large enough.
    """
    (width, height), (left, right, up, down) = upright, expand
    needed = (width + 2 * max(left, right), height + 2 * max(up, down))
    fitting = [
        canvas
        for canvas in (
            _listed_canvases(upright, size) if size.control == "aspect_ratio" else [_free_canvas(upright, needed, size)]
        )
        if needed[0] <= canvas[0] <= size.max_side
        and needed[1] <= canvas[1] <= size.max_side
        and size.min_pixels <= canvas[0] * canvas[1] <= (size.max_pixels or size.max_side**2)
        and width * height >= size.min_share * canvas[0] * canvas[1]
    ]
    if not fitting:
        return None
    sent = min(fitting, key=lambda canvas: canvas[0] * canvas[1])
    x, y = (sent[0] - width) // 2, (sent[1] - height) // 2
    full = (width + left + right, height + up + down)
    canvas = GeometryPlan(full, full, sent, (x - left, y - up), inner=(left, up))
    return EditPlan(GeometryPlan(upright, upright, upright, (0, 0)), canvas, (x, sent[0] - width - x, y, sent[1] - height - y))


def _free_canvas(upright: tuple[int, int], needed: tuple[int, int], size: Size) -> tuple[int, int]:
    """As much as is needed, with as many pixels on each side of the picture wherever the model's whole multiples allow it."""
    across, down = (_up(max(side, size.min_side), size.multiple_of) for side in needed)
    return across + (across - upright[0]) % 2 * size.multiple_of, down + (down - upright[1]) % 2 * size.multiple_of


def _listed_canvases(upright: tuple[int, int], size: Size) -> list[tuple[int, int]]:
    """For each aspect the canvas that the picture fills in one direction, with as many new pixels on one side as on the other."""
    (width, height), found = upright, []
    for text in size.aspects:
        across, down = (int(part) for part in text.split(":"))
        beside, above = (height * across / down - width) / 2, (width * down / across - height) / 2
        found.append((width + 2 * max(0, round(beside)), height + 2 * max(0, round(above))))
    return found


def _is_told_its_size(spec: EditSpec, model: Model) -> bool:
    """Whether a larger size can be asked for. Of a masked edit only a part may be shown; an upscale has its own words for it."""
    if spec.mask is not None or spec.operation is Operation.UPSCALE:
        return False
    return model.size.control == "WxH" or any(parameter.field == "resolution" for parameter in model.parameters.values())


# Planning tries hundreds of sizes, and pictures of one size come in crowds.
@lru_cache(maxsize=8_192)
def plan_geometry(upright: tuple[int, int], size: Size, wanted: tuple[int, int] | None = None) -> GeometryPlan:
    """The nearest size that the model takes: least change of scale first, then least padding.

    A picture is never made larger than the model's smallest size or a result of `wanted` (width, height) demands, and padded
    only where its aspect must differ or whole multiples leave a few pixels over. Limits that contradict each other are kept
    as far as they go.
    """
    width, height = upright
    shortest, longest = _up(size.min_side, size.multiple_of), _down(size.max_side, size.multiple_of)
    max_pixels = size.max_pixels or longest**2
    widest = min(longest / shortest, max_pixels / shortest**2, longest**2 / size.min_pixels)
    aspect = _aspect(width / height, size, max(1.0, widest))
    canvas = (max(width, height * aspect), max(height, width / aspect))
    pixels = canvas[0] * canvas[1]
    least = max(shortest / min(canvas), math.sqrt(size.min_pixels / pixels))
    most = min(longest / max(canvas), math.sqrt(max_pixels / pixels))
    asked = max(wanted[0] / width, wanted[1] / height) if wanted else 1.0
    scale = min(max(1.0, least, asked), most)
    # No whole size may lie within all limits at once: the sides' own limits are what a model refuses first.
    rounded = [min(max(_up(round(side * scale), size.multiple_of), shortest), longest) for side in canvas]
    candidates = _canvases(height, canvas, scale, aspect, size, shortest, longest) or [(rounded[0], rounded[1])]

    def fit(sent: tuple[int, int]) -> float:
        return min(sent[0] / width, sent[1] / height, scale)

    sent = min(candidates, key=lambda sent: (-round(fit(sent) / scale, 6), sent[0] * sent[1]))
    return _plan((width, height), sent, fit(sent))


def _plan(upright: tuple[int, int], sent: tuple[int, int], scale: float) -> GeometryPlan:
    """The picture centred in its canvas. Less than a pixel between them is stretched, not padded."""
    width, height = upright
    exact = (width * scale, height * scale)
    scaled = (
        sent[0] if abs(sent[0] - exact[0]) < 1 else min(max(1, round(exact[0])), sent[0]),
        sent[1] if abs(sent[1] - exact[1]) < 1 else min(max(1, round(exact[1])), sent[1]),
    )
    return GeometryPlan(upright, scaled, sent, ((sent[0] - scaled[0]) // 2, (sent[1] - scaled[1]) // 2))


def _aspect(natural: float, size: Size, widest: float) -> float:
    """The width/height that the canvas gets."""
    if size.aspects:
        listed = [int(across) / int(down) for across, down in (text.split(":") for text in size.aspects)]
        return min(listed, key=lambda aspect: abs(math.log(aspect / natural)))
    return min(max(natural, size.min_aspect, 1 / widest), size.max_aspect, widest)


def _canvases(
    height: int,
    canvas: tuple[float, float],
    scale: float,
    aspect: float,
    size: Size,
    shortest: int,
    longest: int,
) -> list[tuple[int, int]]:
    """Sizes within every limit, near the ideal; whole multiples and the pixel window may leave only farther ones."""
    step, found = size.multiple_of, []
    ideal = _down(round(canvas[0] * scale), step)
    near = range(max(shortest, ideal - 64 * step), min(longest, ideal + 64 * step) + 1, step)
    for across in near:
        if size.aspects:
            heights = {_nearest(across / aspect, step)}
        else:
            natural = across * canvas[1] / canvas[0]
            heights = {_down(math.floor(natural), step), _up(math.ceil(natural), step), _up(height, step), shortest, longest}
        for down in heights:
            pixels, ratio = across * down, across / down if down else 0.0
            sides_fit = shortest <= down <= longest
            pixels_fit = size.min_pixels <= pixels <= (size.max_pixels or pixels)
            if sides_fit and pixels_fit and (size.aspects or size.min_aspect <= ratio <= size.max_aspect):
                found.append((across, down))
    return found


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _down(value: int, step: int) -> int:
    return value // step * step


def _nearest(value: float, step: int) -> int:
    return round(value / step) * step
