"""What a mask selects (pure). Read by the gateway where that costs little, and by the workers always."""

from typing import Literal

from PIL import Image, ImageChops

from shared.errors import MaskEmpty, MaskFull, MaskInvalid

MaskMode = Literal["auto", "alpha_transparent_is_edit", "white_is_edit", "black_is_edit"]

_EDITED = 128  # a mask's value from which on a pixel is edited


def selection(image: Image.Image, alpha: Image.Image | None, mode: MaskMode) -> Image.Image:
    """A picture of mode L, 255 where the picture is to be edited and 0 elsewhere.

    `image`: mode L or RGB; `alpha`: mode L, None where a mask has none. `auto`: transparent is edit if anything is transparent,
    else white is. Where the brightness counts, transparent places are not edited.

    Raises:
        MaskEmpty, MaskFull: nothing or all is selected. MaskInvalid: no transparency where `mode` asks for it.
    """
    if mode == "alpha_transparent_is_edit" and alpha is None:
        raise MaskInvalid("mask_mode is alpha_transparent_is_edit, and the mask has no transparency")
    is_opaque = alpha is None or alpha.getextrema() == (255, 255)
    if alpha is not None and (mode == "alpha_transparent_is_edit" or (mode == "auto" and not is_opaque)):
        edited = ImageChops.invert(alpha.point(_is_set))
    else:
        edited = image.convert("L").point(_is_set)
        if mode == "black_is_edit":
            edited = ImageChops.invert(edited)
        if alpha is not None:
            edited = ImageChops.multiply(edited, alpha.point(_is_set))
    lowest, highest = edited.getextrema()
    if highest == 0:
        raise MaskEmpty(f"the mask selects no pixel (read as {mode})")
    if lowest == 255:
        raise MaskFull(f"the mask selects every pixel (read as {mode})")
    return edited


def _is_set(value: int) -> int:
    return 255 if value >= _EDITED else 0
