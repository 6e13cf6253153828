"""Edits of which it is known beforehand, from Pillow alone, what comes out: many pictures, a few exact prompts."""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from PIL import Image, ImageChops, ImageOps

from tests.end_to_end.caller import SIZE as POSTED_SIZE
from tests.pictures import encoded, photo

SIZE = (48, 32)
POSTED = -1  #: the picture that `Caller.post` sends
_PROMPTS: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "make it black and white": lambda picture: picture.convert("L"),
    "invert the colors": ImageChops.invert,
    "rotate 90 degrees clockwise": lambda picture: picture.transpose(Image.Transpose.ROTATE_270),
    "flip horizontally": ImageOps.mirror,
}
PROMPTS: Sequence[str] = tuple(_PROMPTS)


@cache
def picture(number: int) -> Image.Image:
    """The picture of this number, unlike all others."""
    if number == POSTED:
        return photo(size=POSTED_SIZE)
    return ImageChops.offset(photo(size=SIZE), (number * 7) % SIZE[0], (number * 5) % SIZE[1])


def picture_bytes(number: int) -> bytes:
    """It as a PNG."""
    return encoded(picture(number), "PNG")


@cache
def _right(number: int, prompt: str) -> bytes:
    return _pixels(_PROMPTS[prompt](picture(number)))


class Judge:
    """Knows right results. Files that were found right once are told by their digest, so that thousands are soon looked at."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str, str], bool] = {}

    def is_right(self, data: bytes, number: int, prompt: str) -> bool:
        """Whether `data` is what this prompt makes of the picture of this number, pixel by pixel."""
        key = number, prompt, hashlib.sha256(data).hexdigest()
        if key not in self._found:
            with Image.open(io.BytesIO(data)) as result:
                self._found[key] = _pixels(result) == _right(number, prompt)
        return self._found[key]

    @property
    def looked_at(self) -> int:
        """How many different files were decoded and compared."""
        return len(self._found)


def _pixels(picture: Image.Image) -> bytes:
    return f"{picture.size} ".encode() + picture.convert("RGB").tobytes()
