"""The small grammar of exact edits: prompts that name nothing but adjustments, in English and Chinese (pure).

An exact edit is one that has one right answer. A prompt with a single word left over is not one: `parse` answers None.
"""

import re
import unicodedata
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from shared.adjustment import (
    PIXELS_MAX,
    SIDE_MAX,
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
    Size,
    Tone,
)

PROMPT_MAX_CHARS = 500
ADJUSTMENTS_MAX = 16


class Rule(BaseModel):
    """One kind of adjustment as it is published: what it means and prompts that ask for it."""

    model_config = ConfigDict(frozen=True)

    name: str
    meaning: str
    en: tuple[str, ...]
    zh: tuple[str, ...]


# The amount of an adjustment that is asked for without one ("brighter"); "slightly" halves it.
_DEFAULT_PERCENT = {"brightness": 20, "contrast": 20, "saturation": 20, "sharpness": 100}
_DEFAULT_BLUR_PX = 5

GRAMMAR: tuple[Rule, ...] = (
    Rule(name="grayscale", meaning="luma of ITU-R BT.601", en=("make it black and white", "grayscale"), zh=("变成黑白", "灰度")),
    Rule(name="sepia", meaning="the usual sepia matrix", en=("make it sepia", "apply a sepia filter"), zh=("棕褐色调",)),
    Rule(name="invert", meaning="every channel 255 − x", en=("invert the colors",), zh=("反色", "颜色反转")),
    Rule(
        name="rotate",
        meaning="quarter turns, without loss; 90 and 270 degrees need a direction",
        en=("rotate 90 degrees clockwise", "rotate the image 180°", "rotate left"),
        zh=("顺时针旋转90度", "旋转180度", "向左旋转90度"),
    ),
    Rule(name="flip", meaning="mirror", en=("flip horizontally", "mirror it vertically"), zh=("水平翻转", "上下翻转")),
    Rule(
        name="brightness, contrast, saturation, sharpness",
        meaning="scaled by 1 + N/100, −100 to +300 %; without a number 20 % (sharpness 100 %), slightly: half of it",
        en=("brightness +20%", "make it 15% darker", "increase contrast and saturation by 30%", "slightly brighter", "sharpen"),
        zh=("亮度+20%", "对比度提高30%", "降低饱和度10%", "亮一点", "锐化"),
    ),
    Rule(name="blur", meaning="Gaussian over the whole picture; 5 px", en=("blur the image", "blur by 8 px"), zh=("模糊8像素",)),
    Rule(
        name="crop",
        meaning="the middle part of that size or aspect",
        en=("crop to 800x600", "crop to square", "crop to 16:9"),
        zh=("裁剪为800x600", "裁剪成正方形", "裁剪成16:9"),
    ),
    Rule(
        name="resize",
        meaning="Lanczos; W×H is taken literally, one side keeps the aspect",
        en=("resize to 800x600", "resize to 1024 px wide", "scale to 50%"),
        zh=("调整大小为800x600", "缩放到50%"),
    ),
    Rule(name="border", meaning="added around the picture", en=("add a 10 px white border",), zh=("添加10像素白色边框",)),
)


def parse(prompt: str) -> tuple[Adjustment, ...] | None:
    """The adjustments in order, or None if any part of the prompt is something else or out of range."""
    if len(prompt) > PROMPT_MAX_CHARS:
        return None
    text = _normalised(prompt)
    found: list[Adjustment] = []
    position = 0
    while len(found) < ADJUSTMENTS_MAX:
        clause = _clause(text, position)
        if clause is None:
            return None
        adjustments, position = clause
        found += adjustments
        if position == len(text):
            return tuple(found) if len(found) <= ADJUSTMENTS_MAX else None
        joint = _JOINT.match(text, position)
        if joint is None:
            return None
        position = joint.end()
    return None


def output_size(adjustments: tuple[Adjustment, ...], size: Size) -> Size:
    """The size that the adjustments make of `size`. Raises ValueError if one cannot be applied or any size is too large."""
    for adjustment in adjustments:
        size = _size_after(adjustment, size)
        if max(size) > SIDE_MAX or size[0] * size[1] > PIXELS_MAX:
            raise ValueError(
                f"a picture of {size[0]}×{size[1]} is too large: {SIDE_MAX} px a side, {PIXELS_MAX:,} pixels at most"
            )
    return size


