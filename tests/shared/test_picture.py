"""shared/picture.py: what a picture is, told from its bytes; nothing is decoded and nothing but PictureError comes out."""

import contextlib
import io
import pickle
import struct
import threading
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import AnimatedPicture, NotAPicture, PictureError, PictureTooLarge, TruncatedPicture
from shared.picture import PictureInfo, content_type, extension, quiet_pillow, read_info
from tests import pictures

MAX_BYTES, MAX_PIXELS, MAX_SIDE = 20 * 1024 * 1024, 50_000_000, 16_384


def info(source: bytes | Path | io.BytesIO, *, animated_first: bool = False, **limits: int) -> PictureInfo:
    bounds = {"max_bytes": MAX_BYTES, "max_pixels": MAX_PIXELS, "max_side": MAX_SIDE, **limits}
    return read_info(source, animated_first=animated_first, **bounds)


@pytest.mark.parametrize("name", sorted(pictures.samples()))
def test_every_kind_that_is_taken_is_recognised_by_its_content(name: str) -> None:
    data = pictures.samples()[name]
    found = info(data)
    assert found.format == name.split("_")[0]
    assert found.bytes == len(data)
    assert found.upright_size == (120, 80)
    assert found.has_alpha == ("alpha" in name and name != "jpeg")
    assert found.has_metadata == ("gps" in name or name == "jpeg_rotated")
    assert found.has_icc == ("p3" in name)
    assert found.frames == 1


def test_the_pixel_layout_is_named() -> None:
    modes = {name: info(data).mode for name, data in pictures.samples().items()}
    assert modes["jpeg_cmyk"] == "CMYK"
    assert modes["jpeg_grey"] == "L"
    assert modes["png_16_grey"] == "I;16"
    assert modes["png_16_rgb"] == "RGB;16"
    assert modes["png_16_alpha"] == "RGBA;16"
    assert modes["png_palette_alpha"] == "P"
    assert modes["png_1_bit"] == "1"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read_and_the_stored_size_kept(format_: str, orientation: int) -> None:
    found = info(pictures.rotated(orientation, format_))
    assert found.orientation == orientation
    assert (found.width, found.height) == ((80, 120) if orientation >= 5 else (120, 80))
    assert found.upright_size == (120, 80)


def test_bytes_a_path_and_a_file_say_the_same(tmp_path: Path) -> None:
    for name, data in pictures.samples().items():
        path = tmp_path / name
        path.write_bytes(data)
        assert info(data) == info(path) == info(io.BytesIO(data))


@pytest.mark.parametrize("name", sorted(pictures.samples()))
def test_a_picture_that_is_cut_is_refused(name: str) -> None:
    data = pictures.samples()[name]
    for share in (0.2, 0.5, 0.9, 0.99):
        with pytest.raises((TruncatedPicture, NotAPicture)):
            info(data[: int(len(data) * share)])


@pytest.mark.parametrize("name", ["jpeg", "jpeg_progressive", "png", "webp", "gif", "bmp", "tiff", "avif"])
def test_the_last_bytes_missing_is_called_truncated(name: str) -> None:
    with pytest.raises(TruncatedPicture):
        info(pictures.samples()[name][:-40])


def test_the_thumbnail_in_the_exif_block_does_not_hide_a_cut_jpeg() -> None:
    thumbnail = pictures.encoded(pictures.photo(size=(40, 30)), "JPEG")
    data = pictures.samples()["jpeg"]
    block = b"Exif\0\0" + thumbnail
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    assert info(data).has_metadata
    with pytest.raises(TruncatedPicture):
        info(data[:-200])


@pytest.mark.parametrize("name", sorted(pictures.samples()))
def test_garbage_behind_the_picture_is_tolerated(name: str) -> None:
    data = pictures.samples()[name]
    found = info(data + b"\0\r\ngarbage" * 30)
    assert (found.format, found.upright_size, found.frames) == (info(data).format, (120, 80), 1)
    if found.format in ("jpeg", "png", "webp"):
        assert found.has_metadata  # what hides there must not leave the house


