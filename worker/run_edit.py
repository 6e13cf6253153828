"""One edit from claim to end: adopt or collect, choose, call or resume, check, restore, store, finish."""

import asyncio
import logging
import random
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from shared.candidates import EXACT, Circumstances
from shared.catalog.load import Catalog
from shared.edit import EditSpec, Operation, Role
from shared.errors import (
    Canceled,
    DeadlineExceeded,
    EditStudioError,
    InputGone,
    InternalError,
    JobError,
    NoCapableModel,
    ProviderBadOutput,
    ProviderError,
    ProviderTransient,
    RequestError,
    UrlFetchFailed,
)
from shared.fault import die_at
from shared.job import Course, Geometry, InputView, JobFailure, JobRecord, JobState, Selection
from shared.recommend import Recommendation, recommend
from shared.settings import Settings
from shared.store.leases import Leases, Release
from worker.call import Caller, LostEdit, ended, ended_by
from worker.canvas import RestoredPicture
from worker.fetch import GuardedHttp
from worker.hands import PATIENCE_S, Held
from worker.pictures import Layout, Pictures, SourcePicture
from worker.pixel_pool import PixelPool, PixelWorkLost
from worker.pixel_tasks import PIXELS_S, Wanted, deliver_masked, inspect_result, restore_result
from worker.providers.base import Done, Provider
from worker.results import Results, patiently
from worker.retry import NEXT_MODEL, after, last_error, paid_usd, spent_models

_RESULT_PIXELS = 4  #: how many times the input's pixel limit a result may have
_LACKING_PROVIDER_S = 30.0
_RESIZING = (Operation.OUTPAINT, Operation.UPSCALE)
_log = logging.getLogger(__name__)


class WrongLane(Exception):
    """The edit belongs to another provider's lane, where that provider's limits hold. `delay_s`: until it is offered again."""

    def __init__(self, lane: str, *, delay_s: float = 0.0) -> None:
        super().__init__(lane)
        self.lane = lane
        self.delay_s = delay_s


class NobodyLeft(Exception):
    """Every model that could do the edit has been tried. `error`: the last one's."""

    def __init__(self, error: JobError) -> None:
        super().__init__(str(error))
        self.error = error


