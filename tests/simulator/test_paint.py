import io

import pytest
from PIL import Image, ImageChops, ImageStat

from deploy.simulator.paint import NotAPicture, paint
from tests.simulator_fixtures import make_picture, opened


def painted(data: bytes, *, prompt: str = "add a hat", seed: int = 7, output_format: str = "png", **options: object) -> bytes:
    return paint([data], prompt=prompt, seed=seed, size_for=lambda size: size, output_format=output_format, **options)  # type: ignore[arg-type]


def mean_difference(one: bytes, other: bytes) -> float:
    difference = ImageChops.difference(opened(one).convert("RGB"), opened(other).convert("RGB"))
    return sum(ImageStat.Stat(difference).mean) / 3


def test_the_same_seed_gives_the_same_bytes() -> None:
    data = make_picture()
    assert painted(data) == painted(data)


def test_another_seed_prompt_or_picture_shows() -> None:
    data = make_picture()
    for other in (painted(data, seed=8), painted(data, prompt="add a dog"), painted(make_picture(shade=200))):
        assert mean_difference(painted(data), other) > 2


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "I;16", "RGBA", "LA", "1"])
def test_every_kind_of_picture_is_visibly_changed(mode: str) -> None:
    source = io.BytesIO()
    Image.new(mode if mode != "I;16" else "I;16", (64, 48)).save(source, "TIFF")
    result = opened(painted(source.getvalue()))
    assert result.size == (64, 48)
    assert ImageStat.Stat(result.convert("L")).stddev[0] > 0.5  # Not one colour, though the input is.


def test_outside_of_a_mask_nothing_changes_but_the_mark() -> None:
    data = make_picture(200, 200)
    mask = io.BytesIO()
    Image.new("L", (200, 200), 0).save(mask, "PNG")
    result = opened(painted(data, mask=mask.getvalue()))
    above_the_mark = (0, 0, 200, 150)
    difference = ImageChops.difference(result.crop(above_the_mark), opened(data).convert("RGB").crop(above_the_mark))
    assert difference.getbbox() is None


@pytest.mark.parametrize(("output_format", "name"), [("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")])
def test_the_format_is_the_one_asked_for(output_format: str, name: str) -> None:
    assert opened(painted(make_picture(), output_format=output_format)).format == name


def test_a_tiny_picture_is_painted_too() -> None:
    assert opened(painted(make_picture(1, 1))).size == (1, 1)


def test_spoiled_outputs_are_what_their_names_say() -> None:
    one, other = make_picture(), make_picture(shade=200)
    assert painted(one, spoiled_as="echo") == one
    assert painted(one, spoiled_as="html").startswith(b"<!doctype html>")
    assert painted(one, spoiled_as="placeholder") == painted(other, spoiled_as="placeholder")
    assert len(opened(painted(one, spoiled_as="blank")).getcolors() or ()) == 1
    with pytest.raises(OSError, match="truncated"):
        opened(painted(one, spoiled_as="truncated", output_format="jpeg"))


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(NotAPicture):
        painted(b"no picture")
