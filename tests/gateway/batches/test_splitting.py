"""A batch's body taken apart: as a parser would, whatever is in it and however it is cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.batches import splitting
from gateway.batches.splitting import LineSplitter, RawItem, split_json
from shared.batch import ITEMS_MAX, LINE_MAX_BYTES
from shared.errors import InvalidJson, RequestError

scalars = st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\[]{},: \n\té', max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def lines_of(data: bytes, cuts: list[int]) -> list[RawItem]:
    splitter, found, start = LineSplitter(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        found += splitter.feed(data[start:cut])
        start = cut
    return found + splitter.finish()


@given(st.lists(st.sampled_from([b"{}", b'{"a": 1}', b"", b" ", b"x\r"]), max_size=8), st.lists(st.integers(0, 40), max_size=6))
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    data = b"\n".join(lines)
    expected = [(n, line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]
    assert [(item.number, item.data) for item in lines_of(data, [min(cut, len(data)) for cut in cuts])] == expected


@pytest.mark.parametrize("size", [1_000, 65_536, 3 * LINE_MAX_BYTES])
def test_no_more_than_a_line_is_held(size: int) -> None:
    data = b"\xef\xbb\xbf{}\n" + b"x" * LINE_MAX_BYTES + b"\n" + b"y" * (LINE_MAX_BYTES + 1) + b"\nz"
    splitter, found = LineSplitter(), []
    for start in range(0, len(data), size):
        found += splitter.feed(data[start : start + size])
        assert len(splitter._begun) <= LINE_MAX_BYTES
    found += splitter.finish()
    assert [(item.number, item.data and len(item.data), item.is_cut) for item in found] == [
        (1, 2, False),
        (2, LINE_MAX_BYTES, False),
        (3, None, False),
        (4, 1, True),
    ]


@given(
    before=st.dictionaries(st.text(max_size=6).filter(lambda name: name != "items"), values, max_size=3),
    items=st.lists(values, max_size=5),
    after=st.dictionaries(st.text(max_size=6).filter(lambda name: name != "items"), values, max_size=3),
    indent=st.sampled_from([None, 0, 2]),
    is_ascii=st.booleans(),
)
def test_items_are_those_that_a_parser_finds(
    before: dict[str, Any], items: list[Any], after: dict[str, Any], indent: int | None, is_ascii: bool
) -> None:
    document = {**before, "items": items, **after}
    found = split_json(json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode())
    assert [json.loads(item.data or b"") for item in found] == items
    assert json.loads(found.rest) == {**document, "items": []}


@given(st.text(alphabet='{}[]",: items\\', max_size=60))
def test_anything_else_is_taken_apart_without_harm(text: str) -> None:
    try:
        found = split_json(text.encode())
    except InvalidJson:
        return
    list(found)
    assert len(found.rest) <= len(text)


@given(st.text(alphabet='{}[]",:is1 ', max_size=30))
def test_what_is_not_json_does_not_become_json_by_being_taken_apart(text: str) -> None:
    """The rest and every item parse only if the whole does."""
    body = b'{"items": [' + text.encode() + b"]}"
    try:
        found = split_json(body)
        parts = [json.loads(found.rest), *(json.loads(item.data or b"") for item in found)]
    except (InvalidJson, ValueError):
        return
    assert json.loads(body)["items"] == parts[1:] or parts[0]["items"]


def test_an_item_of_an_array_may_be_as_long_as_a_line() -> None:
    body = json.dumps({"items": ["x" * (LINE_MAX_BYTES - 2), "y" * LINE_MAX_BYTES]}).encode()
    assert [item.data is None for item in split_json(body)] == [False, True]


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (b"", b"["),
        (b'{"items":[', b"["),
        (b'{"items":[', b"{},"),
        (b'{"items":[{"a":[', b"1,"),
        (b'{"items":[{}],"defaults":{"a":[', b'"",'),
        (b'{"items":[', b"{}}{"),
    ],
    ids=["brackets", "brackets as items", "items", "values of an item", "values beside the items", "objects"],
)
def test_a_body_of_brackets_and_commas_is_not_walked_to_its_end(
    beginning: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern, looked = splitting._STRUCTURE, 0

    class Counting:
        """The pattern."""

        @staticmethod
        def search(body: bytes, at: int) -> Any:
            nonlocal looked
            looked += 1
            return pattern.search(body, at)

    monkeypatch.setattr(splitting, "_STRUCTURE", Counting)
    with pytest.raises(RequestError):
        split_json(beginning + piece * 5_000_000)
    assert looked < 4 * ITEMS_MAX


def test_a_hundred_thousand_items_are_taken_apart_and_one_more_is_refused() -> None:
    assert len(list(split_json(b'{"items":[' + b"{}," * (ITEMS_MAX - 1) + b"{}]}"))) == ITEMS_MAX
    with pytest.raises(RequestError, match="more than 100000 items"):
        split_json(b'{"items":[' + b"{}," * ITEMS_MAX + b"{}]}")


@pytest.mark.parametrize("depth", [190, 201])
def test_an_item_as_deep_as_its_parser_takes_is_an_item(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    assert [item.data for item in split_json(b'{"items":[' + deep + b"]}")] == [deep]
