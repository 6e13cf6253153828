"""One item of a batch: read, joined with the defaults, checked as far as it can be without looking anything up."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from gateway.batches.splitting import RawItem
from gateway.connections import Connections
from gateway.fields import Faults, parse_json, pointer_to, refusal
from gateway.intake import field_of
from gateway.pictures import SINGLE_FILES, Given, given_pictures
from gateway.rules import check_wishes
from shared.batch import LINE_MAX_BYTES, BatchFields, BatchItem
from shared.errors import BodyTooLarge, IncompleteBody, InvalidJson, RequestError
from shared.job import Course, FieldFault, JobFailure

_OFF_LOOP_BYTES = 64 * 1024
_FAULTS_SHOWN = 10
_MESSAGE_MAX_CHARS = 500
_WAYS = {
    f"{name}_{way}": tuple(f"{name}_{other}" for other in ("base64", "url", "id") if other != way)
    for name in SINGLE_FILES
    for way in ("base64", "url", "id")
}
#: What says nothing of the work to be done; and pictures, which are told by their content.
_APART = {"custom_id", "metadata", "webhook_url", "webhook_events", "response_format", "priority", "reference_images", *_WAYS}

_NOTHING = BatchItem()


@dataclass(slots=True)
class Wish:
    """An item as it was read. `work`: what is to be done, apart from the pictures; equal wishes have equal bytes.

    `error`: why it cannot be done; then `item` is empty.
    """

    index: int
    number: int
    custom_id: str | None = None
    item: BatchItem = _NOTHING
    given: Sequence[Given] = ()
    work: bytes = b""
    error: RequestError | None = None


class ItemReader:
    """Reads the items of one batch. Raises ValidationFailed when the batch's fields contradict each other."""

    def __init__(self, fields: BatchFields, connections: Connections, *, is_array: bool) -> None:
        given = {name: getattr(fields.defaults, name) for name in fields.defaults.model_fields_set}
        if given.get("priority", fields.priority) != fields.priority:
            raise refusal("/defaults/priority", "invalid_value", "the batch has a priority, its items have none of their own")
        self._connections = connections
        self._is_array = is_array
        self._base = BatchItem.model_construct(set(given) | {"priority"}, **{**given, "priority": fields.priority})
        self._pictures = [name for name in given if name in _WAYS]
        self._names: set[bytes] = set()

    async def read(self, raw: RawItem, index: int) -> Wish:
        """The item, or what is wrong with it. Raises IncompleteBody, InvalidJson when the body itself is broken."""
        wish = await self._read(raw, index)
        if wish.custom_id is None:
            return wish
        # Digests, because names may be long and are held until the last item was read.
        name = hashlib.blake2b(wish.custom_id.encode(), digest_size=16).digest()
        if name not in self._names:
            self._names.add(name)
            return wish
        error = refusal("/custom_id", "invalid_value", f"an earlier item of this batch has the custom_id {wish.custom_id!r}")
        # Its own name is left out, so that there is one item of this name.
        return Wish(index, raw.number, error=wish.error or error)

    async def _read(self, raw: RawItem, index: int) -> Wish:
        if raw.error is not None:
            return Wish(index, raw.number, custom_id=raw.custom_id, error=raw.error)
        if raw.data is None:
            error = BodyTooLarge.at("", f"an item has at most {LINE_MAX_BYTES} bytes; upload its pictures instead")
            return Wish(index, raw.number, error=error)
        is_large = len(raw.data) > _OFF_LOOP_BYTES
        try:
            item = await asyncio.to_thread(parse_json, BatchItem, raw.data) if is_large else parse_json(BatchItem, raw.data)
        except RequestError as error:
            if isinstance(error, InvalidJson):
                self._raise_broken(raw, error)
            name = await asyncio.to_thread(_custom_id, raw.data) if is_large else _custom_id(raw.data)
            return Wish(index, raw.number, custom_id=name, error=error)
        return self._checked(index, raw.number, item)

    def _raise_broken(self, raw: RawItem, error: InvalidJson) -> None:
        """A body that is no JSON, or no longer whole, is refused as such: nobody can tell what else is missing."""
        if self._is_array:
            raise InvalidJson.at(pointer_to("items", raw.number - 1), error.detail)
        if raw.is_cut and error.detail.startswith("Invalid JSON: EOF"):
            raise IncompleteBody.at("", f"the body ends in the middle of line {raw.number}")

    def _checked(self, index: int, number: int, item: BatchItem) -> Wish:
        faults, priority = Faults(), self._base.priority
        if "priority" in item.model_fields_set and item.priority != priority:
            faults.add("/priority", "invalid_value", f"the priority of this batch is {priority}; an item has none of its own")
        merged = self._merged(item)
        given = given_pictures(merged, {}, faults)
        check_wishes(merged, {field_of(one.role): one.pointer for one in given}, self._connections, faults)
        try:
            faults.raise_any()
        except RequestError as error:
            return Wish(index, number, custom_id=item.custom_id, error=error)
        work: bytes = merged.__pydantic_serializer__.to_json(merged, exclude=_APART, exclude_defaults=True)
        return Wish(index, number, item.custom_id, merged, given, work)

    def _merged(self, item: BatchItem) -> BatchItem:
        """The defaults with the item's own fields in their place; a picture that it gives replaces one given otherwise."""
        own: dict[str, Any] = {name: getattr(item, name) for name in item.model_fields_set}
        for name in self._pictures:
            if any(own.get(other) is not None for other in _WAYS[name]):
                own.setdefault(name, None)
        return self._base.model_copy(update=own)


def failed_course(error: RequestError, *, word: str, number: int) -> Course:
    """What is kept of an item that cannot be done."""
    faults = error.errors[:_FAULTS_SHOWN]
    where = f"{word} {number}" + (f", {faults[0].pointer[1:]}" if faults and faults[0].pointer else "")
    failure = JobFailure(
        code=error.code,
        message=f"{where}: {error.detail}"[:_MESSAGE_MAX_CHARS],
        retryable=False,
        by="caller",
        stage="reading",
        billed=False,
        line=number,
        errors=tuple(FieldFault(pointer=one.pointer, code=one.code, message=one.message) for one in faults),
    )
    return Course(error=failure)


def _custom_id(data: bytes) -> str | None:
    """What the caller calls an item that is broken otherwise, if that can be told."""
    try:
        value: Any = from_json(data)
        named: Mapping[str, Any] = {"custom_id": value["custom_id"]}
        return BatchItem.model_validate(named).custom_id
    except (ValueError, KeyError, TypeError):
        return None
