"""Items into Redis in chunks: their pictures looked up and stored, their model guessed, their money reserved."""

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.batches.items import Wish, failed_course
from gateway.fields import Faults, pointer_to
from gateway.intake import field_of
from gateway.named_pictures import NamedPictures
from gateway.pictures import Picture, judge_pictures, store_pictures
from gateway.problems import REQUEST_ID
from gateway.route import Call
from gateway.rules import spec_of
from shared.batch import ITEM_DEADLINE_S, BatchFields
from shared.edit import EditSpec, InputRef
from shared.errors import EditStudioError, FieldError, RequestError, ValidationFailed
from shared.estimate import estimate_micro_usd, likely_model
from shared.ids import new_id
from shared.pinned import check_possible
from shared.queue import lane_of_model
from shared.store.batches import NewItem
from shared.turns import Turns

_CHUNK = 250
#: What the items of a chunk may weigh together, and how many pictures they may name: pictures in base64 are held until stored.
_CHUNK_BYTES = 4 * 1024 * 1024
_CHUNK_PICTURES = 1_000
_STORED_AT_ONCE = 16
_ERRORS_SHOWN = 100
_KNOWN_MAX = 1_024
#: How long a refusal is held while pictures that came with it are removed; the bucket's lifecycle rule removes the rest.
CLEARING_S = 5.0
_LANE_OF_NOTHING = "none"