def _size_after(adjustment: Adjustment, size: Size) -> Size:
    width, height = size
    match adjustment:
        case Rotate(degrees_clockwise=90 | 270):
            return height, width
        case Crop():
            if adjustment.width > width or adjustment.height > height:
                raise ValueError(f"{adjustment.width}×{adjustment.height} cannot be cropped from {width}×{height}")
            return adjustment.width, adjustment.height
        case CropAspect(width=across, height=down):
            return min(width, max(1, round(height * across / down))), min(height, max(1, round(width * down / across)))
        case Resize(width=new_width, height=new_height):
            return (
                new_width or max(1, round(width * (new_height or height) / height)),
                new_height or max(1, round(height * (new_width or width) / width)),
            )
        case Scale(percent=percent):
            return max(1, round(width * percent / 100)), max(1, round(height * percent / 100))
        case Border(width_px=border):
            return width + 2 * border, height + 2 * border
    return size


def _clause(text: str, position: int) -> tuple[list[Adjustment], int] | None:
    """The longest clause that starts here, and where it ends."""
    best: tuple[list[Adjustment], int] | None = None
    for pattern, build in _CLAUSES:
        matched = pattern.match(text, position)
        if matched and (best is None or matched.end() > best[1]):
            try:
                best = build(matched), matched.end()
            except ValueError:  # A number is out of its range: pydantic's error is one.
                continue
    return best


_TRADITIONAL = str.maketrans(
    "圖張轉變換將順時針鏡對飽銳縮調為爲階請幫煩邊顏負這個該後並紅綠藍黃點減強寬畫徑處剪給讓兩與謝",
    "图张转变换将顺时针镜对饱锐缩调为为阶请帮烦边颜负这个该后并红绿蓝黄点减强宽画径处剪给让两与谢",
)
_SIGNS = str.maketrans("−–×✕*。、\n", "--xxx,,,")
_NUMERALS = {"一百八十": "180", "二百七十": "270", "两百七十": "270", "百": "100"} | {
    f"{digit}十": str(10 * number) for number, digit in enumerate(("", *"二三四五六七八九"), 1)
}


def _normalised(prompt: str) -> str:
    """Lower case, one spelling of signs, characters and numerals, no spaces beside Chinese, no courtesies at the end."""
    text = unicodedata.normalize("NFKC", prompt).lower().translate(_TRADITIONAL).translate(_SIGNS)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"(?<=[一-鿿]) | (?=[一-鿿])", "", text)
    text = re.sub(r"(?:一百八十|[二两]百七十|九十)(?=度)", lambda matched: _NUMERALS[matched[0]], text)
    text = re.sub(r"百分之([0-9]+|[二三四五六七八九]?十|百)", lambda matched: f"{_NUMERALS.get(matched[1], matched[1])}%", text)
    return re.sub(r"(?:[ ,.;!?]|\bplease|\bthanks|\bthank you|谢谢)*$", "", text).lstrip()


_THEN = (
    r"(?:(?:and then|and also|and finally|and|then|also|finally|after that)(?![a-z0-9])"
    r"|[,;.&]|然后|接着|接下来|并且|并|再|同时|而且|以及|和|最后)"
)
_JOINT = re.compile(rf" ?{_THEN}(?: ?{_THEN})* ?")

_LEAD = r"(?:(?:please|can you|could you|now) )*"
_IT = r"(?:it|this|(?:(?:the|this|my) )?(?:whole |entire )?(?:image|photo|photograph|picture|pic))"
_MAKE = rf"(?:(?:make|turn|convert|change|render) (?:{_IT} )?(?:look |be |appear )?(?:in ?to |to |in )?(?:an? )?)?"
_FILTER = (
    rf"(?:{_MAKE}|(?:apply|add|use) (?:an? |the )?)%s(?: (?:image|photo|picture|version|filter|effect|tones?))?(?: to {_IT})?"
)
_TURN = r"(?P<turn>90|180|270)(?: ?°| ?deg(?:rees?)?)?"
_SIDE = r"(?:(?P<cw>clockwise|cw|(?:to the )?right)|(?P<ccw>counter[- ]?clockwise|anti[- ]?clockwise|ccw|(?:to the )?left))"
_PERCENT = r"(?P<percent>[0-9]{1,3}) ?(?:%|percent|per cent)"
_BY = _PERCENT.replace("percent>", "by>")
_SLIGHTLY = r"(?P<slightly>slightly|a little bit|a little|a bit)"
_NAME = r"(?:brightness|contrast|saturation|sharpness)"
_NAMES = rf"(?P<names>{_NAME}(?:(?:, and |, | and | & )(?:the )?{_NAME})*)"
_PX = r" ?(?:px|pixels?)"
_BOX = r"(?P<width>[0-9]{1,5}) ?(?:x|by) ?(?P<height>[0-9]{1,5})"
_ASPECT = r"(?P<width>[0-9]{1,3}) ?: ?(?P<height>[0-9]{1,3})"
_COLOUR = r"(?P<colour>white|black|gr[ae]y|red|green|blue|yellow)"

