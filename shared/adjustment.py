"""The kinds of exact adjustments, as records (pure)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SIDE_MAX = 16_384
PIXELS_MAX = 50_000_000


class _Adjustment(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Filter(_Adjustment):
    """`grayscale`: ITU-R BT.601 luma in every channel. `sepia`: the matrix of W3C Filter Effects. `invert`: 255 − x."""

    kind: Literal["filter"] = "filter"
    name: Literal["grayscale", "sepia", "invert"]


class Rotate(_Adjustment):
    """By quarter turns, without loss."""

    kind: Literal["rotate"] = "rotate"
    degrees_clockwise: Literal[90, 180, 270]


class Flip(_Adjustment):
    """`horizontal`: left and right change places. `vertical`: top and bottom do."""

    kind: Literal["flip"] = "flip"
    direction: Literal["horizontal", "vertical"]


class Tone(_Adjustment):
    """Scale one property by 1 + percent / 100: away from black, mean grey, greyscale, a 3×3 smoothing (Pillow's ImageEnhance)."""

    kind: Literal["tone"] = "tone"
    property: Literal["brightness", "contrast", "saturation", "sharpness"]
    percent: Annotated[int, Field(ge=-100, le=300)]


class Blur(_Adjustment):
    """Gaussian blur of the whole picture with this standard deviation."""

    kind: Literal["blur"] = "blur"
    radius_px: Annotated[int, Field(ge=1, le=200)]


class Crop(_Adjustment):
    """Cut out the middle: exactly `width` × `height` pixels, which must fit."""

    kind: Literal["crop"] = "crop"
    width: Annotated[int, Field(ge=1, le=SIDE_MAX)]
    height: Annotated[int, Field(ge=1, le=SIDE_MAX)]


class CropAspect(_Adjustment):
    """Cut out the largest middle part with the aspect `width`:`height`."""

    kind: Literal["crop_aspect"] = "crop_aspect"
    width: Annotated[int, Field(ge=1, le=100)]
    height: Annotated[int, Field(ge=1, le=100)]


class Resize(_Adjustment):
    """To exactly `width` × `height` pixels (Lanczos); a side that is None follows from the aspect."""

    kind: Literal["resize"] = "resize"
    width: Annotated[int, Field(ge=1, le=SIDE_MAX)] | None
    height: Annotated[int, Field(ge=1, le=SIDE_MAX)] | None


class Scale(_Adjustment):
    """Both sides to `percent` of what they are (Lanczos)."""

    kind: Literal["scale"] = "scale"
    percent: Annotated[int, Field(ge=1, le=800)]


class Border(_Adjustment):
    """Add a frame of one colour around the picture, which grows by twice the width."""

    kind: Literal["border"] = "border"
    width_px: Annotated[int, Field(ge=1, le=1_000)]
    colour: Literal["white", "black", "gray", "red", "green", "blue", "yellow"]


Adjustment = Filter | Rotate | Flip | Tone | Blur | Crop | CropAspect | Resize | Scale | Border
Size = tuple[int, int]  # width, height in pixels
