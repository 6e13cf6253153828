"""One edit from claim to end: adopt or collect, choose, call or resume, check, restore, store, finish."""

import asyncio
import logging
import random
import shutil
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Literal

from shared.catalog.load import Catalog
from shared.edit import Role
from shared.errors import (
    Canceled,
    DeadlineExceeded,
    EditStudioError,
    InputGone,
    InternalError,
    NoCapableModel,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTransient,
    ProviderUnusable,
    RequestError,
    UrlFetchFailed,
)
from shared.fault import die_at
from shared.job import Course, InputView, JobFailure, JobRecord, JobState, Selection
from shared.recommend import Recommendation
from shared.settings import Settings
from shared.store.experience import Experiences
from shared.store.leases import Leases, Release
from shared.telemetry import note
from worker.call import Caller, LostEdit, call_end, ended, ended_by
from worker.choose import Chooser, CircuitsOpen, NobodyLeft, WrongLane, in_lane
from worker.hands import PATIENCE_S, Held
from worker.outputs import Outputs
from worker.pictures import Pictures, SourcePicture
from worker.pixel_pool import PixelWorkLost
from worker.results import Results, beside, patiently
from worker.retry import GiveUp, after, is_for_the_next, limited_s, may_fall_back
from worker.spending import afford

_log = logging.getLogger(__name__)


