"""The body of `POST …/batches`, whatever its form, to a promised batch."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator

from aiohttp import hdrs

from gateway.batches.bodies import unpacked
from gateway.batches.expand import expand
from gateway.batches.form import BatchForm
from gateway.batches.source import json_source, manifest_source, ndjson_source
from gateway.body import BodyReader
from gateway.intake import FORM, JSON
from gateway.route import Call
from shared.batch import STREAM_MAX_BYTES
from shared.errors import BodyTooLarge, EditStudioError, StoreUnavailable, UnsupportedMediaType
from shared.ids import new_id
from shared.store.batch_record import BatchRecord

NDJSON = "application/x-ndjson"
_WHOLE_S = 3_600.0
#: What reading a stream holds: a chunk of items with their pictures, on its way and coming in.
_HELD_BYTES = 16 * 1024 * 1024
_log = logging.getLogger(__name__)


async def read_batch(call: Call) -> tuple[BatchRecord, bool]:
    """The batch as it was promised, and whether an earlier request with the same Idempotency-Key made it.

    Raises UnsupportedMediaType, BodyTooLarge, IncompleteBody, InvalidJson, InvalidMultipart, Overloaded, and like `expand`.
    """
    reader = BodyReader(call.request, max_bytes=STREAM_MAX_BYTES, whole_s=_WHOLE_S, encodings=("identity", "gzip"))
    pieces = unpacked(reader) if reader.encoding == "gzip" else reader.pieces()
    batch_id = new_id("batch", now_ms=int(time.time() * 1000), random_bytes=os.urandom(10))
    kind, json_max_bytes = call.request.content_type, call.connections.settings.body_max_bytes
    with call.connections.memory.hold(_HELD_BYTES):
        if kind == NDJSON:
            return await expand(call, await ndjson_source(pieces), batch_id=batch_id, files={})
        if kind == JSON:
            # Once as it came in pieces and once as a whole, or once more without its items.
            with call.connections.memory.hold(2 * (json_max_bytes if reader.encoding == "gzip" else reader.expected_bytes)):
                source = await json_source(await _whole(pieces, max_bytes=json_max_bytes))
                return await expand(call, source, batch_id=batch_id, files={})
        if kind == FORM:
            return await _read_form(call, pieces, batch_id=batch_id)
    raise UnsupportedMediaType.at("", f"send {JSON}, {NDJSON} or {FORM}")


async def _whole(pieces: AsyncIterator[bytes], *, max_bytes: int) -> bytes:
    held, size = [], 0
    async for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size > max_bytes:
            raise BodyTooLarge.at("", f"a JSON body has at most {max_bytes} bytes; send more items as {NDJSON}")
    return b"".join(held)


async def _read_form(call: Call, pieces: AsyncIterator[bytes], *, batch_id: str) -> tuple[BatchRecord, bool]:
    connections = call.connections
    content_type = call.request.headers[hdrs.CONTENT_TYPE]
    async with BatchForm(pieces, content_type, connections, tenant=call.tenant, batch_id=batch_id) as form:
        try:
            manifest = await form.read()
            source = await manifest_source(manifest, json_max_bytes=connections.settings.body_max_bytes)
            record, replayed = await expand(call, source, batch_id=batch_id, files=form.files)
        except StoreUnavailable:
            # The batch may have been accepted after all.
            raise
        except BaseException:
            await asyncio.shield(_discard(form, batch_id))
            raise
        if replayed:
            await _discard(form, batch_id)
        return record, replayed


async def _discard(form: BatchForm, batch_id: str) -> None:
    try:
        await form.discard()
    except EditStudioError as error:
        _log.warning("pictures of a refused batch were not cleared away", extra={"batch_id": batch_id, "error": str(error)})