class ItemIds:
    """The ids of a batch's items, which follow from their indices: they need not be remembered, and share a beginning."""

    def __init__(self, *, now_ms: int, random_bytes: bytes) -> None:
        self._now_ms = now_ms
        self._base = int.from_bytes(random_bytes[:7], "big") << 20

    def of(self, index: int) -> str:
        """The id of one item, below 2^20."""
        return new_id("edit", now_ms=self._now_ms, random_bytes=(self._base | index).to_bytes(10, "big"))

    @property
    def beginning(self) -> str:
        """What all of them begin with, and no other edit's id."""
        return self.of(0)[:-4]


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What will become of an item: why it cannot be done, or who will probably do it and for how much (1e-6 USD)."""

    error: RequestError | None
    lane: str = ""
    micro_usd: int = 0


@dataclass(slots=True)
class _Judged:
    """An item that was looked at whole; `refs`: where its pictures lie."""

    wish: Wish
    pictures: Sequence[Picture]
    refs: Sequence[InputRef]
    outlook: _Outlook


class Staging:
    """The items of one batch on their way: held for a chunk, staged, forgotten."""

    def __init__(
        self, call: Call, fields: BatchFields, named: NamedPictures, *, batch_id: str, ids: ItemIds, word: str, turns: Turns
    ) -> None:
        self._call = call
        self._connections = call.connections
        self._fields = fields
        self._named = named
        self._batch_id = batch_id
        self._ids = ids
        self._word = word
        self._turns = turns
        self._chunk: list[Wish] = []
        self._bytes = 0
        self._pictures = 0
        self._sending: asyncio.Task[None] | None = None
        self._seen: Sequence[str] = ()
        self._outlooks: dict[tuple[Any, ...], _Outlook] = {}
        self._firsts: dict[bytes, int] = {}
        self._errors: list[FieldError] = []
        self.broken = 0
        self.total = 0

    async def add(self, wish: Wish, size: int) -> None:
        """One more item of `size` bytes. Raises BudgetExceeded, QueueFull, StorageUnavailable, StoreUnavailable, Overloaded."""
        self.total += 1
        self._chunk.append(wish)
        self._bytes += size
        self._pictures += len(wish.given)
        if len(self._chunk) >= _CHUNK or self._bytes >= _CHUNK_BYTES or self._pictures >= _CHUNK_PICTURES:
            await self._flush()

    async def finish(self) -> None:
        """Stage what is left. Raises ValidationFailed besides: the batch is refused for its broken items."""
        await self._flush()
        await self.settle()
        if self.broken and self._fields.all_or_nothing:
            more = f" (and {self.broken - 1} more)" if self.broken > 1 else ""
            message = f"{self.broken} of {self.total} items are broken, nothing was accepted: {self._errors[0].message}{more}"
            raise ValidationFailed(message, errors=self._errors)

    async def settle(self) -> None:
        """Wait for what is on its way to Redis. Raises like `add`."""
        sending, self._sending = self._sending, None
        if sending is not None:
            await sending

    async def give_up(self) -> None:
        """Take back what was stored for items that will not be. Raises StorageUnavailable."""
        if self._sending is not None:
            self._sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, EditStudioError):
                await self._sending
        await self._connections.storage.delete_under(f"in/{self._call.tenant}/{self._ids.beginning}", within_s=CLEARING_S)

    async def _flush(self) -> None:
        chunk, self._chunk, self._bytes, self._pictures = self._chunk, [], 0, 0
        if not chunk:
            return
        await self._named.look_up({one.id for wish in chunk for one in wish.given if one.id is not None})
        self._seen = await self._connections.jobs.providers_seen()
        judged = [await self._judged(wish) for wish in chunk]
        if self.broken and self._fields.all_or_nothing:
            return
        await self._store([one for one in judged if one.outlook.error is None])
        items = []
        for one in judged:
            items.append(self._new_item(one))
            await self._turns.give()
        # Redis works on one chunk while the next one is read; one at a time, so that the items keep their order.
        await self.settle()
        self._sending = asyncio.create_task(self._send(items, chunk[0].index))

    async def _send(self, items: Sequence[NewItem], first_index: int) -> None:
        await self._connections.batches.stage(
            self._batch_id,
            items,
            first_index=first_index,
            bulk=self._fields.priority == "bulk",
            request_id=self._call.request[REQUEST_ID],
            key_id=self._call.key.id,
        )

    async def _judged(self, wish: Wish) -> _Judged:
        """The item with its pictures, or with what is wrong with them or with all of it."""
        pictures: list[Picture] = []
        outlook = _Outlook(wish.error)
        if wish.error is None:
            faults = Faults()
            pictures = await judge_pictures(
                wish.given,
                first_frame=wish.item.animated == "first",
                mask_mode=wish.item.mask_mode,
                named=self._named,
                connections=self._connections,
                faults=faults,
            )
            try:
                faults.raise_any()
                outlook = self._outlook(wish, pictures)
            except RequestError as error:
                outlook = _Outlook(error)
        if outlook.error is not None:
            self._count(wish, outlook.error)
        await self._turns.give()
        return _Judged(wish, pictures, [picture.ref for picture in pictures], outlook)

    def _outlook(self, wish: Wish, pictures: Sequence[Picture]) -> _Outlook:
        """Found out once for items that ask for the same work on pictures of the same sizes."""
        like = (wish.work, *((picture.pointer, picture.ref.role, _size(picture.ref)) for picture in pictures))
        outlook = self._outlooks.get(like)
        if outlook is None:
            catalog, refs = self._connections.catalog, [picture.ref for picture in pictures]
            spec = spec_of(wish.item, refs, user_tier=self._call.key.tier)
            try:
                check_possible(spec, catalog, {field_of(one.role): one.pointer for one in wish.given})
                model = likely_model(spec, catalog, self._seen)
                outlook = _Outlook(None, lane_of_model(model, catalog), estimate_micro_usd(spec, model, _size(spec.image)))
            except RequestError as error:
                outlook = _Outlook(error)
            if len(self._outlooks) >= _KNOWN_MAX:
                self._outlooks.clear()
            self._outlooks[like] = outlook
        return outlook

    def _count(self, wish: Wish, error: RequestError) -> None:
        self.broken += 1
        if not self._fields.all_or_nothing:
            return
        faults = error.errors or (FieldError("", error.code, error.detail),)
        for fault in faults[: _ERRORS_SHOWN - len(self._errors)]:
            pointer = pointer_to("items", wish.index) + fault.pointer
            self._errors.append(FieldError(pointer, fault.code, f"{self._word} {wish.number}: {fault.message}"))

    async def _store(self, judged: Sequence[_Judged]) -> None:
        """Put the pictures that came with their items into storage."""
        places = asyncio.Semaphore(_STORED_AT_ONCE)

        async def store(one: _Judged) -> None:
            async with places:
                job_id = self._ids.of(one.wish.index)
                one.refs = await store_pictures(
                    one.pictures, tenant=self._call.tenant, job_id=job_id, connections=self._connections
                )

        brought = [one for one in judged if any(picture.content is not None for picture in one.pictures)]
        # All of them to their end, so that giving up finds whatever was put.
        for answer in await asyncio.gather(*(store(one) for one in brought), return_exceptions=True):
            if answer is not None:
                raise answer

    def _new_item(self, one: _Judged) -> NewItem:
        wish, outlook, item_id = one.wish, one.outlook, self._ids.of(one.wish.index)
        named = {"custom_id": wish.custom_id} if wish.custom_id is not None else {}
        if outlook.error is not None:
            course = failed_course(outlook.error, word=self._word, number=wish.number)
            return NewItem(item_id, _LANE_OF_NOTHING, EditSpec(**named), ITEM_DEADLINE_S, failed=course)
        spec = spec_of(wish.item, one.refs, user_tier=self._call.key.tier)
        twin_of = self._first_like(wish, one.pictures)
        return NewItem(
            item_id,
            outlook.lane,
            spec.model_copy(update=named) if named else spec,
            spec.deadline_s or ITEM_DEADLINE_S,
            reserved_micro_usd=0 if twin_of else outlook.micro_usd,
            twin_of=twin_of,
        )

    def _first_like(self, wish: Wish, pictures: Sequence[Picture]) -> str:
        """The id of the item that does the same work on the same pictures, if there is one and it is to be done once."""
        if not self._fields.dedupe:
            return ""
        identities = "\n".join(f"{picture.ref.role} {picture.identity}" for picture in pictures)
        like = hashlib.sha256(b"\n".join((wish.work, identities.encode()))).digest()[:16]
        first = self._firsts.setdefault(like, wish.index)
        return self._ids.of(first) if first != wish.index else ""


def _size(ref: InputRef) -> tuple[int, int] | None:
    return ref.info.upright_size if ref.info is not None else None
