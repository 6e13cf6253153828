"""The demo's photograph, a mask over its spoon, and one sheet with the picture before and after each edit.

Photograph: a cup of espresso by Rachel Michetti, CC0, as scikit-image ships it.
"""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

PHOTOGRAPH = Path(__file__).with_name("pictures") / "coffee.jpg"
# The spoon in it: the bowl's bounding box and the handle's outline, pixels.
_BOWL = (318, 212, 416, 334)
_HANDLE = ((380, 240), (402, 190), (411, 135), (409, 100), (397, 66), (428, 62), (420, 110), (408, 190), (398, 240))

_CELL_PX = (400, 300)
_MARGIN_PX = 12
_CAPTION_PX = 26
_COLUMNS = 3
_PAPER = "white"
_INK = "black"


def spoon_mask() -> bytes:
    """A PNG of the photograph's size, white where its spoon is: there it is to be edited."""
    with Image.open(PHOTOGRAPH) as image:
        mask = Image.new("L", image.size, 0)
    pen = ImageDraw.Draw(mask)
    pen.ellipse(_BOWL, fill=255)
    pen.polygon(_HANDLE, fill=255)
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def overview(pictures: Sequence[tuple[str, Path]], target: Path) -> None:
    """All pictures with their captions, scaled into a grid of three columns, as one JPEG."""
    step = (_CELL_PX[0] + _MARGIN_PX, _CELL_PX[1] + _CAPTION_PX + _MARGIN_PX)
    rows = -(-len(pictures) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * step[0] + _MARGIN_PX, rows * step[1] + _MARGIN_PX), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (caption, path) in enumerate(pictures):
        left, top = _MARGIN_PX + number % _COLUMNS * step[0], _MARGIN_PX + number // _COLUMNS * step[1]
        with Image.open(path) as image:
            small = ImageOps.contain(image.convert("RGBA"), _CELL_PX)
        sheet.paste(small, (left + (_CELL_PX[0] - small.width) // 2, top + (_CELL_PX[1] - small.height) // 2), small)
        pen.text((left, top + _CELL_PX[1] + 4), caption, fill=_INK, font_size=16)
    sheet.save(target, quality=90)
