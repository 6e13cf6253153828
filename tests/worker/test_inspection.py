"""worker/inspection.py: what may be delivered and what may not."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from shared.errors import ProviderBadOutput
from shared.picture import PictureInfo
from tests import pictures
from worker.inspection import inspect

SIZE = (120, 80)


def judge(
    folder: Path,
    received: bytes,
    sent: bytes | None = None,
    *,
    expected_size: tuple[int, int] | None = None,
    declared_type: str | None = None,
    no_op_allowed: bool = False,
    max_pixels: int = 1_000_000,
) -> PictureInfo:
    (folder / "received").write_bytes(received)
    if sent is not None:
        (folder / "sent").write_bytes(sent)
    return inspect(
        folder / "received",
        sent=None if sent is None else folder / "sent",
        expected_size=expected_size,
        declared_type=declared_type,
        no_op_allowed=no_op_allowed,
        max_pixels=max_pixels,
    ).info


def png(image: Image.Image) -> bytes:
    return pictures.encoded(image, "PNG")


@pytest.mark.parametrize("name", sorted(pictures.samples()))
def test_a_good_picture_of_every_kind_passes(tmp_path: Path, name: str) -> None:
    found = judge(tmp_path, pictures.samples()[name], expected_size=SIZE)
    assert found.upright_size == SIZE


@pytest.mark.parametrize("name", sorted(pictures.samples()))
def test_a_cut_result_is_bad_output(tmp_path: Path, name: str) -> None:
    data = pictures.samples()[name]
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(ProviderBadOutput, match="no usable picture"):
            judge(tmp_path, data[: int(len(data) * share)])


def test_pixels_missing_in_the_middle_are_found_although_the_file_has_an_end(tmp_path: Path) -> None:
    with pytest.raises(ProviderBadOutput, match="cut short or damaged"):
        judge(tmp_path, pictures.png_with_cut_pixels())


def test_a_web_page_instead_of_a_picture_is_bad_output(tmp_path: Path) -> None:
    with pytest.raises(ProviderBadOutput, match="no usable picture"):
        judge(tmp_path, b"<html>try again later</html>")
    with pytest.raises(ProviderBadOutput, match="no usable picture"):
        judge(tmp_path, b"")


def test_the_declared_type_must_fit_where_it_names_a_format(tmp_path: Path) -> None:
    data = pictures.samples()["jpeg"]
    for declared in (None, "", "image/jpeg", "image/jpg", "IMAGE/JPEG; q=1", "image/*", "application/octet-stream"):
        assert judge(tmp_path, data, declared_type=declared).format == "jpeg"
    for declared in ("image/png", "text/html; charset=utf-8"):
        with pytest.raises(ProviderBadOutput, match="declared as"):
            judge(tmp_path, data, declared_type=declared)


def test_an_animation_is_bad_output(tmp_path: Path) -> None:
    with pytest.raises(ProviderBadOutput, match="more than one frame"):
        judge(tmp_path, pictures.animated("WEBP"))


def test_more_pixels_than_allowed_are_bad_output(tmp_path: Path) -> None:
    with pytest.raises(ProviderBadOutput, match="limit"):
        judge(tmp_path, pictures.samples()["png"], max_pixels=9_599)


def test_the_size_may_be_rounded_by_the_model_but_not_another_one(tmp_path: Path) -> None:
    def result(*size: int) -> bytes:
        return png(pictures.photo(size=(size[0], size[1])))

    for size in ((600, 400), (608, 400), (592, 400), (1200, 800), (304, 200)):
        judge(tmp_path, result(*size), expected_size=(600, 400))
    for size in ((400, 600), (500, 500), (640, 400), (150, 100)):
        with pytest.raises(ProviderBadOutput, match="asked for"):
            judge(tmp_path, result(*size), expected_size=(600, 400))


def test_a_placeholder_of_one_colour_is_bad_output(tmp_path: Path) -> None:
    sent = pictures.samples()["png"]
    for received in (
        png(Image.new("RGB", SIZE, (9, 200, 30))),
        png(Image.new("RGBA", SIZE, (0, 0, 0, 0))),
        png(Image.new("L", SIZE)),
    ):
        with pytest.raises(ProviderBadOutput, match="same colour"):
            judge(tmp_path, received, sent)
    jpeg = pictures.encoded(Image.new("RGB", SIZE, (93, 41, 200)), "JPEG", quality=60)
    with pytest.raises(ProviderBadOutput, match="same colour"):
        judge(tmp_path, jpeg, sent)


def test_one_colour_is_right_where_one_colour_was_sent(tmp_path: Path) -> None:
    judge(tmp_path, png(Image.new("RGB", SIZE, "red")), png(Image.new("RGB", SIZE, "white")))


def test_a_subject_of_one_colour_cut_out_of_its_background_passes(tmp_path: Path) -> None:
    cut_out = Image.new("RGBA", SIZE, (200, 0, 0, 255))
    cut_out.putalpha(pictures.alpha_ramp(SIZE))
    judge(tmp_path, png(cut_out), pictures.samples()["png"])


@pytest.mark.parametrize("received", ["png", "webp_lossless", "larger"])
def test_the_picture_that_was_sent_is_bad_output(tmp_path: Path, received: str) -> None:
    image = pictures.photo()
    versions = {
        "png": lambda: png(image),
        "webp_lossless": lambda: pictures.encoded(image, "WEBP", lossless=True),
        "larger": lambda: png(image.resize((1200, 800), Image.Resampling.NEAREST)),
    }
    data = versions[received]()
    with pytest.raises(ProviderBadOutput, match="unchanged"):
        judge(tmp_path, data, png(image))
    judge(tmp_path, data, png(image), no_op_allowed=True)


def test_the_picture_that_was_sent_is_known_through_recoding_at_high_quality(tmp_path: Path) -> None:
    smooth = pictures.photo("chelsea.png").resize((226, 150)).resize((902, 600), Image.Resampling.BICUBIC)
    with pytest.raises(ProviderBadOutput, match="unchanged"):
        judge(tmp_path, pictures.encoded(smooth, "JPEG", quality=99, subsampling=0), png(smooth))


@pytest.mark.parametrize("size", [(1024, 768), (1021, 763), (2048, 1536)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_harsh_jpeg_that_was_sent_is_known_although_it_is_first_seen_small(
    tmp_path: Path, size: tuple[int, int], turned: bool
) -> None:
    page = Image.new("RGB", size, "white")
    for row in range(0, size[1], 11):
        ImageDraw.Draw(page).text((row % 9, row), "The quick brown fox jumps over " * 12, fill="black")
    exif = Image.Exif()
    exif[274] = 6 if turned else 1
    sent = pictures.encoded(page, "JPEG", quality=30, exif=exif)
    with pytest.raises(ProviderBadOutput, match="unchanged"):
        judge(tmp_path, png(ImageOps.exif_transpose(pictures.opened(sent))), sent, max_pixels=4_000_000)


def test_a_tiny_genuine_edit_passes(tmp_path: Path) -> None:
    image = pictures.photo()
    edited = image.copy()
    edited.paste((250, 250, 250), (301, 203, 308, 210))  # 7×7 of 240 000 pixels: the mean differs by far less than 0.5
    assert np.abs(np.asarray(image, int) - np.asarray(edited, int)).mean() < 0.05
    judge(tmp_path, png(edited), png(image))


def test_an_edit_of_the_transparency_alone_passes(tmp_path: Path) -> None:
    image = pictures.photo(size=SIZE)
    cut_out = image.copy()
    cut_out.putalpha(pictures.alpha_ramp(SIZE))
    judge(tmp_path, png(cut_out), png(image))


def test_a_faint_edit_of_everything_passes(tmp_path: Path) -> None:
    image = pictures.photo()
    judge(tmp_path, png(ImageEnhance.Brightness(image).enhance(1.03)), png(image))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(pictures.samples())), st.data())
def test_damaged_bytes_raise_nothing_but_bad_output(tmp_path: Path, name: str, data: st.DataObject) -> None:
    broken = bytearray(pictures.samples()[name])
    for place in data.draw(st.lists(st.integers(0, len(broken) - 1), max_size=5)):
        broken[place] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.one_of(st.just(len(broken)), st.integers(0, len(broken))))
    with contextlib.suppress(ProviderBadOutput):
        judge(tmp_path, bytes(broken[:cut]), pictures.samples()["png"])
