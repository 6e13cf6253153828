"""Is this output fit to be delivered? (pure, runs off the loop, in pool processes)"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageStat

from shared.errors import PictureError, ProviderBadOutput
from shared.picture import PictureInfo, content_type, read_info
from worker import pixels as px
from worker.likeness import likeness

_ASPECT_TOLERANCE = 0.03  # models round sides to their own multiples; restoring the size evens that out
_SMALLEST_SHARE = 0.5  # of the side that was asked for
_ONE_COLOUR_SPREAD = 2  # levels; a plain picture comes out of a JPEG with so much noise
_NO_OP_MEAN = 0.5  # levels of 255
_NO_OP_BLOCK = 8  # pixels a side, and levels: a small genuine edit changes one block by more, recoding noise by less
_PLAINLY = 16  # levels; decoding a JPEG at a part of its size gets the mean of a block wrong by up to 11, as measured on text
_ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_ENOUGH = (272, 272)  # pixels to tell what an input looks like


@dataclass(frozen=True, slots=True)
class Inspected:
    """What an output is. `looks`: of it and of its input, hashes of `worker.likeness`; None where they would prove nothing."""

    info: PictureInfo
    looks: tuple[str, str] | None


class _Given:
    """A picture that the model got. `small`: a JPEG is decoded at a part of its size, for a part of the time."""

    def __init__(self, file: Path, max_pixels: int) -> None:
        self._file = file
        self.info = px.info_of(file, max_pixels)
        self.small = px.decode(file, self.info, at_least=_ENOUGH)

    def whole(self) -> px.Pixels:
        """At its full size; few results are so doubtful that it takes that."""
        return px.decode(self._file, self.info)


def inspect(
    received: Path,
    *,
    sent: Path | None,
    expected_size: tuple[int, int] | None,
    declared_type: str | None,
    no_op_allowed: bool,
    max_pixels: int,
    source: Path | None = None,
) -> Inspected:
    """Decode `received` wholly and judge it. Returns what it is.

    `sent`: what the model got, to tell that it did something. `expected_size`: (width, height) that the model was asked for;
    an upright size with the same aspect, and at least half of that, will do. `declared_type`: the provider's content type;
    one that names no picture format says nothing. `no_op_allowed`: of exact adjustments, which may come to anything, also to the
    same picture or to one colour. `source`: the input, if the output may be compared with those for others.

    Raises:
        ProviderBadOutput: not fit, and why in words.
    """
    try:
        length = received.stat().st_size
        info = read_info(received, max_bytes=length + 1, max_pixels=max_pixels, max_side=max_pixels)
        got = px.decode(received, info)
    except PictureError as error:
        raise ProviderBadOutput(f"the result is no usable picture: {error}") from error
    _check_type(info, declared_type)
    _check_size(info.upright_size, expected_size)
    before = None if sent is None else _Given(sent, max_pixels)
    if not no_op_allowed and _is_one_colour(got) and (before is None or not _is_one_colour(before.whole())):
        raise ProviderBadOutput("the result is a placeholder: every pixel has the same colour")
    if before is not None and not no_op_allowed and not _is_plainly_other(got, before) and _is_same(got, before.whole()):
        raise ProviderBadOutput("the result is the picture that was sent, unchanged")
    # What was cut out of different backgrounds may well be the same picture, and flat pictures are all alike.
    if source is None or got.alpha is not None or (output := likeness(got.image)).is_flat:
        return Inspected(info, None)
    given = before if before is not None and source == sent else _Given(source, max_pixels)
    return Inspected(info, (output.text, likeness(given.small.image).text))


def _check_type(info: PictureInfo, declared: str | None) -> None:
    named = (declared or "").partition(";")[0].strip().lower()
    named = _ALIASES.get(named, named)
    if named.startswith(("image/", "text/")) and named not in (content_type(info.format), "image/*"):
        raise ProviderBadOutput(f"the result is {info.format} and was declared as {named[:50]}")


def _check_size(size: tuple[int, int], expected: tuple[int, int] | None) -> None:
    if expected is None:
        return
    skew = (size[0] / size[1]) / (expected[0] / expected[1])
    # One pixel of rounding on the short side is no skew, however flat the picture.
    slack = max(_ASPECT_TOLERANCE, 1 / min(size), 1 / min(expected))
    if not 1 / (1 + slack) <= skew <= 1 + slack or size[0] < expected[0] * _SMALLEST_SHARE:
        raise ProviderBadOutput(f"the result is {size[0]}×{size[1]} pixels, {expected[0]}×{expected[1]} were asked for")


def _is_one_colour(picture: px.Pixels) -> bool:
    """Also true where nothing can be seen: wholly transparent."""
    if picture.alpha is not None:
        lowest, highest = _ends(picture.alpha)
        if highest == 0:
            return True
        if highest - lowest > _ONE_COLOUR_SPREAD:
            return False
    return all(highest - lowest <= _ONE_COLOUR_SPREAD for lowest, highest in map(_ends, picture.image.split()))


def _is_plainly_other(got: px.Pixels, before: _Given) -> bool:
    """Whether a block is lighter or darker than it was by more than noise makes it: so it is after most edits."""
    size, small = got.image.size, before.small.image
    if size != before.info.upright_size or any(side % _NO_OP_BLOCK for side in size):
        return False
    factors = _NO_OP_BLOCK, _NO_OP_BLOCK * small.width // size[0]
    blocks = [image.reduce(factor).convert("L") for image, factor in zip((got.image, small), factors, strict=True)]
    return _ends(ImageChops.difference(*blocks))[1] > _PLAINLY


def _is_same(one: px.Pixels, other: px.Pixels) -> bool:
    """Nothing but recoding noise between them: little on the whole, and nowhere much."""
    size = min(one.image.size, other.image.size, key=lambda pair: pair[0] * pair[1])
    pairs = zip(_channels(one, size), _channels(other, size), strict=True)
    differences = [ImageChops.difference(mine, its) for mine, its in pairs]
    means = [ImageStat.Stat(difference).mean[0] for difference in differences]
    if sum(means[:3]) / 3 >= _NO_OP_MEAN or means[3] >= _NO_OP_MEAN:
        return False
    return all(_ends(difference.reduce(_NO_OP_BLOCK))[1] <= _NO_OP_BLOCK for difference in differences)


def _channels(picture: px.Pixels, size: tuple[int, int]) -> list[Image.Image]:
    """Red, green, blue and alpha, each at `size`."""
    alpha = picture.alpha or Image.new("L", picture.image.size, 255)
    channels = [*picture.image.convert("RGB").split(), alpha]
    return [channel if channel.size == size else channel.resize(size, Image.Resampling.BOX) for channel in channels]


def _ends(channel: Image.Image) -> tuple[int, int]:
    """(lowest, highest) value of a picture with one channel of 8 bits."""
    found = [value for value, count in enumerate(channel.histogram()) if count]
    return found[0], found[-1]