class EditRunner:
    """Runs claimed edits. One per worker process."""

    def __init__(
        self,
        *,
        settings: Settings,
        catalog: Catalog,
        providers: Mapping[str, Provider],
        leases: Leases,
        pictures: Pictures,
        caller: Caller,
        results: Results,
        http: GuardedHttp,
        pool: PixelPool,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._providers = providers
        self._leases = leases
        self._pictures = pictures
        self._caller = caller
        self._results = results
        self._http = http
        self._pool = pool
        self._pixels_max = settings.image_max_pixels * _RESULT_PIXELS

    async def run(self, held: Held) -> None:
        """The whole edit, whatever happens: at its end the record is finished, given back, or somebody else's."""
        record = held.record
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="edit-"))
        try:
            async with asyncio.timeout(max(0.0, record.deadline / 1000 - time.time())):
                course = await self._edit(held, folder)
            die_at("before_finish", self._settings.fault)
            await self._finish(held, course)
        except asyncio.CancelledError:
            if held.why == "cancel":
                held.course = ended_by(held.course, Canceled("the edit was canceled on request"))
            raise
        except LostEdit:
            _log.info("an edit went to another worker", extra={"job_id": record.id})
        except WrongLane as elsewhere:
            await self._leases.release(record, Release(lane=elsewhere.lane, delay_s=elsewhere.delay_s), patience_s=PATIENCE_S)
        except NobodyLeft as end:
            await self._fail(held, end.error)
        except TimeoutError:
            await self._settle(held, DeadlineExceeded("the deadline passed while the edit was being made"))
        except PixelWorkLost as error:
            # Ours, not the provider's: a call that was made before is paid or not, whatever became of its picture.
            await self._settle(held, ProviderTransient(str(error), billed=None if held.course.attempts else False))
        except EditStudioError as error:
            await self._settle(held, error)
        except Exception:
            _log.exception("an edit broke", extra={"job_id": record.id, "request_id": record.request_id})
            await self._settle(held, InternalError("something broke while the edit was being made"))
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _edit(self, held: Held, folder: Path) -> Course:
        adopted = await self._results.adopt(held.record)
        if adopted is not None:
            return adopted
        pictures = await self._pictures.collect(held, folder)
        picture = pictures[Role.IMAGE][0]
        held.stage = "choosing"
        chosen = self._choose(held.record, picture)
        held.course = _chosen(held.course, chosen, picture, simulated=self._is_simulated(chosen))
        held.stage = "adapting"
        layout = await self._pictures.layout(pictures, held.record.spec, chosen.model, folder)
        done = await self._caller.call_or_resume(held, chosen, pictures, layout, folder)
        held.stage = "checking"
        received = await self._receive(done, chosen, folder)
        result, geometry = await self._restore(held, chosen, picture, layout, received, folder)
        held.stage = "storing"
        course = ended(held.course, "succeeded", None, billed=True)
        course = course.model_copy(update={"geometry": geometry, "output": self._results.output_of(held.record, result)})
        await self._results.store(held.record, course, result.file)
        return course

    def _choose(self, record: JobRecord, picture: SourcePicture) -> Recommendation:
        """The model. A paid call that is under way decides it; else the choice, and its provider's lane."""
        spec = record.spec
        if record.call and (called := self._catalog.models.get(record.call_model)):
            if called.provider not in self._providers:
                # Paid for, and nobody who took it could ask for the result: it waits for a worker with the provider's key.
                raise WrongLane(called.provider, delay_s=_LACKING_PROVIDER_S)
            spec = spec.model_copy(update={"model": called.id, "provider": None})
        spent = spent_models(record.course, self._catalog) if _may_fall_back(spec) else ()
        if spec.max_cost is not None:
            spec = spec.model_copy(update={"max_cost": max(0.0, spec.max_cost - paid_usd(record.course))})
        now = Circumstances(configured=self._providers.keys(), upright_size=picture.info.upright_size, down=spent)
        try:
            chosen = recommend(spec, catalog=self._catalog, now=now)
        except NoCapableModel:
            # Nobody is left: the edit ends by what the last one failed with, not by its having been tried.
            if (failed := last_error(record.course)) is not None:
                raise NobodyLeft(failed) from None
            raise
        if chosen.model.provider != record.lane and record.lane != "suspect":
            raise WrongLane(chosen.model.provider)
        if not record.call:
            extra = {"job_id": record.id, "model": chosen.model.id, "reason": chosen.reason, "request_id": record.request_id}
            _log.info("chose a model", extra=extra)
        return chosen

    def _is_simulated(self, chosen: Recommendation) -> bool:
        return self._settings.simulated and not self._catalog.providers[chosen.model.provider].in_process

    async def _receive(self, done: Done, chosen: Recommendation, folder: Path) -> Path:
        """The model's picture in a file."""
        received = folder / "received"
        if done.data is not None:
            await asyncio.to_thread(received.write_bytes, done.data)
            return received
        assert done.url is not None
        trusted = self._providers[chosen.model.provider].may_fetch(done.url)
        try:
            await self._http.download(done.url, received, max_bytes=self._settings.download_max_bytes, trusted=trusted)
        except UrlFetchFailed as error:
            # The handle is kept: the next attempt asks for the same result again, which costs nothing.
            raise ProviderTransient(f"the result could not be fetched: {error}", billed=True) from error
        except RequestError as error:
            raise ProviderBadOutput(f"the result lies at an address that is not allowed: {error}", billed=True) from error
        return received

    async def _restore(
        self, held: Held, chosen: Recommendation, picture: SourcePicture, layout: Layout, received: Path, folder: Path
    ) -> tuple[RestoredPicture, Geometry]:
        """Check what came back, and make of it what the caller gets."""
        spec, plan = held.record.spec, layout.plan
        exact = EXACT in chosen.model.capabilities
        resizes = exact or spec.operation in _RESIZING
        source = await patiently(lambda: self._pictures.file(picture, folder))
        shown = await patiently(lambda: self._pictures.file(layout.shown, folder))
        before = shown if plan.method == "identity" and not resizes else None
        try:
            info = await self._pool.run(
                inspect_result, received, before, None if resizes else plan.sent, exact, self._pixels_max, timeout_s=PIXELS_S
            )
        except ProviderBadOutput as error:
            await self._results.keep_rejected(held.record, received)
            raise ProviderBadOutput(str(error), billed=True) from error
        wanted = _wanted(spec.size, resizes=resizes and spec.operation is not Operation.OUTPAINT)
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
            received=info.upright_size,
            delivered=(result.width, result.height),
            method=plan.method,
            outside_mask_max_delta=delta,
        )
        return result, geometry

    async def _finish(self, held: Held, course: Course) -> None:
        micro_usd = round((course.estimated_usd or 0.0) * 1e6)
        done = await self._leases.finish(
            held.record, JobState.SUCCEEDED, course, cost_micro_usd=micro_usd, lane_outcome="good", patience_s=PATIENCE_S
        )
        die_at("after_finish", self._settings.fault)
        extra = {"job_id": held.record.id, "model": course.model, "request_id": held.record.request_id, "counted": done}
        _log.info("an edit succeeded", extra=extra)

    async def _settle(self, held: Held, error: EditStudioError) -> None:
        """After an error: again later, or the end."""
        record = held.record
        decision = after(error, failures=record.failures, chance=random.random(), may_fall_back=_may_fall_back(record.spec))
        if isinstance(decision, Release):
            if isinstance(error, NEXT_MODEL):
                # This call is over, however it ended; the next turn is another model's.
                held.resumable = False
                await self._leases.checkpoint(record, patience_s=PATIENCE_S, call="", handle="")
            # With a handle the attempt is not over: its result can still be fetched.
            course = held.course if held.resumable else ended_by(held.course, error)
            await self._leases.release(record, decision, course, patience_s=PATIENCE_S)
            _log.info("an edit waits", extra={"job_id": record.id, "waiting_on": decision.waiting_on, "code": error.code})
            return
        await self._fail(held, error)

    async def _fail(self, held: Held, error: EditStudioError) -> None:
        record = held.record
        course = ended_by(held.course, error).model_copy(update={"error": _failure(error, held)})
        bad = isinstance(error, ProviderError) and (error.retryable or error.status >= 500)
        outcome: Literal["bad", ""] = "bad" if bad else ""
        await self._leases.finish(record, JobState.FAILED, course, lane_outcome=outcome, patience_s=PATIENCE_S)
        _log.info("an edit failed", extra={"job_id": record.id, "code": error.code, "request_id": record.request_id})


