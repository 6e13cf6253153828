"""Wishes that the pinned model, or any model at all, cannot grant: refused at once, with the field, the limit and who could."""

import base64
from typing import Any

import pytest
from PIL import Image

from shared.catalog.load import load_catalog
from tests.gateway.conftest import Api
from tests.pictures import encoded, photo

CATALOG = load_catalog()
SIZE = (120, 80)
BLUE = "make the cup blue"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def mask(*, edited: int, mode: str = "L", size: tuple[int, int] = SIZE) -> str:
    """All of one value; with mode LA, of one transparency."""
    plain = Image.new(mode, size, (0, edited) if mode == "LA" else edited)
    return b64(encoded(plain, "PNG"))


def half(size: tuple[int, int] = SIZE) -> str:
    selected = Image.new("L", size)
    selected.paste(255, (0, 0, size[0] // 2, size[1]))
    return b64(encoded(selected, "PNG"))


PICTURE = b64(encoded(photo(size=SIZE), "PNG"))
LARGE = b64(encoded(Image.new("RGB", (4_200, 100)), "PNG"))
GOOD = {"image_base64": PICTURE, "prompt": BLUE}
INPAINT = {**GOOD, "operation": "inpaint", "mask_base64": half()}
UPSCALE = {"image_base64": PICTURE, "operation": "upscale"}
OUTPAINT = {"image_base64": PICTURE, "operation": "outpaint"}
RELIGHT = {"image_base64": PICTURE, "operation": "relight"}
REFERENCE = {"base64": PICTURE}

Case = tuple[dict[str, Any], str, str, tuple[str, ...]]
#: The body, the problem's code, the pointer of its first error, and what that has to say.
CASES: dict[str, Case] = {
    "mask of another size": ({**INPAINT, "mask_base64": half((60, 80))}, "mask_invalid", "/mask_base64", ("60×80", "120×80")),
    "empty mask": ({**INPAINT, "mask_base64": mask(edited=0)}, "mask_empty", "/mask_base64", ("selects no pixel",)),
    "full mask": ({**INPAINT, "mask_base64": mask(edited=255)}, "mask_full", "/mask_base64", ("selects every pixel",)),
    "mask empty in its own polarity": (
        {**INPAINT, "mask_base64": mask(edited=255), "mask_mode": "black_is_edit"},
        "mask_empty",
        "/mask_base64",
        ("black_is_edit",),
    ),
    "mask that is all transparent": (
        {**INPAINT, "mask_base64": mask(edited=0, mode="LA")},
        "mask_full",
        "/mask_base64",
        ("auto",),
    ),
    "mask without transparency": (
        {**INPAINT, "mask_mode": "alpha_transparent_is_edit"},
        "mask_invalid",
        "/mask_base64",
        ("no transparency",),
    ),
    "mask for a model that takes none": (
        {**GOOD, "model": "local-adjust", "prompt": "make it black and white", "mask_base64": half()},
        "validation_failed",
        "/mask_base64",
        ("local-adjust takes no mask", "models that can: qwen-image-edit"),
    ),
    "too many references for the pinned model": (
        {**GOOD, "model": "qwen-edit-plus", "reference_images": [REFERENCE] * 3},
        "validation_failed",
        "/reference_images",
        ("takes 3 pictures at most", "models that can: nano-banana-pro-edit-ultra, seedream-v4.5-edit"),
    ),
    "too many references for all": (
        {**GOOD, "reference_images": [REFERENCE] * 14},
        "no_capable_model",
        "/reference_images",
        ("takes 1 pictures at most",),
    ),
    "language": (
        {**GOOD, "model": "flux-kontext-pro", "prompt": "把杯子变成蓝色"},
        "validation_failed",
        "/prompt",
        ("understands English only", "qwen-edit"),
    ),
    "prompt that the pinned model needs": (
        {**UPSCALE, "model": "stability-upscale-conservative"},
        "validation_failed",
        "/prompt",
        ("needs a prompt", "image-upscaler"),
    ),
    "prompt that the pinned model does not take": (
        {**UPSCALE, "model": "image-upscaler", "prompt": "sharp"},
        "validation_failed",
        "/prompt",
        ("takes no prompt", "models that can: stability-upscale-conservative"),
    ),
    "picture beyond the pinned model": (
        {"image_base64": LARGE, "operation": "remove_background", "model": "image-background-remover"},
        "validation_failed",
        "/image_base64",
        ("up to 4096 px a side", "models that can: "),
    ),
    "size beyond the pinned model": (
        {**GOOD, "model": "qwen-edit", "size": "3000x2000"},
        "validation_failed",
        "/size",
        ("up to 1536 px a side", "models that can: nano-banana-pro-edit-ultra, seedream-v4.5-edit"),
    ),
    "size beyond all": (
        {**GOOD, "size": "9000x4000"},
        "no_capable_model",
        "/size",
        ("makes pictures up to 1536 px a side",),
    ),
    "enlargement beyond the pinned model": (
        {**UPSCALE, "model": "stability-upscale-fast", "options": {"factor": 5}},
        "validation_failed",
        "/options/factor",
        ("4 times at most", "models that can: image-upscaler"),
    ),
    "enlargement that is none": (
        {**UPSCALE, "options": {"factor": 1}},
        "validation_failed",
        "/options/factor",
        ("over 1, 16 at most",),
    ),
    "enlargement by words": ({**UPSCALE, "options": {"factor": "two"}}, "validation_failed", "/options/factor", ("16 at most",)),
    "enlargement told twice": (
        {**UPSCALE, "options": {"factor": 2}, "size": "240x160"},
        "validation_failed",
        "/options/factor",
        ("not both",),
    ),
    "canvas beyond the pinned model": (
        {**OUTPAINT, "model": "image-zoom-out", "expand_right": 800},
        "validation_failed",
        "/expand_right",
        ("1536 px a side at most", "stability-outpaint"),
    ),
    "unknown option of the pinned model": (
        {**GOOD, "model": "qwen-edit", "options": {"strength": 0.5}},
        "unsupported_parameter",
        "/options/strength",
        ("no model for this operation can",),
    ),
    "option that another model has": (
        {**GOOD, "model": "qwen-edit", "guidance_scale": 3.5},
        "unsupported_parameter",
        "/guidance_scale",
        ("models that can: ", "flux-kontext-pro"),
    ),
    "option that no model has": (
        {**GOOD, "options": {"strength": 0.5}},
        "no_capable_model",
        "/options/strength",
        ("cannot honour /options/strength",),
    ),
    "option outside of its range": (
        {**GOOD, "model": "flux-kontext-pro", "guidance_scale": 30},
        "validation_failed",
        "/guidance_scale",
        ("flux-kontext-pro takes 1.0 to 20.0",),
    ),
    "option that is not in the list": (
        {**GOOD, "model": "ideogram-character", "options": {"rendering_speed": "Warp"}},
        "validation_failed",
        "/options/rendering_speed",
        ("one of Default, Turbo, Quality",),
    ),
    "price of the pinned model": (
        {**GOOD, "model": "qwen-edit", "max_cost": 0.01},
        "validation_failed",
        "/max_cost",
        ("qwen-edit costs 0.02 USD", "qwen-image-edit"),
    ),
    "price of a tier": (
        {**GOOD, "model": "ideogram-character", "max_cost": 0.15, "options": {"rendering_speed": "Quality"}},
        "validation_failed",
        "/max_cost",
        ("ideogram-character costs 0.2 USD", "no model can"),
    ),
    "price of all": ({**GOOD, "max_cost": 0.0001}, "no_capable_model", "/max_cost", ("costs 0.0", "USD")),
    "relight by a picture of the light alone": (
        {**RELIGHT, "lighting_image_base64": PICTURE},
        "validation_failed",
        "/prompt",
        ("needs at least one of prompt, background_image",),
    ),
}


@pytest.mark.parametrize(("body", "code", "pointer", "says"), CASES.values(), ids=CASES)
async def test_it_is_refused_with_the_field_the_limit_and_who_could(
    api: Api, body: dict[str, Any], code: str, pointer: str, says: tuple[str, ...]
) -> None:
    answer = await api.post("/process", json=body)
    assert (answer.status, answer.json["code"]) == (422, code), answer.json
    errors = [error for error in answer.json["errors"] if error["pointer"] == pointer]
    assert errors, answer.json["errors"]
    said = errors[0]["message"]
    assert all(part in said or part in answer.json["detail"] for part in says), (said, answer.json["detail"])
    assert await api.stored() == ([], 0)


GOOD_CASES: dict[str, dict[str, Any]] = {
    "a mask that selects a part": INPAINT,
    "as many references as it takes": {**GOOD, "model": "qwen-edit-plus", "reference_images": [REFERENCE] * 2},
    "a language that it speaks": {**GOOD, "model": "qwen-edit", "prompt": "把杯子变成蓝色"},
    "a picture that may be made smaller": {"image_base64": LARGE, "prompt": BLUE, "model": "qwen-edit"},
    "a large picture of which a part is edited": {
        "image_base64": LARGE,
        "prompt": BLUE,
        "model": "qwen-edit",
        "mask_base64": half((4_200, 100)),
    },
    "a size that it makes": {**GOOD, "model": "qwen-edit", "size": "1536x1024"},
    "an enlargement": {**UPSCALE, "model": "stability-upscale-fast", "options": {"factor": 3}},
    "a canvas": {**OUTPAINT, "model": "bria-expand", "expand_up": 10},
    "an option that nobody has, not strictly": {**GOOD, "options": {"strength": 0.5}, "strict": False},
    "the very price": {**GOOD, "model": "qwen-edit", "max_cost": 0.02},
    "a price that depends on what is not known yet": {"image_url": "https://a.example/x.png", "prompt": BLUE, "max_cost": 0.001},
    "relight by a background and a light": {**RELIGHT, "lighting_image_base64": PICTURE, "background_image_base64": PICTURE},
}


@pytest.mark.parametrize("body", GOOD_CASES.values(), ids=GOOD_CASES)
async def test_what_can_be_granted_is_accepted(api: Api, body: dict[str, Any]) -> None:
    answer = await api.post("/process", json=body)
    assert answer.status == 202, answer.json


async def test_trying_again_with_a_wish_that_cannot_be_granted_is_refused_too(api: Api) -> None:
    made = await api.post("/process", json=GOOD)
    await api.post(f"/jobs/{made.json['id']}/cancel")
    answer = await api.post(f"/jobs/{made.json['id']}/retry", json={"model": "qwen-edit", "max_cost": 0.01})
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/max_cost")