_Z_NOUN = r"(?:这|这张|这幅|这个|该|整张|整个|我的)?(?:图片|照片|图像|相片|画面|图)"
_Z = rf"(?:请|帮我|麻烦)*(?:(?:把|将|给|对|让|使)?(?:{_Z_NOUN}|它)的?)?"
_Z_MAKE = rf"{_Z}(?:变成|变为|变|转换成|转换为|转成|转为|改成|改为|做成|处理成|调成)?"
_Z_SIDE = r"(?:(?P<cw>顺时针|向右|往右|右)|(?P<ccw>逆时针|向左|往左|左))(?:方向)?"
_Z_TURN = r"(?P<turn>90|180|270)(?:度|°)"
_Z_MORE = r"(?:(?P<more>提高|增加|增强|提升|加大|调高|升高|加强)|(?P<less>降低|减少|减弱|减小|调低))"
_Z_NAME = r"(?:亮度|对比度|饱和度|锐度)"
_Z_NAMES = rf"(?P<names>{_Z_NAME}(?:[和与,]{_Z_NAME})*)"
_Z_SLIGHTLY = r"(?P<slightly>稍微|略微|轻微)"
_Z_PERCENT = r"(?P<percent>[0-9]{1,3})%"
_Z_BIT = r"(?:一点点|一点|一些|点|些)"
_Z_BOX = r"(?P<width>[0-9]{1,5})x(?P<height>[0-9]{1,5})(?:像素|px)?"

_TONES = {  # word: (property, direction)
    **dict.fromkeys(("brightness", "亮度", "brighter", "brighten", "亮"), ("brightness", 1)),
    **dict.fromkeys(("darker", "darken", "暗"), ("brightness", -1)),
    **dict.fromkeys(("contrast", "对比度"), ("contrast", 1)),
    **dict.fromkeys(("saturation", "饱和度", "saturated", "saturate"), ("saturation", 1)),
    "desaturate": ("saturation", -1),
    **dict.fromkeys(("sharpness", "锐度", "sharper", "sharpen", "锐利", "锐化"), ("sharpness", 1)),
}
_COLOURS = {"grey": "gray", "白": "white", "黑": "black", "灰": "gray", "红": "red", "绿": "green", "蓝": "blue", "黄": "yellow"}


def _filter(name: str) -> Callable[[re.Match[str]], list[Adjustment]]:
    return lambda _: [Filter.model_validate({"name": name})]


def _rotate(matched: re.Match[str]) -> list[Adjustment]:
    found = matched.groupdict()
    degrees = int(found["turn"] or 90)
    if not found.get("cw") and not found.get("ccw") and degrees != 180:
        raise ValueError("90 degrees to which side?")
    return [Rotate.model_validate({"degrees_clockwise": 360 - degrees if found.get("ccw") else degrees})]


def _flip(matched: re.Match[str]) -> list[Adjustment]:
    return [Flip(direction="horizontal" if matched["horizontal"] else "vertical")]


def _tone(matched: re.Match[str]) -> list[Adjustment]:
    found = matched.groupdict()
    amounts = [found[group] for group in ("percent", "by") if found.get(group)]
    words = re.findall(r"[a-z]{4,}|[一-鿿]+?度|[一-鿿]+", found["names"])
    if len(amounts) > 1 or (amounts and found.get("slightly")) or (words == ["desaturate"] and not amounts):
        raise ValueError("one amount, please")
    result: list[Adjustment] = []
    for word in words:
        name, direction = _TONES[word.lstrip("和与")]
        percent = int(amounts[0]) if amounts else _DEFAULT_PERCENT[name] // (2 if found.get("slightly") else 1)
        if percent == 0:
            raise ValueError("nothing to do")
        down = direction < 0 or found.get("less") or found.get("sign") == "-"
        result.append(Tone.model_validate({"property": name, "percent": -percent if down else percent}))
    return result


def _blur(matched: re.Match[str]) -> list[Adjustment]:
    return [Blur(radius_px=int(matched["px"] or matched["radius"] or _DEFAULT_BLUR_PX))]


