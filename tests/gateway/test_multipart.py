"""Forms taken apart while they arrive."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.multipart import MultipartParser, PartEnd, PartStart, boundary_of
from shared.errors import IncompleteBody, InvalidMultipart

BOUNDARY = b"----boundary42"


def form(*parts: tuple[str, bytes]) -> bytes:
    written = [b"--" + BOUNDARY + b"\r\n" + head.encode() + b"\r\n\r\n" + body + b"\r\n" for head, body in parts]
    return b"".join(written) + b"--" + BOUNDARY + b"--\r\n"


def text(name: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"'


def parse(data: bytes, cuts: list[int] = []) -> list[tuple[PartStart, bytes]]:  # noqa: B006
    parser = MultipartParser(BOUNDARY)
    parts: list[tuple[PartStart, bytes]] = []
    ended = 0
    edges = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        for event in parser.feed(data[start:end]):
            if isinstance(event, PartStart):
                parts.append((event, b""))
            elif isinstance(event, PartEnd):
                ended += 1
            else:
                parts[-1] = (parts[-1][0], parts[-1][1] + event)
    parser.finish()
    assert ended == len(parts)
    return parts


@given(st.data())
def test_a_form_is_the_same_however_it_is_cut(data: st.DataObject) -> None:
    alphabet = st.sampled_from([b"\r", b"\n", b"-", b"--", b"\r\n--", b"\r\n" + b"--" + BOUNDARY[:-1], b"a", b"\0", b"\xff"])
    bodies = data.draw(st.lists(st.lists(alphabet, max_size=8).map(b"".join), max_size=4))
    whole = form(*((text(f"part{n}"), body) for n, body in enumerate(bodies)))
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=12))
    assert [(start.name, body) for start, body in parse(whole, cuts)] == [(f"part{n}", body) for n, body in enumerate(bodies)]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_garbage_is_refused_and_nothing_else_happens(data: bytes, cuts: list[int]) -> None:
    with pytest.raises((InvalidMultipart, IncompleteBody)):
        parse(data, [min(cut, len(data)) for cut in cuts])


def test_a_part_with_a_file_name_is_a_file() -> None:
    parts = parse(form((text("image") + '; filename="a \\"b\\".png"\r\nContent-Type: image/png', b"x"), (text("prompt"), b"y")))
    assert [(start.name, start.is_file) for start, _ in parts] == [("image", True), ("prompt", False)]


@pytest.mark.parametrize("cut", [3, 5, 20, 40])
def test_a_form_without_its_end_is_incomplete(cut: int) -> None:
    with pytest.raises(IncompleteBody):
        parse(form((text("a"), b"12345"))[:-cut])


@pytest.mark.parametrize(
    "head",
    [
        "Content-Type: image/png",
        'Content-Disposition: attachment; name="a"',
        "Content-Disposition: form-data",
        text("a") + "\r\nContent-Transfer-Encoding: base64",
        text("a") + "\r\nX-Long: " + "x" * 10_000,
    ],
)
def test_a_part_with_bad_headers_is_refused(head: str) -> None:
    with pytest.raises(InvalidMultipart):
        parse(form((head, b"x")))


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(InvalidMultipart):
        parse(form(*((text("a"), b"x") for _ in range(129))))


@pytest.mark.parametrize(
    ("header", "expected"),
    [("multipart/form-data; boundary=abc", b"abc"), ('multipart/form-data; charset=utf-8; Boundary="a b"', b"a b")],
)
def test_the_boundary_is_read_from_the_header(header: str, expected: bytes) -> None:
    assert boundary_of(header) == expected


@pytest.mark.parametrize("header", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=ü"])
def test_a_header_without_a_boundary_is_refused(header: str) -> None:
    with pytest.raises(InvalidMultipart):
        boundary_of(header)