class EditRunner:
    """Runs claimed edits. One per worker process."""

    def __init__(
        self,
        *,
        settings: Settings,
        catalog: Catalog,
        leases: Leases,
        experiences: Experiences,
        pictures: Pictures,
        chooser: Chooser,
        caller: Caller,
        outputs: Outputs,
        results: Results,
        scratch: Path,
    ) -> None:
        """`scratch`: a folder of this process' own, for the pictures of edits in hand."""
        self._settings = settings
        self._catalog = catalog
        self._leases = leases
        self._experiences = experiences
        self._pictures = pictures
        self._chooser = chooser
        self._caller = caller
        self._outputs = outputs
        self._results = results
        self._scratch = scratch

    async def run(self, held: Held) -> None:
        """The whole edit, whatever happens: at its end the record is finished, given back, or somebody else's."""
        record = held.record
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._scratch))
        try:
            async with asyncio.timeout(_left_s(record)):
                course = await self._edit(held, folder)
            die_at("before_finish", self._settings.fault)
            await self._finish(held, course)
        except asyncio.CancelledError:
            if held.why == "cancel":
                held.course = ended_by(held.course, Canceled("the edit was canceled on request"))
                await self._count(held)
            raise
        except LostEdit:
            _log.info("an edit went to another worker", extra={"job_id": record.id})
        except WrongLane as elsewhere:
            how = Release(lane=elsewhere.lane, delay_s=elsewhere.delay_s, pause_s=elsewhere.pause_s)
            await self._give_back(held, how)
        except CircuitsOpen as wait:
            await self._give_back(held, Release(delay_s=wait.retry_s, waiting_on="provider"))
            _log.info("an edit waits", extra={"job_id": record.id, "waiting_on": "provider", "code": "circuit_open"})
        except NobodyLeft as end:
            await self._fail(held, end.error)
        except TimeoutError:
            await self._settle(held, DeadlineExceeded("the deadline passed while the edit was being made"))
        except PixelWorkLost as error:
            # Ours, not the provider's: a call that was made before is paid or not, whatever became of its picture.
            await self._settle(held, ProviderTransient(str(error), billed=None if held.course.attempts else False), is_ours=True)
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
        if held.record.call == "started":
            await self._caller.look_back(held)
            await self._count(held)
        held.stage = "choosing"
        chosen = await self._chooser.choose(held, picture)
        chosen = await afford(self._leases, held, chosen, lambda dear: self._chooser.choose(held, picture, without=dear))
        held.course = self._with_choice(held.course, chosen, picture)
        if not in_lane(chosen, held.record):
            raise WrongLane(chosen.model.provider)
        if not held.record.call:
            extra = {"job_id": held.record.id, "model": chosen.model.id, "reason": chosen.reason}
            _log.info("chose a model", extra={**extra, "request_id": held.record.request_id})
        held.stage = "adapting"
        layout = await self._pictures.layout(pictures, held.record.spec, chosen.model, folder)
        try:
            done = await self._caller.call_or_resume(held, chosen, pictures, layout, folder)
        except ProviderRateLimited as error:
            await self._leave_if_late(held, picture, error)
            raise
        held.stage = "checking"
        async with beside(patiently(lambda: self._pictures.file(picture, folder))) as source:
            received = await self._outputs.receive(done, chosen.model, folder)
            await source
        result, geometry = await self._outputs.restore(held, chosen.model, picture, layout, received, folder)
        held.stage = "storing"
        course = ended(held.course, "succeeded", None, billed=True)
        course = course.model_copy(update={"geometry": geometry, "output": self._results.output_of(held.record, result)})
        await self._results.store(held.record, course, result.file)
        return course

    async def _leave_if_late(self, held: Held, picture: SourcePicture, error: ProviderRateLimited) -> None:
        """Raises WrongLane if the deadline cannot bear the wait that a provider asks for, and another one may do the edit."""
        record, wait_s = held.record, error.retry_after_s
        if wait_s is None or wait_s < _left_s(record) or not may_fall_back(record.spec) or record.lane == "suspect":
            return
        held.course = ended_by(held.course, error)
        busy = [model.id for model in self._catalog.models.values() if model.provider == held.course.provider]
        try:
            chosen = await self._chooser.choose(held, picture, without=busy)
        except (NoCapableModel, NobodyLeft, CircuitsOpen):
            held.choices = ""
            return
        held.course = self._with_choice(held.course, chosen, picture)
        raise WrongLane(chosen.model.provider, pause_s=limited_s(error, chance=0.0, left_s=0.0)) from error

    def _with_choice(self, course: Course, chosen: Recommendation, picture: SourcePicture) -> Course:
        """The course with the model, why, and what it will cost."""
        is_simulated = self._settings.simulated and not self._catalog.providers[chosen.model.provider].in_process
        return _chosen(course, chosen, picture, simulated=is_simulated)

    async def _count(self, held: Held) -> None:
        """Count the end of an attempt that no other write goes along with."""
        if (end := call_end(held, held.course)) is not None:
            await self._experiences.record(end)

    async def _finish(self, held: Held, course: Course) -> None:
        micro_usd = round((course.estimated_usd or 0.0) * 1e6)
        move = self._leases.finish(held.record, JobState.SUCCEEDED, course, cost_micro_usd=micro_usd, patience_s=PATIENCE_S)
        done = await self._last(held, move, course)
        die_at("after_finish", self._settings.fault)
        extra = {"job_id": held.record.id, "model": course.model, "request_id": held.record.request_id, "counted": done}
        note("outcome", "succeeded")
        _log.info("an edit succeeded", extra=extra)

    async def _settle(self, held: Held, error: EditStudioError, *, is_ours: bool = False) -> None:
        """After an error: again later, or the end. `is_ours`: no model has anything to do with it."""
        record, to_the_next = held.record, is_for_the_next(error, held.record.spec)
        decision = after(error, failures=record.failures, chance=random.random(), next_model=to_the_next, left_s=_left_s(record))
        if isinstance(error, ProviderUnusable):
            _log.error("a provider refuses our account", extra={"provider": held.course.provider, "error": str(error)})
        if isinstance(decision, GiveUp):
            await self._fail(held, error, is_ours=is_ours)
            return
        if to_the_next:
            # This call is over, however it ended; the next turn is another model's.
            held.resumable = False
            await self._leases.checkpoint(record, patience_s=PATIENCE_S, call="", handle="")
        # With a handle the attempt is not over: its result can still be fetched.
        held.course = held.course if held.resumable else ended_by(held.course, error)
        await self._give_back(held, decision, is_ours=is_ours)
        _log.info("an edit waits", extra={"job_id": record.id, "waiting_on": decision.waiting_on, "code": error.code})

    async def _give_back(self, held: Held, how: Release, *, is_ours: bool = False) -> None:
        move = self._leases.release(held.record, how, held.course, patience_s=PATIENCE_S)
        await self._last(held, move, held.course, is_ours=is_ours)

    async def _fail(self, held: Held, error: EditStudioError, *, is_ours: bool = False) -> None:
        record = held.record
        course = ended_by(held.course, error).model_copy(update={"error": _failure(error, held)})
        if isinstance(error, ProviderRefused):
            # What it said may quote the prompt: that is in the record, for its owner.
            _log.error("a provider refused what the catalogue let through", extra={"job_id": record.id, "model": course.model})
        move = self._leases.finish(record, JobState.FAILED, course, patience_s=PATIENCE_S)
        await self._last(held, move, course, is_ours=is_ours)
        note("outcome", error.code)
        _log.info("an edit failed", extra={"job_id": record.id, "code": error.code, "request_id": record.request_id})

    async def _last(self, held: Held, move: Awaitable[bool], course: Course, *, is_ours: bool = False) -> bool:
        """Make the move with which the edit leaves our hands. What else is to be written goes along in the same round trip."""
        beside: list[Awaitable[object]] = []
        if held.choices:
            # Sent before the move, it is written while the edit is still ours.
            beside.append(self._leases.checkpoint(held.record, patience_s=PATIENCE_S, choices=held.choices))
        end = call_end(held, course, is_ours=is_ours)
        if end is not None:
            beside.append(self._experiences.record(end))
        *_, made = await asyncio.gather(*beside, move)
        return bool(made)


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


def _failure(error: EditStudioError, held: Held) -> JobFailure:
    """The error as the caller sees it."""
    by: Literal["caller", "provider", "service"] = "service"
    if isinstance(error, (RequestError, UrlFetchFailed, InputGone)):
        by = "caller"
    elif isinstance(error, ProviderError):
        by = "provider"
    billed = error.billed if isinstance(error, ProviderError) else None if held.course.attempts else False
    return JobFailure(code=error.code, message=str(error), retryable=error.retryable, by=by, stage=held.stage, billed=billed)


def _left_s(record: JobRecord) -> float:
    """Seconds to the deadline."""
    return max(0.0, record.deadline / 1000 - time.time())
