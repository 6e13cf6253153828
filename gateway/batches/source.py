"""Where a batch comes from: an NDJSON stream, a JSON body, or either as the manifest of a form."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import from_json

from gateway.batches.splitting import JsonItems, LineSplitter, RawItem, split_json
from gateway.fields import parse_json, refusal
from gateway.spool import Content, pieces_of
from shared.batch import ITEMS_MAX, LINE_MAX_BYTES, BatchFields
from shared.errors import BodyTooLarge

_SPLIT_BYTES = 32 * 1024  #: so much is split at once, so that a body of nothing but line ends blocks nobody
_GROUP = 64
_READ_BYTES = 256 * 1024


class _Head(BatchFields):
    items: Annotated[tuple[Any, ...], Field(max_length=0)]


@dataclass(frozen=True, slots=True)
class Source:
    """The fields of a batch, and its items a group at a time. `word`: what callers know an item's number as."""

    fields: BatchFields
    groups: AsyncIterator[list[RawItem]]
    word: Literal["line", "item"]


async def ndjson_source(pieces: AsyncIterator[bytes]) -> Source:
    """A stream of lines. The first one gives the fields if it has `defaults`. Raises like `pieces`, ValidationFailed."""
    groups = _lines(pieces)
    first: list[RawItem] = await anext(groups, [])
    fields = BatchFields()
    if first and first[0].data is not None and _is_head(first[0].data):
        fields = parse_json(BatchFields, first[0].data)
        first = first[1:]

    async def chained() -> AsyncIterator[list[RawItem]]:
        yield first
        async for group in groups:
            yield group

    return Source(fields, chained(), "line")


async def json_source(body: bytes) -> Source:
    """A JSON body. Raises InvalidJson, ValidationFailed."""
    found = await asyncio.to_thread(split_json, body)
    head = await asyncio.to_thread(parse_json, _Head, found.rest)
    return Source(head, _grouped(found), "item")


async def manifest_source(manifest: Content, *, json_max_bytes: int) -> Source:
    """A manifest, NDJSON or JSON as its content says. Raises BodyTooLarge besides."""
    async with contextlib.aclosing(pieces_of(manifest, LINE_MAX_BYTES)) as pieces:
        beginning = await anext(pieces, b"")
    if not await asyncio.to_thread(_is_json, beginning):
        return await ndjson_source(pieces_of(manifest, _READ_BYTES))
    if manifest.bytes > json_max_bytes:
        raise BodyTooLarge.at("/manifest", f"a JSON manifest has at most {json_max_bytes} bytes; write it as NDJSON")
    return await json_source(b"".join([piece async for piece in pieces_of(manifest, _READ_BYTES)]))


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[RawItem]]:
    splitter = LineSplitter()
    async for piece in pieces:
        for start in range(0, len(piece), _SPLIT_BYTES):
            found = splitter.feed(piece[start : start + _SPLIT_BYTES])
            if splitter.lines > 2 * ITEMS_MAX:
                raise refusal("/items", "invalid_value", f"more than {2 * ITEMS_MAX} lines")
            if found:
                yield found
    if last := splitter.finish():
        yield last


async def _grouped(items: JsonItems) -> AsyncIterator[list[RawItem]]:
    group: list[RawItem] = []
    for item in items:
        group.append(item)
        if len(group) == _GROUP:
            yield group
            group = []
    yield group


def _is_head(line: bytes) -> bool:
    return b'"defaults"' in line and "defaults" in _object(line)


def _is_json(beginning: bytes) -> bool:
    """Whether a manifest is one JSON object with `items` rather than lines of objects."""
    return "items" in _object(beginning, is_partial=True)


def _object(text: bytes, *, is_partial: bool = False) -> dict[str, Any]:
    try:
        value = from_json(text, allow_partial=is_partial)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