def _chosen(course: Course, chosen: Recommendation, picture: SourcePicture, *, simulated: bool) -> Course:
    """The course with the model, why, and what it will cost."""
    width, height = picture.info.upright_size
    shown = InputView(width=width, height=height, format=picture.info.format, bytes=picture.info.bytes, sha256=picture.sha256)
    update = {
        "model": chosen.model.id,
        "provider": chosen.model.provider,
        "input": shown,
        "estimated_usd": float(chosen.usd),
        "simulated": simulated,
    }
    if course.selection is None or course.model != chosen.model.id:
        update["selection"] = Selection(mode=chosen.mode, reason=chosen.reason, alternatives=chosen.alternatives)
    return course.model_copy(update=update)


def _may_fall_back(spec: EditSpec) -> bool:
    """A pinned model never becomes another."""
    return spec.fallback == "auto" and spec.model is None


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


def _failure(error: EditStudioError, held: Held) -> JobFailure:
    """The error as the caller sees it."""
    by: Literal["caller", "provider", "service"] = "service"
    if isinstance(error, (RequestError, UrlFetchFailed, InputGone)):
        by = "caller"
    elif isinstance(error, ProviderError):
        by = "provider"
    billed = error.billed if isinstance(error, ProviderError) else None if held.course.attempts else False
    return JobFailure(code=error.code, message=str(error), retryable=error.retryable, by=by, stage=held.stage, billed=billed)
