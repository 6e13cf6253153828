"""What keeps a model out, beside what `test_recommend.py` shows: canvases, parts, sizes, enlargements, missing fields."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.candidates import Circumstances, candidates_for, price_of
from shared.catalog.load import Catalog, load_catalog
from shared.edit import EditSpec, InputRef, Operation, Role
from shared.geometry import plan_edit, plan_geometry
from shared.picture import PictureInfo
from tests.conftest import make_spec

CATALOG = load_catalog()
BLUE = "make the cup blue"
NEEDY = """
[[models]]
id = "step1x-edit"
[models.parameters]
prompt = { type = "string", required = true, field = "prompt" }
strength = { type = "number", required = true }
negative = { type = "string", required = true, field = "negative_prompt" }
"""


def judged(
    spec: EditSpec, size: tuple[int, int] | None = (600, 400), *, catalog: Catalog = CATALOG, **circumstances: Any
) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """(who can, code and words of who cannot)."""
    now = Circumstances(configured=tuple(catalog.providers), upright_size=size, **circumstances)
    found, excluded, _ = candidates_for(spec, catalog, now)
    return [candidate.model.id for candidate in found], {one.model_id: (one.code, one.why) for one in excluded}


def with_pictures(spec: EditSpec, *roles: Role) -> EditSpec:
    info = PictureInfo(format="png", width=600, height=400, bytes=1_000)
    more = tuple(InputRef(role=role, key=f"in/t1/edit/{role}", info=info, sha256="1" * 64) for role in roles)
    return spec.model_copy(update={"inputs": spec.inputs + more})


OUTPAINTERS = {"image-zoom-out", "bria-expand", "stability-outpaint"}


@pytest.mark.parametrize(
    ("size", "sides", "able"),
    [
        ((600, 600), {"expand_left": 100}, OUTPAINTERS),
        ((600, 600), {"expand_left": 100, "expand_up": 100}, {"image-zoom-out", "stability-outpaint"}),
        ((600, 600), {"expand_left": 468}, {"image-zoom-out", "stability-outpaint"}),
        ((600, 600), {"expand_left": 469}, {"stability-outpaint"}),
        ((1600, 1600), {"expand_left": 200}, {"bria-expand", "stability-outpaint"}),
        ((200, 1600), {"expand_left": 560}, {"stability-outpaint"}),
    ],
    ids=["one side", "two directions", "just on the canvas", "one pixel too far", "a larger canvas", "too small a share"],
)
def test_who_can_extend_a_picture_so_far(size: tuple[int, int], sides: dict[str, int], able: set[str]) -> None:
    found, excluded = judged(make_spec(operation=Operation.OUTPAINT, prompt=None, **sides), size)
    assert set(found) == able
    assert all(excluded[name][0] == "canvas" for name in OUTPAINTERS - able)


def test_who_can_extend_a_picture_of_unknown_size_is_not_known_yet() -> None:
    found, _ = judged(make_spec(operation=Operation.OUTPAINT, prompt=None, expand_left=2_000, expand_up=2_000), None)
    assert set(found) == OUTPAINTERS


@given(
    st.tuples(st.integers(11, 2_000), st.integers(11, 2_000)),
    st.tuples(*[st.integers(0, 600)] * 4),
    st.sampled_from(["image-zoom-out", "bria-expand"]),
)
def test_an_even_canvas_holds_the_picture_as_it_is_and_all_that_was_asked_for(
    upright: tuple[int, int], sides: tuple[int, int, int, int], model_id: str
) -> None:
    left, right, up, down = sides
    spec = EditSpec(operation=Operation.OUTPAINT, expand_left=left, expand_right=right, expand_up=up, expand_down=down)
    model = CATALOG.models[model_id]
    plan = plan_edit(spec, model, upright)
    if plan is None:
        return
    canvas = plan.canvas
    assert plan.picture == plan_geometry(upright, model.size.model_copy(update={"control": "none", "min_side": 1, "aspects": ()}))
    assert (canvas.upright, canvas.scaled, canvas.inner) == ((upright[0] + left + right, upright[1] + up + down),) * 2 + (
        (left, up),
    )
    for axis in (0, 1):
        assert model.size.min_side * (model.size.control == "WxH") <= canvas.sent[axis] <= model.size.max_side
        assert 0 <= canvas.offset[axis] <= canvas.sent[axis] - canvas.scaled[axis]
        before = canvas.offset[axis] + (left, up)[axis]
        assert before == canvas.sent[axis] - upright[axis] - before, "the picture lies in the middle"
        assert plan.expand[2 * axis] == before


def test_a_part_around_the_mask_is_all_that_a_model_without_masks_has_to_take() -> None:
    spec = with_pictures(make_spec(prompt=BLUE), Role.MASK)
    assert "qwen-edit" not in judged(spec, (5_000, 4_000))[0]
    assert "qwen-edit" in judged(spec, (5_000, 4_000), part_size=(300, 200))[0]
    native = with_pictures(make_spec(prompt=BLUE, operation=Operation.INPAINT), Role.MASK)
    assert judged(native, (5_000, 4_000), part_size=(300, 200))[1].get("z-image-turbo-inpaint", ("",))[0] in ("resolution", "")


def test_a_masked_edit_is_priced_for_the_part_that_is_sent() -> None:
    spec, model = with_pictures(make_spec(prompt=BLUE), Role.MASK), CATALOG.models["qwen-image-edit"]
    assert model.price.unit == "megapixel"
    whole, part = (price_of(spec, model, size) for size in ((1_200, 1_200), (320, 320)))
    assert part < whole / 10
    capped = spec.model_copy(update={"max_cost": float(whole) / 2})
    assert "qwen-image-edit" in judged(capped, (1_200, 1_200), part_size=(320, 320))[0]
    assert judged(capped, (1_200, 1_200))[1]["qwen-image-edit"][0] == "max_cost"


def test_relighting_needs_words_or_a_background_and_a_model_that_takes_its_pictures(tmp_path: Path) -> None:
    light = with_pictures(make_spec(operation=Operation.RELIGHT, prompt=None), Role.LIGHTING_IMAGE)
    assert judged(light)[1]["stability-relight"] == ("parameter", "needs prompt or background_image")
    assert judged(light.model_copy(update={"prompt": "a beach"}))[0] == ["stability-relight"]
    both = with_pictures(make_spec(operation=Operation.RELIGHT, prompt=None), Role.BACKGROUND_IMAGE, Role.LIGHTING_IMAGE)
    assert judged(both)[0] == ["stability-relight"]
    (tmp_path / "stability.toml").write_text('[[models]]\nid = "stability-relight"\nbeside = ["background_image"]\n')
    assert judged(both, catalog=load_catalog(tmp_path))[1]["stability-relight"] == ("images", "takes no lighting_image")


def test_a_model_that_needs_what_the_request_lacks_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "wavespeed.toml").write_text(NEEDY)
    catalog = load_catalog(tmp_path)
    assert judged(make_spec(prompt=BLUE), catalog=catalog)[1]["step1x-edit"] == (
        "parameter",
        "needs options.strength and negative_prompt",
    )
    given = make_spec(prompt=BLUE, negative_prompt="cups", options={"strength": 0.0})
    assert "step1x-edit" in judged(given, catalog=catalog)[0]


@pytest.mark.parametrize(
    ("wish", "size", "able", "kept_out"),
    [
        ({}, (1_000, 800), {"image-upscaler", "stability-upscale-fast"}, {}),
        ({"factor": 4}, (1_000, 800), {"image-upscaler", "stability-upscale-fast"}, {}),
        (
            {"factor": 5},
            (1_000, 800),
            {"image-upscaler"},
            {"stability-upscale-fast": ("size", "enlarges this picture 4 times at most")},
        ),
        ({"factor": 8.5}, (1_000, 800), set(), {"image-upscaler": ("size", "enlarges this picture 8.19 times at most")}),
        ({}, (8_192, 100), set(), {"image-upscaler": ("size", "cannot make this picture any larger")}),
        ({"size": "9000x10"}, (1_000, 800), set(), {"image-upscaler": ("size", "enlarges this picture 8.19 times at most")}),
    ],
)
def test_who_can_enlarge_a_picture_so_far(
    wish: dict[str, Any], size: tuple[int, int], able: set[str], kept_out: dict[str, tuple[str, str]]
) -> None:
    named = wish.pop("size", "match_input")
    found, excluded = judged(make_spec(operation=Operation.UPSCALE, prompt=None, size=named, options=wish), size)
    assert {name for name in found if name != "local-upscale"} == able
    assert kept_out.items() <= excluded.items()


def test_an_exact_factor_of_ours_must_not_come_to_more_than_this_machine_makes() -> None:
    """1.2 times would be few enough pixels, but whole factors are all that it makes, to be cut down afterwards."""
    spec = make_spec(operation=Operation.UPSCALE, prompt=None, options={"factor": 1.2})
    assert "local-upscale" in judged(spec, (3_000, 3_000), catalog=_local())[0]
    assert judged(spec, (4_000, 4_000), catalog=_local())[1]["local-upscale"][0] == "size"


def _local() -> Catalog:
    models = {name: model for name, model in CATALOG.models.items() if model.provider == "local"}
    return Catalog(models, {"local": CATALOG.providers["local"]})


def test_a_size_beyond_the_model_keeps_it_out_and_a_larger_one_is_asked_for_it() -> None:
    spec = make_spec(prompt=BLUE, size="4096x4096")
    found, excluded = judged(spec, (1_024, 1_024))
    assert excluded["qwen-edit"] == ("size", "makes pictures up to 1536 px a side")
    assert {"seedream-v4.5-edit", "nano-banana-pro-edit-ultra"} <= set(found)
    plan = plan_edit(spec, CATALOG.models["seedream-v4.5-edit"], (1_024, 1_024))
    assert plan is not None
    assert plan.canvas.sent == (4_096, 4_096)
    eight = make_spec(prompt=BLUE, size="8000x8000")
    assert price_of(eight, CATALOG.models["nano-banana-pro-edit-ultra"], (1_024, 1_024)) == Decimal("0.18")
    assert judged(make_spec(prompt=BLUE, size="9000x100"), (1_024, 1_024))[0] == []
