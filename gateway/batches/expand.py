"""From a body to a promised batch: everything that is read is staged unseen, and promised in one step or given up whole."""

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from gateway.batches.items import ItemReader, Wish
from gateway.batches.lease import leased
from gateway.batches.source import Source
from gateway.batches.splitting import RawItem
from gateway.batches.staging import ItemIds, Staging
from gateway.fields import Faults, pointer_to, refusal
from gateway.idempotency import hashed_key
from gateway.named_pictures import Found, NamedPictures
from gateway.route import Call
from gateway.rules import check_address
from shared.batch import ITEMS_MAX, BatchFields
from shared.edit import InputRef
from shared.errors import EditStudioError, IdempotencyMismatch, StoreUnavailable
from shared.job import to_json
from shared.store.batch_record import BatchRecord
from shared.store.batches import NewBatch
from shared.turns import Turns

_log = logging.getLogger(__name__)


class Fingerprint:
    """What tells a batch from others: all that it asks for, however it was written."""

    def __init__(self, request: web.Request, fields: BatchFields, files: Mapping[str, Found]) -> None:
        self._digest = hashlib.sha256(to_json([request.method, request.path]).encode())
        self._digest.update(fields.model_dump_json(exclude={"items"}, exclude_defaults=True).encode())
        for name, found in sorted(files.items()):
            told = found.sha256 if isinstance(found, InputRef) else found.code
            self._digest.update(f"{name}\n{told}\n".encode())

    def add(self, raw: RawItem, wish: Wish) -> None:
        """One more item."""
        item = wish.item
        told = raw.data or b"" if wish.error else item.__pydantic_serializer__.to_json(item, exclude_defaults=True)
        self._digest.update(told)

    def finish(self) -> str:
        """In hexadecimal."""
        return self._digest.hexdigest()


async def expand(call: Call, source: Source, *, batch_id: str, files: Mapping[str, Found]) -> tuple[BatchRecord, bool]:
    """The batch as it was promised, and whether an earlier request with the same Idempotency-Key made it.

    Raises:
        ValidationFailed and other RequestErrors: nothing was accepted, and nothing is left of it.
        NotFound: this process stood still for longer than the lease, and the batch was dropped, or is another request's by now.
        StoreUnavailable: it is not known whether the batch was accepted.
    """
    batches, fields = call.connections.batches, source.fields
    _check_fields(call, fields)
    reader = ItemReader(fields, call.connections, is_array=source.word == "item")
    key = hashed_key(call.request)
    fingerprint = Fingerprint(call.request, fields, files) if key else None
    opened = await batches.open(new_batch(batch_id, call.tenant, fields), idempotency_key=key)
    turns = Turns()
    if opened.earlier is not None and fingerprint is not None:
        async for raw, wish in _wishes(source, reader, turns):
            fingerprint.add(raw, wish)
        if opened.earlier[1] != fingerprint.finish():
            raise IdempotencyMismatch("this Idempotency-Key was used for another request; use a new key for a new request")
        return await batches.get(call.tenant, opened.earlier[0]), True
    ids = ItemIds(now_ms=int(time.time() * 1000), random_bytes=os.urandom(10))
    named = NamedPictures(call.tenant, call.connections, files)
    staging = Staging(call, fields, named, batch_id=batch_id, ids=ids, word=source.word, turns=turns)
    try:
        async with leased(batches, batch_id):
            async for raw, wish in _wishes(source, reader, turns):
                if fingerprint is not None:
                    fingerprint.add(raw, wish)
                await staging.add(wish, len(raw.data or b""))
            if not staging.total:
                raise refusal("/items", "missing_field", "a batch needs at least one item")
            await staging.finish()
    except BaseException:
        await asyncio.shield(_give_up(call, staging, batch_id))
        raise
    return await _promise(call, batch_id, fingerprint.finish() if fingerprint else ""), False


def new_batch(batch_id: str, tenant: str, fields: BatchFields, *, parent: str = "") -> NewBatch:
    """What Redis keeps of a batch."""
    return NewBatch(
        id=batch_id,
        tenant=tenant,
        name=fields.name,
        metadata=to_json(fields.metadata),
        max_micro_usd=None if fields.max_cost is None else round(fields.max_cost * 1e6),
        canary=fields.canary or 0,
        stop_rate=fields.stop_on_failure_rate or 0.0,
        webhook_url=fields.webhook_url or "",
        webhook_events=[event.value for event in fields.webhook_events],
        parent=parent,
        bulk=fields.priority == "bulk",
    )


async def _wishes(source: Source, reader: ItemReader, turns: Turns) -> AsyncIterator[tuple[RawItem, Wish]]:
    index = 0
    async for group in source.groups:
        for raw in group:
            if index == ITEMS_MAX:
                raise refusal("/items", "invalid_value", f"a batch has at most {ITEMS_MAX} items; send the others as another one")
            yield raw, await reader.read(raw, index)
            index += 1
            await turns.give()


def _check_fields(call: Call, fields: BatchFields) -> None:
    faults = Faults()
    if fields.webhook_url is not None:
        check_address(fields.webhook_url, pointer_to("webhook_url"), call.connections, faults)
    faults.raise_any()


async def _promise(call: Call, batch_id: str, fingerprint: str) -> BatchRecord:
    batches = call.connections.batches
    try:
        await batches.commit(batch_id, fingerprint=fingerprint)
        return await batches.get(call.tenant, batch_id)
    except StoreUnavailable as error:
        # Redis may still apply what it was sent; what was staged stays where it is, and is dropped if it was not promised.
        message = f"the job store did not answer; the batch may have been accepted as {batch_id}"
        raise StoreUnavailable(f"{message}: ask for it, or repeat with the same Idempotency-Key", retry_after_s=1) from error


async def _give_up(call: Call, staging: Staging, batch_id: str) -> None:
    """Leave nothing. What cannot be done now, the workers' maintenance and the bucket's lifecycle rule do later."""
    try:
        await staging.give_up()
        await call.connections.batches.abandon(call.tenant, batch_id)
    except EditStudioError as error:
        _log.warning("a refused batch was not cleared away", extra={"batch_id": batch_id, "error": str(error)})
