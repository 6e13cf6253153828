"""A batch's body taken apart into its items, none of them parsed (pure)."""

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.fields import refusal
from shared.batch import ITEMS_MAX, LINE_MAX_BYTES
from shared.errors import InvalidJson, RequestError

_STRUCTURE = re.compile(rb'["\[\]{},]')
_BOM = b"\xef\xbb\xbf"
#: Bodies of nothing but brackets and commas are not walked to their end: what lies deeper, or has more of them in one item,
#: the parser of the items refuses.
_DEPTH_MAX = 203
_TOKENS_MAX = 5_000


@dataclass(frozen=True, slots=True)
class RawItem:
    """One item as it was written. `number`: its line, or its place in the array, from 1. `data`: None of one that is too long.

    `is_cut`: the body ended before its line did, which is nothing bad if the item is whole. `error`: why it is no item of ours
    although it may be JSON, with the `custom_id` that it has all the same.
    """

    number: int
    data: bytes | None
    is_cut: bool = False
    error: RequestError | None = None
    custom_id: str | None = None


class LineSplitter:
    """NDJSON line by line; holds no more than one line. Blank ones count, but are no items."""

    def __init__(self) -> None:
        self.lines = 0
        self._begun = bytearray()
        self._is_long = False

    def feed(self, piece: bytes) -> list[RawItem]:
        """The items that `piece` completes."""
        first, *others = piece.split(b"\n")
        self._hold(first)
        if not others:
            return []
        found = [self._ended(), *map(self._item, others[:-1])]
        self._hold(others[-1])
        return [item for item in found if item is not None]

    def finish(self) -> list[RawItem]:
        """The last item, if no line end follows it."""
        last = self._ended()
        return [] if last is None else [RawItem(last.number, last.data, is_cut=True)]

    def _hold(self, part: bytes) -> None:
        if len(self._begun) + len(part) > LINE_MAX_BYTES:
            self._is_long = True
            self._begun.clear()
        if not self._is_long:
            self._begun += part

    def _ended(self) -> RawItem | None:
        line, is_long = bytes(self._begun), self._is_long
        self._begun, self._is_long = bytearray(), False
        if not is_long:
            return self._item(line)
        self.lines += 1
        return RawItem(self.lines, None)

    def _item(self, line: bytes) -> RawItem | None:
        self.lines += 1
        if self.lines == 1:
            line = line.removeprefix(_BOM)
        line = line.strip()
        if not line:
            return None
        return RawItem(self.lines, line if len(line) <= LINE_MAX_BYTES else None)


@dataclass(frozen=True, slots=True)
class JsonItems:
    """`{"items": […], …}` taken apart. `rest`: the body without its items; `edges`: where each begins and ends."""

    body: bytes
    rest: bytes
    edges: "array[int]"

    def __iter__(self) -> Iterator[RawItem]:
        for n in range(0, len(self.edges), 2):
            item = self.body[self.edges[n] : self.edges[n + 1]].strip()
            yield RawItem(n // 2 + 1, item if len(item) <= LINE_MAX_BYTES else None)


def split_json(body: bytes) -> JsonItems:
    """Find the items of a JSON body by its brackets alone: parsing it as a whole would need many times its size.

    To be run in a thread. Raises ValidationFailed for too many items, InvalidJson if the list of them does not end or something
    lies too deep; what else is no JSON, its parsers find.
    """
    depth, at, key, key_end, begins, start, end, tokens = 0, 0, b"", 0, 0, -1, -1, 0
    edges = array("Q")
    while match := _STRUCTURE.search(body, at):
        token, place = match[0], match.start()
        at, tokens = place + 1, tokens + 1
        if tokens > _TOKENS_MAX:
            raise refusal("", "invalid_value", "this, or one of the items, has far more values than any request")
        is_inside = start >= 0 > end
        if token == b'"':
            at = _end_of_string(body, at)
            if depth == 1:
                key, key_end = body[place : min(at, place + 8)], at
        elif token in b"[{":
            if depth == 1 and start < 0 and token == b"[" and key == b'"items"' and body[key_end:place].strip() == b":":
                start = begins = at
            depth += 1
            if depth > _DEPTH_MAX:
                raise InvalidJson.at("", f"more than {_DEPTH_MAX} arrays and objects within each other")
        elif token == b",":
            if is_inside and depth == 2:
                edges.extend((begins, place))
                begins, tokens = at, 0
                if len(edges) >= 2 * ITEMS_MAX:
                    raise refusal("/items", "invalid_value", f"more than {ITEMS_MAX} items; send the others as another batch")
        else:
            depth -= 1
            if is_inside and depth == 1:
                end = place
                edges.extend((begins, place))
    if start >= 0 > end:
        raise InvalidJson.at("/items", "the body ends inside of the items")
    if len(edges) == 2 and not body[start:end].strip():
        del edges[:]
    return JsonItems(body, body[:start] + body[end:] if start >= 0 else body, edges)


def _end_of_string(body: bytes, start: int) -> int:
    """Just behind the quote that ends a string whose text begins at `start`; the end of the body if none does."""
    at = start
    while (quote := body.find(b'"', at)) >= 0:
        text = body[at:quote]
        if (len(text) - len(text.rstrip(b"\\"))) % 2 == 0:
            return quote + 1
        at = quote + 1
    return len(body)
