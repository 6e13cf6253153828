"""The grammar of exact edits: what is one, what is none, and what it makes of the size."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adjustment import (
    Adjustment,
    Blur,
    Border,
    Crop,
    CropAspect,
    Filter,
    Flip,
    Resize,
    Rotate,
    Scale,
    Tone,
)
from shared.adjustments import ADJUSTMENTS_MAX, GRAMMAR, PROMPT_MAX_CHARS, output_size, parse

GRAY, SEPIA, INVERT = Filter(name="grayscale"), Filter(name="sepia"), Filter(name="invert")
SQUARE = CropAspect(width=1, height=1)


def _tone(name: str, percent: int) -> Tone:
    return Tone.model_validate({"property": name, "percent": percent})


def _turn(degrees: int) -> Rotate:
    return Rotate.model_validate({"degrees_clockwise": degrees})


EXACT: dict[str, tuple[Adjustment, ...]] = {
    "make it black and white": (GRAY,),
    "Make it black & white.": (GRAY,),
    "please turn the photo into b&w": (GRAY,),
    "convert to grayscale": (GRAY,),
    "Convert this image to greyscale, thanks!": (GRAY,),
    "black-and-white photo": (GRAY,),
    "Apply a black and white filter to the picture": (GRAY,),
    "变成黑白": (GRAY,),
    "请把这张照片变成黑白的": (GRAY,),
    "將圖片轉換成灰階": (GRAY,),
    "黑白效果": (GRAY,),
    "sepia tone": (SEPIA,),
    "make the whole picture look sepia": (SEPIA,),
    "把图片变成棕褐色调": (SEPIA,),
    "invert the colours of the image": (INVERT,),
    "反色处理": (INVERT,),
    "rotate 90 degrees clockwise": (_turn(90),),
    "Rotate the image by 90° counter-clockwise": (_turn(270),),
    "rotate it 270 degrees cw": (_turn(270),),
    "rotate 270 degrees anticlockwise": (_turn(90),),
    "rotate 180": (_turn(180),),
    "rotate right": (_turn(90),),
    "turn it 90 degrees to the left": (_turn(270),),
    "rotate clockwise by 180 degrees": (_turn(180),),
    "顺时针旋转90度": (_turn(90),),
    "把圖片順時針旋轉九十度": (_turn(90),),
    "逆时针旋转 90 度": (_turn(270),),
    "向右转二百七十度": (_turn(270),),
    "旋转一百八十度": (_turn(180),),
    "flip horizontally": (Flip(direction="horizontal"),),
    "mirror the picture vertically": (Flip(direction="vertical"),),
    "vertical flip": (Flip(direction="vertical"),),
    "左右翻转": (Flip(direction="horizontal"),),
    "垂直镜像": (Flip(direction="vertical"),),
    "brightness +20%": (_tone("brightness", 20),),
    "Brightness: -15 %": (_tone("brightness", -15),),
    "brightness −15％": (_tone("brightness", -15),),
    "make it 15% darker": (_tone("brightness", -15),),
    "make the image brighter by 30%": (_tone("brightness", 30),),
    "brighten the photo": (_tone("brightness", 20),),
    "make it slightly brighter": (_tone("brightness", 10),),
    "darken it a bit": (_tone("brightness", -10),),
    "increase the contrast by 25 percent": (_tone("contrast", 25),),
    "reduce brightness and contrast by 10%": (_tone("brightness", -10), _tone("contrast", -10)),
    "make it 30% less saturated": (_tone("saturation", -30),),
    "desaturate by 100%": (_tone("saturation", -100),),
    "sharpen the image": (_tone("sharpness", 100),),
    "亮度+20%": (_tone("brightness", 20),),
    "将图片的亮度提高20%": (_tone("brightness", 20),),
    "亮度和对比度提高百分之二十": (_tone("brightness", 20), _tone("contrast", 20)),
    "降低饱和度百分之15": (_tone("saturation", -15),),
    "调亮20%": (_tone("brightness", 20),),
    "让图片更暗一些": (_tone("brightness", -20),),
    "稍微亮一点": (_tone("brightness", 10),),
    "锐化": (_tone("sharpness", 100),),
    "blur the image": (Blur(radius_px=5),),
    "gaussian blur with a radius of 12 px": (Blur(radius_px=12),),
    "blur it by 8 pixels": (Blur(radius_px=8),),
    "高斯模糊8像素": (Blur(radius_px=8),),
    "crop to 300x200": (Crop(width=300, height=200),),
    "center crop to 300 × 200 px": (Crop(width=300, height=200),),
    "crop the image to a square": (SQUARE,),
    "crop to 16:9 aspect ratio": (CropAspect(width=16, height=9),),
    "裁剪成正方形": (SQUARE,),
    "把图片裁剪为16：9": (CropAspect(width=16, height=9),),
    "resize to 800x600 pixels": (Resize(width=800, height=600),),
    "resize the photo to 1024 px wide": (Resize(width=1024, height=None),),
    "resize it to a height of 500 px": (Resize(width=None, height=500),),
    "scale to 50% of its size": (Scale(percent=50),),
    "缩小到50%": (Scale(percent=50),),
    "调整大小为800x600像素": (Resize(width=800, height=600),),
    "add a 10 px white border": (Border(width_px=10, colour="white"),),
    "add a grey frame of 4 pixels around the image": (Border(width_px=4, colour="gray"),),
    "添加10像素的黑色边框": (Border(width_px=10, colour="black"),),
    "make it black and white and rotate 90 degrees clockwise, then brightness +20%": (GRAY, _turn(90), _tone("brightness", 20)),
    "crop to square; make it sepia; add a 5px white border.": (SQUARE, SEPIA, Border(width_px=5, colour="white")),
    "black and white and\nflip horizontally, and sharpen": (GRAY, Flip(direction="horizontal"), _tone("sharpness", 100)),
    "請將圖片變成黑白，然後水平翻轉。謝謝": (GRAY, Flip(direction="horizontal")),
    "把图片变成黑白并旋转180度、亮一点": (GRAY, _turn(180), _tone("brightness", 20)),
}

NOT_OURS = (
    "",
    "   ",
    "please",
    ",",
    "and",
    "blur background",
    "blur the background",
    "模糊背景",
    "背景模糊",
    "make it black and white but keep the red car",
    "make it black and white except the red car",
    "make the background black and white",
    "make a black and white cat",
    "black and white stripes on the wall",
    "don't make it black and white",
    "not black and white",
    "不要变成黑白",
    "把背景变成黑白",
    "变成黑白并保留红色汽车",
    "make it white",
    "make it gray",
    "rotate 90 degrees",
    "旋转90度",
    "rotate 45 degrees clockwise",
    "rotate 900 degrees clockwise",
    "rotate 90.5 degrees clockwise",
    "rotate the car 90 degrees clockwise",
    "rotate left and right",
    "flip it",
    "flip the car horizontally",
    "turn it upside down",
    "brightness",
    "brightness 20%",
    "brightness +0%",
    "brightness +20",
    "brightness +900%",
    "brightness -120%",
    "brightness +20%%",
    "make it 20% brighter by 10%",
    "make the sky brighter",
    "make it brighter in the corners",
    "make it bright",
    "亮",
    "让天空更亮",
    "亮度提高到20%",
    "increase the contrast of the car",
    "desaturate",
    "blur 0 px",
    "blur by 900 px",
    "blur it by 8",
    "blur 2.5 px",
    "crop",
    "crop the car",
    "crop to 0x200",
    "crop to 99999x200",
    "crop to 800x600x3",
    "crop to 16:9:4",
    "resize to 50",
    "scale by 50%",
    "scale to 0%",
    "scale to 100%",
    "scale to 900%",
    "缩小到200%",
    "放大到50%",
    "add a border",
    "add a 10 px pink border",
    "add a white hat",
    "sepia toned cat",
    "sharpen the eyes",
    "grayscale grayscale",
    "make it black and white and",
    "make it black and white and add a hat",
    "remove the background",
    "make it black and white" + " " * PROMPT_MAX_CHARS,
    ", ".join(["grayscale"] * (ADJUSTMENTS_MAX + 1)),
)


@pytest.mark.parametrize("prompt", EXACT)
def test_an_exact_prompt_becomes_its_adjustments(prompt: str) -> None:
    assert parse(prompt) == EXACT[prompt]


@pytest.mark.parametrize("prompt", NOT_OURS)
def test_a_prompt_with_anything_left_over_is_not_ours(prompt: str) -> None:
    assert parse(prompt) is None


@pytest.mark.parametrize("prompt", [prompt for rule in GRAMMAR for prompt in rule.en + rule.zh])
def test_every_published_example_parses(prompt: str) -> None:
    assert parse(prompt)


def test_the_longest_list_that_is_taken_is_taken() -> None:
    assert parse(", ".join(["sharpen"] * ADJUSTMENTS_MAX)) == (_tone("sharpness", 100),) * ADJUSTMENTS_MAX


@given(st.text(max_size=80))
def test_no_text_makes_it_raise(prompt: str) -> None:
    parse(prompt)


# Letters and digits only where they make no known word: an x, a number or a "please" may well belong to an adjustment.
_FOREIGN = st.sampled_from(("car", "cat", "the sky", "but not here", "gently", "背景", "汽车", "天空", "不要", "7", "q"))


@settings(max_examples=150)
@given(st.sampled_from(sorted(EXACT)), _FOREIGN, st.sampled_from((" ", ", ", " and ", "", "。")), st.booleans())
def test_a_foreign_word_before_or_after_makes_it_not_ours(prompt: str, word: str, between: str, first: bool) -> None:
    assert parse(f"{word}{between}{prompt}" if first else f"{prompt}{between}{word}") is None


@settings(max_examples=150)
@given(
    st.lists(st.sampled_from(sorted(EXACT)), min_size=1, max_size=5), st.sampled_from((", ", " and ", "; then ", "，然后", "\n"))
)
def test_exact_prompts_in_a_row_are_their_adjustments_in_a_row(prompts: list[str], joint: str) -> None:
    expected = tuple(adjustment for prompt in prompts for adjustment in EXACT[prompt])
    text = joint.join(prompt.rstrip(".!").removesuffix(", thanks").removesuffix("。謝謝") for prompt in prompts)
    if len(text) <= PROMPT_MAX_CHARS and len(expected) <= ADJUSTMENTS_MAX:
        assert parse(text) == expected


@pytest.mark.parametrize(
    ("prompt", "size"),
    [
        ("rotate right", (400, 600)),
        ("rotate 180", (600, 400)),
        ("grayscale and sharpen", (600, 400)),
        ("crop to 300x200", (300, 200)),
        ("crop to square", (400, 400)),
        ("crop to 16:9", (600, 338)),
        ("crop to 9:16", (225, 400)),
        ("resize to 90x10", (90, 10)),
        ("resize to 300 px wide", (300, 200)),
        ("resize to 100 px high", (150, 100)),
        ("scale to 1%", (6, 4)),
        ("add a 10 px white border", (620, 420)),
        ("rotate right, crop to square, scale to 50%, add a 1 px black border", (202, 202)),
    ],
)
def test_the_size_that_adjustments_produce(prompt: str, size: tuple[int, int]) -> None:
    adjustments = parse(prompt)
    assert adjustments is not None
    assert output_size(adjustments, (600, 400)) == size


@pytest.mark.parametrize("prompt", ["crop to 601x400", "resize to 10000x9000", "scale to 800%, scale to 400%"])
def test_a_size_that_cannot_be_made_is_an_error(prompt: str) -> None:
    adjustments = parse(prompt)
    assert adjustments is not None
    with pytest.raises(ValueError, match=r"cannot be cropped|too large"):
        output_size(adjustments, (600, 400))


def test_adjustments_are_plain_json() -> None:
    assert [adjustment.model_dump(mode="json") for adjustment in parse("rotate left, blur 3 px") or ()] == [
        {"kind": "rotate", "degrees_clockwise": 270},
        {"kind": "blur", "radius_px": 3},
    ]