@pytest.mark.parametrize(
    "data", [b"", b"x", b"<html><body>no</body></html>", b"%PDF-1.7\n" * 50, b"BM", b"\xff\xd8\xff", b"GIF89a"]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises((NotAPicture, TruncatedPicture)):
        info(data)


def test_an_empty_file_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(NotAPicture):
        info(tmp_path / "empty")


def test_formats_that_pillow_knows_and_we_do_not_take_are_refused() -> None:
    for format_ in ("PPM", "ICO", "TGA", "PCX", "SGI"):
        with pytest.raises(NotAPicture):
            info(pictures.encoded(pictures.photo(size=(16, 16)), format_))


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_refused_unless_its_first_frame_will_do(format_: str) -> None:
    data = pictures.animated(format_)
    with pytest.raises(AnimatedPicture):
        info(data)
    assert info(data, animated_first=True).frames == 3


def test_a_tiff_of_several_pages_is_refused() -> None:
    page = pictures.photo(size=(20, 20))
    data = pictures.encoded(page, "TIFF", save_all=True, append_images=[page])
    with pytest.raises(AnimatedPicture):
        info(data)
    assert info(data, animated_first=True).frames == 2


def test_a_telephone_picture_with_a_second_jpeg_behind_it_is_one_jpeg() -> None:
    image = pictures.photo(size=(40, 30))
    found = info(pictures.encoded(image, "MPO", save_all=True, append_images=[image]))
    assert (found.format, found.frames, found.has_metadata) == ("jpeg", 1, True)


def test_each_limit_names_itself_and_the_value() -> None:
    data = pictures.samples()["png"]
    for limits, words in (
        ({"max_bytes": 1_000}, ["1000 bytes"]),
        ({"max_side": 100}, ["120×80", "100"]),
        ({"max_pixels": 9_599}, ["9600", "9599"]),
    ):
        with pytest.raises(PictureTooLarge) as caught:
            info(data, **limits)
        assert all(word in str(caught.value) for word in words)
    assert info(data, max_bytes=len(data), max_side=120, max_pixels=9_600)


@pytest.mark.parametrize(
    "bomb",
    [
        lambda: pictures.header_only_png((65_000, 65_000)),
        lambda: pictures.header_only_png((2**31 - 1, 2**31 - 1)),
        lambda: pictures.plain_png((14_000, 14_000)),
        pictures.gif_with_huge_frame,
        lambda: pictures.tiff_with_tags([(256, 4, 1, 60_000), (257, 4, 1, 60_000), (273, 4, 1, 8)]),
        lambda: (
            b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6 + b"VP8L" + bytes(4)
        ),
    ],
)
def test_a_bomb_is_too_large_before_anything_is_decompressed(bomb: object) -> None:
    data = bomb()  # type: ignore[operator]
    started_cpu = time.process_time()
    with pytest.raises(PictureTooLarge):
        info(data)
    assert time.process_time() - started_cpu < 1  # decompressing would take tens of seconds or all memory


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_bomb_in_a_text_or_profile_chunk_is_refused(kind: bytes) -> None:
    with pytest.raises(PictureError):
        info(pictures.png_with_text_bomb(kind))


@pytest.mark.parametrize(
    "tags",
    [
        [(256, 4, 1, 16), (257, 4, 1, 16), (273, 4, 4_000_000_000, 8)],
        [(256, 4, 1, 16), (257, 4, 1, 16), (273, 4, 1, 4_000_000_000), (279, 4, 1, 768)],
        [(256, 4, 1, 0), (257, 4, 1, 16), (273, 4, 1, 8)],
        [(256, 2, 1, 16), (257, 4, 1, 16)],
        [(257, 4, 1, 16)],
        [(tag, 7, 60, 8) for tag in range(40_000, 40_900)],
    ],
)
def test_a_tiff_with_absurd_tags_is_refused(tags: list[tuple[int, int, int, int]]) -> None:
    with pytest.raises(PictureError):
        info(pictures.tiff_with_tags(tags))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xe0" + b"\x00\x02\xff\xe0" * 5_000_000,
        b"\xff\xd8\xff" + b"\x01" * 20_000_000,
        b"\xff\xd8" + b"\xff" * 20_000_000,
        b"\x89PNG\r\n\x1a\n" + (b"\0\0\0\0teXt" + b"\0\0\0\0") * 1_600_000,
        b"GIF89a" + bytes(7) + b"!\xfe" + b"\1a" * 9_000_000,
        b"RIFF" + struct.pack("<I", 16_000_004) + b"WEBP" + (b"JUNK" + bytes(4)) * 2_000_000,
    ],
    ids=["jpeg segments", "jpeg junk", "jpeg fill", "png chunks", "gif blocks", "webp chunks"],
)
def test_millions_of_tiny_blocks_do_not_keep_us_busy(data: bytes) -> None:
    started_cpu = time.process_time()
    with pytest.raises(PictureError):
        info(data)
    assert time.process_time() - started_cpu < 1


def test_broken_exif_does_not_spoil_a_good_picture() -> None:
    data = pictures.samples()["jpeg"]
    for block in (
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xaa" * 90,
    ):
        broken = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
        assert info(broken).orientation == 1


def test_pillows_warnings_do_not_leak_and_the_filters_come_back() -> None:
    before = list(warnings.filters)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0" + struct.pack("<HHLL", 271, 2, 5_000, 60_000) * 5
    data = pictures.samples()["jpeg"]
    warned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    threads = [threading.Thread(target=lambda: [info(warned) for _ in range(20)]) for _ in range(4)]
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        inside = list(warnings.filters)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert list(warnings.filters) == inside
    assert leaked == []
    assert list(warnings.filters) == before
    with quiet_pillow(), quiet_pillow():
        pass
    assert list(warnings.filters) == before


def test_errors_and_infos_cross_process_borders() -> None:
    found = info(pictures.samples()["jpeg"])
    assert pickle.loads(pickle.dumps(found)) == found
    error = pickle.loads(pickle.dumps(PictureTooLarge("too large")))
    assert (type(error), error.detail) == (PictureTooLarge, "too large")


def test_names_of_types_and_files() -> None:
    assert [content_type(name) for name in ("jpeg", "png", "heic")] == ["image/jpeg", "image/png", "image/heic"]
    assert [extension(name) for name in ("jpeg", "webp")] == ["jpg", "webp"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(pictures.samples())), st.data())
def test_damaged_bytes_raise_nothing_but_picture_errors(name: str, data: st.DataObject) -> None:
    broken = bytearray(pictures.samples()[name])
    # Most of what can confuse a reader of headers lies at the front.
    places = st.one_of(st.integers(0, min(len(broken), 600) - 1), st.integers(0, len(broken) - 1))
    for place in data.draw(st.lists(places, max_size=6)):
        broken[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(broken)), st.integers(0, len(broken))))
    with contextlib.suppress(PictureError):
        found = info(bytes(broken[:cut]))
        assert found.width * found.height <= MAX_PIXELS


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        [
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\x80\0\0\0WEBP",
            b"GIF89a",
            b"II*\0",
            b"MM\0+",
            b"BM",
            b"\0\0\0\x18ftypavif",
        ]
    ),
    st.binary(max_size=300),
)
def test_noise_behind_a_true_signature_raises_nothing_but_picture_errors(signature: bytes, noise: bytes) -> None:
    with contextlib.suppress(PictureError):
        info(signature + noise)