def _sides(kind: type[Crop] | type[CropAspect] | type[Resize]) -> Callable[[re.Match[str]], list[Adjustment]]:
    def build(matched: re.Match[str]) -> list[Adjustment]:
        found = matched.groupdict()
        return [kind.model_validate({side: found.get(side) and int(found[side]) for side in ("width", "height")})]

    return build


def _scale(matched: re.Match[str]) -> list[Adjustment]:
    percent, found = int(matched["percent"]), matched.groupdict()
    if (found.get("smaller") and percent >= 100) or (found.get("larger") and percent <= 100) or percent == 100:
        raise ValueError("smaller or larger?")
    return [Scale(percent=percent)]


def _border(matched: re.Match[str]) -> list[Adjustment]:
    colour = matched["colour"]
    return [Border.model_validate({"width_px": int(matched["px"]), "colour": _COLOURS.get(colour, colour)})]


_Builder = Callable[[re.Match[str]], list[Adjustment]]
_SHAPES: tuple[tuple[str, _Builder], ...] = (
    (_FILTER % r"(?:black(?: and | & |-and-|[-/ ])white|b ?& ?w|bw|gr[ae]y[- ]?scale|monochrome)", _filter("grayscale")),
    (rf"{_Z_MAKE}(?:黑白|灰度|灰阶)色?(?:效果|图片|照片|图像|图|的)*", _filter("grayscale")),
    (_FILTER % r"sepia(?:[- ]toned?)?", _filter("sepia")),
    (rf"{_Z_MAKE}(?:棕褐色|深褐色)(?:色?调|效果|的|图片|照片)*", _filter("sepia")),
    (rf"invert (?:(?:the|all) )*colou?rs(?: (?:of|in) {_IT})?", _filter("invert")),
    (rf"{_Z}(?:反色|反相|颜色反转|反转颜色|颜色取反)(?:效果|处理)?", _filter("invert")),
    (rf"(?:rotated?|turn) (?:{_IT} )?(?:by )?{_TURN}(?: ?{_SIDE})?", _rotate),
    (rf"rotated? (?:{_IT} )?{_SIDE}(?: (?:by )?{_TURN})?", _rotate),
    (rf"{_Z}(?:{_Z_SIDE})?(?:旋转|转动|转){_Z_TURN}", _rotate),
    (rf"{_Z}旋转{_Z_TURN}\(?{_Z_SIDE}\)?", _rotate),
    (
        rf"(?:flip(?:ped)?|mirror(?:ed)?) (?:{_IT} )?(?:(?P<horizontal>horizontally|left to right)|vertically|top to bottom)",
        _flip,
    ),
    (rf"(?:apply an? )?(?:(?P<horizontal>horizontal)|vertical) (?:flip|mirror)(?: to {_IT})?", _flip),
    (rf"{_Z}(?:(?P<horizontal>水平|左右)|垂直|上下)(?:方向)?(?:镜像翻转|翻转|镜像)", _flip),
    (rf"(?:(?:adjust|change) )?(?:the )?{_NAMES}(?: of {_IT})?:? ?(?:by )?(?P<sign>[+-]) ?{_PERCENT}", _tone),
    (rf"(?P<sign>[+-]) ?{_PERCENT} {_NAMES}", _tone),
    (
        rf"(?:(?P<more>increase|raise|boost)|(?P<less>decrease|reduce|lower)) (?:the )?{_NAMES}(?: of {_IT})?"
        rf"(?: by {_PERCENT}| {_SLIGHTLY})?",
        _tone,
    ),
    (rf"{_MAKE}(?:{_PERCENT} |{_SLIGHTLY} )?(?:more|(?P<less>less)) (?P<names>{_NAME}|saturated)(?: by {_BY})?", _tone),
    (rf"{_MAKE}(?:{_PERCENT} |{_SLIGHTLY} )?(?P<names>brighter|darker|sharper)(?: by {_BY})?", _tone),
    (rf"(?P<names>brighten|darken|sharpen|saturate|desaturate)(?: {_IT})?(?: by {_PERCENT}| {_SLIGHTLY})?", _tone),
    (rf"{_Z}{_Z_NAMES}:?(?P<sign>[+-]){_Z_PERCENT}", _tone),
    (rf"{_Z}{_Z_NAMES}{_Z_SLIGHTLY}?{_Z_MORE}(?:{_Z_PERCENT}|{_Z_BIT})?", _tone),
    (rf"{_Z}{_Z_SLIGHTLY}?{_Z_MORE}(?:{_Z_NOUN}的?)?{_Z_NAMES}(?:{_Z_PERCENT}|{_Z_BIT})?", _tone),
    (rf"{_Z}{_Z_SLIGHTLY}?(?:变得更|变得|变|调|弄|更|提(?=亮))(?P<names>亮|暗|锐利)(?:{_Z_PERCENT}|{_Z_BIT})?", _tone),
    (rf"{_Z}{_Z_SLIGHTLY}?(?P<names>亮|暗|锐利){_Z_BIT}", _tone),
    (rf"{_Z}(?:进行)?{_Z_SLIGHTLY}?(?P<names>锐化)(?:处理|一下)?(?:{_Z_PERCENT})?", _tone),
    (
        rf"(?:apply (?:an? )?)?(?:gaussian )?blur(?: {_IT})?(?:(?: by| of)? (?P<px>[0-9]{{1,3}}){_PX}"
        rf"|(?: with)?(?: an?)? radius(?: of)? (?P<radius>[0-9]{{1,3}})(?:{_PX})?)?(?: to {_IT})?",
        _blur,
    ),
    (
        rf"{_Z}(?:进行)?(?:高斯)?模糊(?:处理|一下)?(?:半径为?(?P<radius>[0-9]{{1,3}})(?:像素|px)?|(?P<px>[0-9]{{1,3}})(?:像素|px))?",
        _blur,
    ),
    (rf"(?:cent(?:er|re)[- ])?crop(?:ped)?(?: {_IT})?(?: to)? {_BOX}(?:{_PX})?", _sides(Crop)),
    (
        rf"(?:cent(?:er|re)[- ])?crop(?:ped)?(?: {_IT})?(?: to)?(?: an?)? {_ASPECT}(?: (?:aspect )?ratio| aspect)?",
        _sides(CropAspect),
    ),
    (rf"(?:cent(?:er|re)[- ])?crop(?:ped)?(?: {_IT})?(?: to| into)?(?: an?)? square", lambda _: [CropAspect(width=1, height=1)]),
    (rf"{_Z}(?:居中)?(?:裁剪|裁切|剪裁)(?:成|为|到|至)?{_Z_BOX}", _sides(Crop)),
    (rf"{_Z}(?:居中)?(?:裁剪|裁切|剪裁)(?:成|为|到|至)?{_ASPECT}(?:的?比例)?", _sides(CropAspect)),
    (rf"{_Z}(?:居中)?(?:裁剪|裁切|剪裁)(?:成|为)(?:正方形|方形)", lambda _: [CropAspect(width=1, height=1)]),
    (rf"(?:resized?|scaled?)(?: {_IT})? to {_BOX}(?:{_PX})?", _sides(Resize)),
    (
        rf"resized?(?: {_IT})? to (?:(?P<width>[0-9]{{1,5}}){_PX} wide|(?P<height>[0-9]{{1,5}}){_PX} (?:high|tall))",
        _sides(Resize),
    ),
    (rf"resized?(?: {_IT})? to a (?:width of (?P<width>[0-9]{{1,5}})|height of (?P<height>[0-9]{{1,5}})){_PX}", _sides(Resize)),
    (rf"{_Z}(?:缩放|调整大小|调整尺寸|大小调整|尺寸调整|大小改|尺寸改)(?:到|至|为|成){_Z_BOX}", _sides(Resize)),
    (rf"(?:resized?|scaled?)(?: {_IT})? to {_PERCENT}(?: of (?:its|the) (?:original )?size)?", _scale),
    (rf"{_Z}(?:缩放|调整大小|调整尺寸|(?P<smaller>缩小)|(?P<larger>放大))(?:到|至|为)(?:原来的|原图的)?{_Z_PERCENT}", _scale),
    (rf"add (?:an? )?(?P<px>[0-9]{{1,4}}){_PX}(?: wide| thick)? {_COLOUR} (?:border|frame)(?: (?:around|to) {_IT})?", _border),
    (rf"add (?:an? )?{_COLOUR} (?:border|frame) of (?P<px>[0-9]{{1,4}}){_PX}(?: (?:around|to) {_IT})?", _border),
    (rf"{_Z}(?:添加|加上|加)(?P<px>[0-9]{{1,4}})(?:像素|px)宽?的?(?P<colour>[白黑灰红绿蓝黄])色?的?边框", _border),
)
_WORD_ENDS = r"(?:(?<![a-z0-9])|(?![a-z0-9]))"
_CLAUSES = tuple((re.compile(rf"{_LEAD}(?:{shape}){_WORD_ENDS}"), build) for shape, build in _SHAPES)
