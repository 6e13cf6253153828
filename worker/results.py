"""Results into storage: picture, thumbnails, manifest, and last of all `done.json`, which a later attempt adopts."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from shared.errors import StorageUnavailable
from shared.fault import die_at
from shared.job import Course, JobRecord, StoredOutput
from shared.picture import content_type, extension
from shared.settings import Settings
from shared.storage import ObjectMissing, Storage
from shared.telemetry import spanned
from worker.canvas import RestoredPicture
from worker.pixel_pool import PixelPool
from worker.pixel_tasks import PIXELS_S, make_thumbnails

THUMBNAIL_WIDTHS = (320, 1024)
_PATIENCE_S = 900.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Results:
    """What an edit leaves in storage. While storage is away the bytes are kept and the call repeated, for 15 minutes."""

    def __init__(self, *, settings: Settings, storage: Storage, pool: PixelPool) -> None:
        self._settings = settings
        self._storage = storage
        self._pool = pool

    async def adopt(self, record: JobRecord) -> Course | None:
        """The whole result that an earlier attempt stored before it died, if it did."""
        if record.attempts < 2:
            return None
        keys = await patiently(lambda: self._storage.keys_under(f"out/{record.tenant}/{record.id}/"))
        for key in sorted((key for key in keys if key.endswith("/done.json")), reverse=True):
            try:
                return Course.model_validate_json(await self._storage.get(key))
            except ObjectMissing:
                continue
        return None

    def output_of(self, record: JobRecord, result: RestoredPicture) -> StoredOutput:
        """Where the result will lie."""
        folder = f"out/{record.tenant}/{record.id}/{record.gen}"
        return StoredOutput(
            key=f"{folder}/0.{extension(result.format)}",
            width=result.width,
            height=result.height,
            format=result.format,
            bytes=result.bytes,
            sha256=result.sha256,
            thumbnails={str(width): f"{folder}/thumb-{width}.webp" for width in THUMBNAIL_WIDTHS},
        )

    @spanned("store")
    async def store(self, record: JobRecord, course: Course, result: Path) -> None:
        """Put everything; `done.json` last, so that whoever finds it finds the rest. Raises StorageUnavailable after 15 min."""
        output = course.output
        assert output is not None
        die_at("before_store", self._settings.fault)
        text, max_pixels = course.model_dump_json(exclude_defaults=True).encode(), self._settings.image_max_pixels * 4
        making = self._pool.run(make_thumbnails, result, THUMBNAIL_WIDTHS, max_pixels, timeout_s=PIXELS_S)
        async with beside(making) as thumbnails:
            await asyncio.gather(
                self._put(output.key, result, content_type(output.format)),
                self._put(f"out/{record.tenant}/{record.id}/job.json", _manifest(record, text), "application/json"),
            )
            small = zip(output.thumbnails.values(), await thumbnails, strict=True)
            await asyncio.gather(*(self._put(key, data, "image/webp") for key, data in small))
        await self._put(f"out/{record.tenant}/{record.id}/{record.gen}/done.json", text, "application/json")
        die_at("after_store", self._settings.fault)

    async def keep_rejected(self, record: JobRecord, received: Path) -> None:
        """Keep an output that failed inspection, for whoever wants to know why. Best effort: the edit has failed anyway."""
        try:
            await self._storage.put(
                f"rejected/{record.tenant}/{record.id}/{record.gen}/0", received, content_type="application/octet-stream"
            )
        except StorageUnavailable as error:
            _log.warning("a rejected output was not kept", extra={"job_id": record.id, "error": str(error)})

    async def _put(self, key: str, body: bytes | Path, kind: str) -> None:
        await patiently(lambda: self._storage.put(key, body, content_type=kind))


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """`work` goes on while the block does, and no longer."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """`call()`, repeated for 15 minutes while storage is away: a model's result is in hand, and it may have been paid for.

    Raises StorageUnavailable.
    """
    end, wait_s = time.monotonic() + _PATIENCE_S, _FIRST_WAIT_S
    while True:
        try:
            return await call()
        except StorageUnavailable as error:
            if time.monotonic() > end:
                raise
            _log.warning("storage is away", extra={"error": str(error)})
        await asyncio.sleep(wait_s)
        wait_s = min(_LONGEST_WAIT_S, wait_s * 2)


def _manifest(record: JobRecord, course: bytes) -> bytes:
    spec = record.spec.model_dump_json(exclude_defaults=True, exclude={"webhook_url"}).encode()
    return b'{"id":"%b","tenant":"%b","spec":%b,"course":%b}' % (record.id.encode(), record.tenant.encode(), spec, course)
