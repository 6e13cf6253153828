"""worker/geometry.py: the size that a model gets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.catalog.model import Size
from shared.geometry import plan_geometry, plan_outpaint
from shared.picture import PictureInfo
from tests.round_trip import ANY_SIZE, KONTEXT, QWEN, SEEDREAM, size_limits


def sized(width: int, height: int) -> PictureInfo:
    return PictureInfo(format="png", width=width, height=height, bytes=1)


@pytest.mark.parametrize(
    ("upright", "size", "scaled", "sent", "method"),
    [
        ((600, 400), ANY_SIZE, (600, 400), (600, 400), "identity"),
        ((600, 400), QWEN, (600, 400), (600, 400), "identity"),
        ((3_000, 2_000), QWEN, (1_536, 1_024), (1_536, 1_024), "scaled"),
        ((120, 80), QWEN, (384, 256), (384, 256), "scaled"),
        ((1_024, 1_024), SEEDREAM, (1_920, 1_920), (1_920, 1_920), "scaled"),
        ((601, 399), Size(max_side=1_536, multiple_of=16), (601, 399), (608, 400), "padded"),
        ((600, 400), KONTEXT, (600, 400), (600, 400), "identity"),
        ((1_000, 667), KONTEXT, (1_000, 667), (1_000, 667), "identity"),
        ((600, 500), KONTEXT, (600, 500), (666, 500), "padded"),
        ((500, 600), KONTEXT, (500, 600), (500, 667), "padded"),
        ((4_000, 100), QWEN, (1_536, 38), (1_536, 256), "scaled+padded"),
        ((100, 4_000), QWEN, (38, 1_536), (256, 1_536), "scaled+padded"),
        ((1, 1), QWEN, (256, 256), (256, 256), "scaled"),
    ],
)
def test_the_nearest_size_that_the_model_takes(
    upright: tuple[int, int], size: Size, scaled: tuple[int, int], sent: tuple[int, int], method: str
) -> None:
    plan = plan_geometry(upright, size)
    assert (plan.upright, plan.scaled, plan.sent, plan.method) == (upright, scaled, sent, method)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 3_000), st.integers(1, 3_000), size_limits())
def test_a_plan_keeps_every_limit_and_the_picture_within_its_canvas(width: int, height: int, size: Size) -> None:
    plan = plan_geometry((width, height), size)
    across, down = plan.sent
    assert across % size.multiple_of == down % size.multiple_of == 0
    assert size.min_side <= min(plan.sent)
    assert max(plan.sent) <= size.max_side
    assert across * down <= (size.max_pixels or across * down)
    if not size.aspects:
        assert size.min_aspect <= across / down <= size.max_aspect
    assert all(1 <= inner <= outer for inner, outer in zip(plan.scaled, plan.sent, strict=True))
    assert all(edge >= 0 for edge in plan.offset)
    assert all(edge + inner <= outer for edge, inner, outer in zip(plan.offset, plan.scaled, plan.sent, strict=True))
    # Neither side is squeezed by more than the rounding of one pixel.
    assert abs(plan.scaled[0] * height - plan.scaled[1] * width) <= 1.5 * max(width, height)


@given(
    st.tuples(st.integers(20, 3000), st.integers(20, 3000)),
    st.tuples(*[st.integers(0, 2000)] * 4),
    st.sampled_from([Size(max_side=1536, multiple_of=16, min_side=256), Size(max_side=16384, min_aspect=0.4, max_aspect=2.5)]),
)
def test_a_larger_canvas_holds_the_picture_where_its_sides_say(
    upright: tuple[int, int], expand: tuple[int, int, int, int], size: Size
) -> None:
    made = plan_outpaint(upright, expand, size)
    picture, canvas = made.picture, made.canvas
    assert canvas.upright == (upright[0] + expand[0] + expand[1], upright[1] + expand[2] + expand[3])
    for axis in (0, 1):
        before, after = expand[2 * axis : 2 * axis + 2]
        scale = picture.scaled[axis] / upright[axis]
        assert canvas.sent[axis] == picture.sent[axis] + sum(made.expand[2 * axis : 2 * axis + 2])
        assert canvas.scaled[axis] == picture.scaled[axis] + round(before * scale) + round(after * scale)
        assert canvas.offset[axis] + canvas.scaled[axis] <= canvas.sent[axis]
        assert picture.offset[axis] + made.expand[2 * axis] - canvas.offset[axis] == round(before * scale)
