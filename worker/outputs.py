"""What models returned: received, looked at, made into what the caller gets."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from shared.candidates import EXACT
from shared.catalog.load import Catalog
from shared.catalog.model import Model
from shared.edit import Operation
from shared.errors import ProviderBadOutput, ProviderTransient, RequestError, UrlFetchFailed
from shared.geometry import enlarged_size
from shared.job import Geometry
from shared.settings import Settings
from shared.store.seen import Seen
from shared.telemetry import spanned
from worker.canvas import RestoredPicture
from worker.fetch import GuardedHttp
from worker.hands import Held
from worker.inspection import Inspected
from worker.pictures import Layout, Pictures, SourcePicture
from worker.pixel_pool import PixelPool
from worker.pixel_tasks import PIXELS_S, Wanted, deliver_masked, inspect_result, restore_result
from worker.providers.base import Done, Provider
from worker.results import Results, patiently

_RESULT_PIXELS = 4  #: how many times the input's pixel limit a result may have
_RESIZING = (Operation.OUTPAINT, Operation.UPSCALE)


class Outputs:
    """Takes in what models return. One per worker process."""

    def __init__(
        self,
        *,
        settings: Settings,
        catalog: Catalog,
        providers: Mapping[str, Provider],
        pictures: Pictures,
        results: Results,
        seen: Seen,
        http: GuardedHttp,
        pool: PixelPool,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._providers = providers
        self._pictures = pictures
        self._results = results
        self._seen = seen
        self._http = http
        self._pool = pool
        self._pixels_max = settings.image_max_pixels * _RESULT_PIXELS

    @spanned("receive")
    async def receive(self, done: Done, model: Model, folder: Path) -> Path:
        """The model's picture in a file. Raises ProviderTransient, ProviderBadOutput."""
        received = folder / "received"
        if done.data is not None:
            await asyncio.to_thread(received.write_bytes, done.data)
            return received
        assert done.url is not None
        trusted = self._providers[model.provider].may_fetch(done.url)
        try:
            await self._http.download(done.url, received, max_bytes=self._settings.download_max_bytes, trusted=trusted)
        except UrlFetchFailed as error:
            # The handle is kept: the next attempt asks for the same result again, which costs nothing.
            raise ProviderTransient(f"the result could not be fetched: {error}", billed=True) from error
        except RequestError as error:
            raise ProviderBadOutput(f"the result lies at an address that is not allowed: {error}", billed=True) from error
        return received

    @spanned("check")
    async def restore(
        self, held: Held, model: Model, picture: SourcePicture, layout: Layout, received: Path, folder: Path
    ) -> tuple[RestoredPicture, Geometry]:
        """Check what came back, and make of it what the caller gets. Raises ProviderBadOutput; what is bad is kept aside."""
        try:
            return await self._restored(held, model, picture, layout, received, folder)
        except ProviderBadOutput as error:
            await self._results.keep_rejected(held.record, received)
            raise ProviderBadOutput(str(error), billed=True) from error

    async def _restored(
        self, held: Held, model: Model, picture: SourcePicture, layout: Layout, received: Path, folder: Path
    ) -> tuple[RestoredPicture, Geometry]:
        spec, plan = held.record.spec, layout.plan
        resizes = EXACT in model.capabilities or spec.operation in _RESIZING
        source = await patiently(lambda: self._pictures.file(picture, folder))
        shown = await patiently(lambda: self._pictures.file(layout.shown, folder))
        found = await self._inspected(held, model, layout, received, shown, resizes=resizes)
        enlarged = enlarged_size(spec, picture.info.upright_size)
        wanted = enlarged or _wanted(spec.size, resizes=resizes and spec.operation is not Operation.OUTPAINT)
        output, target = (spec.output_format, spec.output_quality, spec.keep_metadata), folder / "result"
        delta = None
        if layout.mask is None:
            files = (received, source, target)
            result = await self._pool.run(
                restore_result, files, layout.canvas, wanted, output, self._pixels_max, timeout_s=PIXELS_S
            )
        else:
            masked = await self._pool.run(
                deliver_masked,
                (received, source, layout.mask, target),
                plan,
                layout.box,
                wanted,
                output,
                self._pixels_max,
                timeout_s=PIXELS_S,
            )
            result, delta = masked.picture, masked.outside_mask_max_delta
        geometry = Geometry(
            input=picture.info.upright_size,
            sent=plan.sent,
            received=found.info.upright_size,
            delivered=(result.width, result.height),
            method=plan.method,
            outside_mask_max_delta=delta,
        )
        return result, geometry

    async def _inspected(
        self, held: Held, model: Model, layout: Layout, received: Path, shown: Path, *, resizes: bool
    ) -> Inspected:
        """The output, if it is fit to be delivered. Raises ProviderBadOutput."""
        plan = layout.plan
        before = shown if plan.method == "identity" and not resizes else None
        # What is done here is no answer of somebody's who may have none: two inputs may well come to the same.
        source = None if self._catalog.providers[model.provider].in_process else shown
        found = await self._pool.run(
            inspect_result,
            received,
            before,
            source,
            None if resizes else plan.sent,
            EXACT in model.capabilities,
            self._pixels_max,
            timeout_s=PIXELS_S,
        )
        if found.looks is not None:
            output, given = found.looks
            if await self._seen.elsewhere(model.id, held.record.id, output=output, source=given):
                raise ProviderBadOutput("the result is a picture that this model also returned for another input")
        return found


def _wanted(size: str, *, resizes: bool) -> Wanted:
    """The size to deliver. What changes the size by its nature is not brought back to the input's; `model` with a mask is.

    (Pixels outside of the mask are the input's own, and the model's size may be that of a part.)
    """
    if size == "model" or (size == "match_input" and resizes):
        return "model"
    if size == "match_input":
        return "match_input"
    width, height = size.split("x")
    return int(width), int(height)
