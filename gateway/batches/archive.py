"""The results of a batch as one ZIP archive, streamed: a few pictures' beginnings are held at a time, and names."""

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

from gateway.batches.answers import items_of
from gateway.batches.zip import ZipStream
from gateway.connections import Connections
from gateway.route import Call
from gateway.spool import Spool, pieces_of
from shared.job import JobRecord, JobState, StoredOutput, to_json
from shared.picture import extension
from shared.storage import ObjectMissing
from shared.store.batch_record import BatchRecord

MANIFEST = "manifest.json"
_AHEAD = 8
_READ_BYTES = 256 * 1024
#: Names are read by every kind of unpacker: nothing that means something to a path or a shell.
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_NAME_MAX_CHARS = 64


class _Opened:
    """A result whose first piece is on its way. None as that piece: it is no longer in storage."""

    def __init__(self, output: StoredOutput, connections: Connections) -> None:
        self._pieces = connections.storage.stream(output.key, start=0, length=output.bytes)
        self._first = asyncio.create_task(self._begin())

    async def first(self) -> bytes | None:
        """Raises StorageUnavailable."""
        return await self._first

    async def others(self) -> AsyncIterator[bytes]:
        """What follows the first piece."""
        async for piece in self._pieces:
            yield piece

    async def close(self) -> None:
        """Read no further. Safe to repeat."""
        self._first.cancel()
        await asyncio.gather(self._first, return_exceptions=True)
        await self._pieces.aclose()

    async def _begin(self) -> bytes | None:
        try:
            return await anext(self._pieces, b"")
        except ObjectMissing:
            return None


async def archive_of(batch: BatchRecord, call: Call) -> AsyncGenerator[bytes, None]:
    """The archive's bytes: the results, then `manifest.json` with every item. Raises StorageUnavailable, StoreUnavailable."""
    zipped, manifest = ZipStream(), Spool()
    ahead: deque[tuple[int, str, JobRecord | None, _Opened | None]] = deque()
    try:
        await manifest.write(b"[")
        async for chunk in items_of(batch, call):
            for index, item_id, record in chunk:
                output = record.course.output if record is not None and record.state is JobState.SUCCEEDED else None
                ahead.append((index, item_id, record, _Opened(output, call.connections) if output else None))
                if len(ahead) > _AHEAD:
                    async for piece in _entry(zipped, manifest, *ahead.popleft()):
                        yield piece
        while ahead:
            async for piece in _entry(zipped, manifest, *ahead.popleft()):
                yield piece
        await manifest.write(b"\n]\n")
        yield zipped.begin(MANIFEST)
        async for piece in pieces_of(await manifest.finish(), _READ_BYTES):
            yield zipped.write(piece)
        yield zipped.end() + zipped.finish()
    finally:
        for _, _, _, opened in ahead:
            if opened is not None:
                await opened.close()
        await manifest.discard()


async def _entry(
    zipped: ZipStream, manifest: Spool, index: int, item_id: str, record: JobRecord | None, opened: _Opened | None
) -> AsyncIterator[bytes]:
    """One item: its picture, if there is one, and its line of the manifest."""
    name = None
    if opened is not None and record is not None and record.course.output is not None:
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(opened.close)
            first = await opened.first()
            if first is not None:
                name = _name(index, item_id, record, record.course.output)
                yield zipped.begin(name) + zipped.write(first)
                async for piece in opened.others():
                    yield zipped.write(piece)
                yield zipped.end()
    error = record.course.error if record is not None else None
    line = {
        "file": name,
        "id": item_id,
        "custom_id": record.spec.custom_id if record is not None else None,
        "status": record.state.value if record is not None else "gone",
        "error": None if error is None else error.model_dump(mode="json"),
    }
    await manifest.write(f"{',' if index else ''}\n{to_json(line)}".encode())


def _name(index: int, item_id: str, record: JobRecord, output: StoredOutput) -> str:
    """A file name of its own for each item, in the order of the batch."""
    called = _UNSAFE.sub("_", record.spec.custom_id or item_id)[:_NAME_MAX_CHARS]
    return f"{index:06d}-{called}.{extension(output.format)}"
