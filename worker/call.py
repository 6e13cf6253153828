"""The paid call: written down before and after, made once, resumed by its handle, looked for when its answer was lost."""

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from shared.catalog.load import Catalog
from shared.catalog.model import Model
from shared.edit import Role
from shared.errors import (
    EditStudioError,
    ProviderAmbiguous,
    ProviderError,
    ProviderRateLimited,
    ProviderTransient,
    WorkerCrashed,
)
from shared.fault import die_at
from shared.geometry import enlarged_size, plan_geometry
from shared.job import Attempt, CostLine, Course
from shared.operations import EXPAND_FIELDS
from shared.parameters import made_parameters, parameters_for, unsupported
from shared.recommend import Recommendation
from shared.settings import Settings
from shared.storage import Storage
from shared.store.experience import CallEnd
from shared.store.leases import Leases
from shared.telemetry import note, spanned
from worker.hands import PATIENCE_S, Held
from worker.pictures import Layout, Pictures, SourcePicture
from worker.providers.base import AdaptedEdit, Done, Failed, Outcome, Provider, Source
from worker.retry import says

_OTHERS = (Role.BACKGROUND_IMAGE, Role.LIGHTING_IMAGE)
_LOOKS = 3
_LOOK_AGAIN_S = 1.0
_POLL_TROUBLE_S = (1.0, 30.0)
_log = logging.getLogger(__name__)


class LostEdit(Exception):
    """The edit is no longer this worker's: stop, touch nothing."""


class Caller:
    """Makes or resumes the one call of an edit."""

    def __init__(
        self,
        *,
        settings: Settings,
        catalog: Catalog,
        providers: Mapping[str, Provider],
        leases: Leases,
        pictures: Pictures,
        storage: Storage,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._providers = providers
        self._leases = leases
        self._pictures = pictures
        self._storage = storage

    async def look_back(self, held: Held) -> None:
        """Ask what became of a call that an earlier worker was cut off in, before one may be made again.

        Found, it can be resumed; not found, it counts as an attempt, and a model is chosen anew. Raises ProviderError, LostEdit.
        """
        record, called = held.record, self._catalog.models.get(held.record.call_model)
        if called is not None and called.provider not in self._providers:
            return
        # Open still, it was cut off by the end of its worker; else it was given back because its answer was lost.
        was_cut_off = bool(held.course.attempts) and held.course.attempts[-1].outcome is None
        held.course = reopened(held.course)
        handle = None
        if called is not None:
            since_ms = record.submitted or record.created
            try:
                handle = await self._providers[called.provider].find(record.call_id, called, submitted_at_ms=since_ms)
            except ProviderError as error:
                error.billed = None
                raise
        if handle:
            await self._keep(held, handle)
            return
        code = WorkerCrashed.code if was_cut_off else ProviderAmbiguous.code
        held.course = ended(held.course, code, "its answer was lost", billed=None)
        await self._write(held, call="", handle="")

    @spanned("call", kind="client")
    async def call_or_resume(
        self,
        held: Held,
        chosen: Recommendation,
        pictures: Mapping[Role, Sequence[SourcePicture]],
        layout: Layout,
        folder: Path,
    ) -> Done:
        """The provider's result. Raises ProviderError, LostEdit."""
        record, provider = held.record, self._providers[chosen.model.provider]
        for name, value in (("model", chosen.model.id), ("provider", chosen.model.provider), ("resumed", bool(record.handle))):
            note(name, value)
        if record.handle:
            return await self._poll(held, provider, record.handle, is_resumed=True)
        outcome = await self._submit(held, chosen, provider, pictures, layout, folder)
        if isinstance(outcome, Done):
            held.took_s = _age_s(held.course)
            return outcome
        if isinstance(outcome, Failed):
            raise outcome.error
        die_at("after_submit", self._settings.fault)
        await self._keep(held, outcome.task_id)
        die_at("after_handle", self._settings.fault)
        await asyncio.sleep(outcome.check_after_s)
        return await self._poll(held, provider, outcome.task_id)

    async def _submit(
        self,
        held: Held,
        chosen: Recommendation,
        provider: Provider,
        pictures: Mapping[Role, Sequence[SourcePicture]],
        layout: Layout,
        folder: Path,
    ) -> Outcome:
        """Make the call, after writing down that it is made."""
        call_id = secrets.token_hex(8)
        held.stage = "adapting"
        edit = await self._adapt(held, chosen.model, pictures, layout, folder, call_id)
        held.course = started(held.course, chosen, number=len(held.course.attempts) + 1)
        held.stage = "editing"
        die_at("before_call", self._settings.fault)
        choices = {"choices": held.choices} if held.choices else {}
        model_id = chosen.model.id
        await self._write(held, call="started", handle="", call_id=call_id, call_model=model_id, submitted="@now", **choices)
        held.choices = ""
        die_at("after_call_started", self._settings.fault)
        try:
            return await provider.submit(edit)
        except ProviderError as error:
            if isinstance(error, ProviderAmbiguous) and provider.has_history:
                if handle := await self._look_for(provider, call_id, chosen.model, held):
                    await self._keep(held, handle)
                    return await self._poll(held, provider, handle)
                raise
            # The provider answered, or was never reached: this call is over. Or there is nothing to look in for it.
            await self._write(held, call="", handle="")
            raise

    async def _look_for(self, provider: Provider, call_id: str, model: Model, held: Held) -> str | None:
        for _ in range(_LOOKS):
            await asyncio.sleep(_LOOK_AGAIN_S)
            try:
                found = await provider.find(call_id, model, submitted_at_ms=held.record.created)
            except ProviderError:
                continue
            if found is not None:
                return found
        return None

    async def _poll(self, held: Held, provider: Provider, handle: str, *, is_resumed: bool = False) -> Done:
        """Wait for the task. Not being able to look is no failure of the task; the edit's deadline bounds it all.

        How long a task took that had ended before it is `is_resumed` and looked at is unknown: its result lay there a while.
        """
        held.stage = "editing"
        was_waited_for = not is_resumed
        trouble_s, most_s = _POLL_TROUBLE_S
        while True:
            try:
                outcome = await provider.poll(handle)
            except (ProviderTransient, ProviderRateLimited) as error:
                _log.warning("polling failed", extra={"job_id": held.record.id, "error": error.code})
                await asyncio.sleep(error.retry_after_s or trouble_s)
                trouble_s = min(most_s, trouble_s * 2)
                continue
            if isinstance(outcome, Done):
                held.took_s = _age_s(held.course) if was_waited_for else None
                return outcome
            if isinstance(outcome, Failed):
                held.resumable = False
                await self._write(held, call="", handle="")
                raise outcome.error
            was_waited_for = True
            await asyncio.sleep(outcome.check_after_s)

    async def _adapt(
        self,
        held: Held,
        model: Model,
        pictures: Mapping[Role, Sequence[SourcePicture]],
        layout: Layout,
        folder: Path,
        call_id: str,
    ) -> AdaptedEdit:
        spec, entry = held.record.spec, self._catalog.providers[model.provider]
        links = (
            entry.takes_links
            and not entry.in_process
            and self._storage.reachable_from(self._settings.provider_access(entry.provider).base_url)
        )
        sources: list[Source] = []
        others: dict[str, Source] = {}
        notes = list(held.course.adaptations)
        beside = [picture for role in (Role.REFERENCE, *_OTHERS) for picture in pictures[role]]
        for picture in (layout.shown, *beside):
            role = picture.ref.role
            own = layout.plan if role is Role.IMAGE else plan_geometry(picture.info.upright_size, model.size)
            source, made = await self._pictures.adapted(
                held, picture, model, own, folder, call_id=call_id, links=links, whole=entry.in_process
            )
            if role in _OTHERS:
                others[role] = source
            else:
                sources.append(source)
            notes.extend(made.notes if made else ())
        enlarged = enlarged_size(spec, layout.shown.info.upright_size)
        asked = made_parameters(model, layout.canvas, spec.output_format, enlarged=enlarged)
        asked.update({field: side for field, side in zip(EXPAND_FIELDS, layout.expand, strict=True) if getattr(spec, field)})
        notes.extend(f"{model.id} has no {pointer}; it was left out" for pointer in unsupported(spec, model))
        held.course = held.course.model_copy(update={"adaptations": tuple(dict.fromkeys(notes))})
        return AdaptedEdit(
            call_id=call_id,
            model=model,
            operation=spec.operation,
            prompt=spec.prompt,
            parameters=parameters_for(spec, model, asked),
            images=tuple(sources),
            mask=await self._pictures.mask(layout, model, folder),
            expand=layout.expand,
            others=others,
        )

    async def _keep(self, held: Held, handle: str) -> None:
        """Write the provider's handle down: from here on any worker can go on, and nothing is paid again."""
        await self._write(held, call="handle", handle=handle, waiting_on="provider")
        held.resumable = True

    async def _write(self, held: Held, **fields: str | int) -> None:
        """Checkpoint with the course; raises LostEdit when the edit went to somebody else."""
        text = held.course.model_dump_json(exclude_defaults=True)
        record = held.record
        if not await self._leases.checkpoint(record, patience_s=PATIENCE_S, stage=held.stage, course=text, **fields):
            raise LostEdit(record.id)
        if "call" in fields:
            held.record = replace(record, call=str(fields["call"]), handle=str(fields["handle"]))


def started(course: Course, chosen: Recommendation, *, number: int) -> Course:
    """The course with a new attempt."""
    model = chosen.model
    attempt = Attempt(n=number, model=model.id, provider=model.provider, started_at=datetime.now(UTC))
    return course.model_copy(update={"attempts": (*course.attempts, attempt)})


def reopened(course: Course) -> Course:
    """The course with its last attempt under way again: what became of its call is looked into once more."""
    if not course.attempts:
        return course
    last = course.attempts[-1].model_copy(update={"outcome": None, "error": None, "finished_at": None})
    lines = tuple(line for line in course.lines if line.attempt != last.n)
    return course.model_copy(update={"attempts": (*course.attempts[:-1], last), "lines": lines})


def ended(course: Course, outcome: str, error: str | None, *, billed: bool | None) -> Course:
    """The course with its last attempt ended, and the line of what that cost at the provider."""
    if not course.attempts or course.attempts[-1].outcome is not None:
        return course
    last = course.attempts[-1].model_copy(update={"outcome": outcome, "error": error, "finished_at": datetime.now(UTC)})
    line = CostLine(attempt=last.n, model=last.model, usd=course.estimated_usd or 0.0, billed=billed)
    return course.model_copy(update={"attempts": (*course.attempts[:-1], last), "lines": (*course.lines, line)})


def ended_by(course: Course, error: EditStudioError) -> Course:
    """The course after an error that ends the attempt."""
    billed = error.billed if isinstance(error, ProviderError) else None
    return ended(course, error.code, str(error), billed=billed)


def call_end(held: Held, course: Course, *, is_ours: bool = False) -> CallEnd | None:
    """How the last attempt of `course` ended, to be counted; None if it has not, or was counted before.

    `is_ours`: its end was none of the model's doing.
    """
    last = course.attempts[-1] if course.attempts else None
    if last is None or last.outcome is None or last.n <= held.told:
        return None
    held.told = last.n
    usd = sum(line.usd for line in course.lines if line.attempt == last.n and line.billed is not False)
    outcome = "neutral" if is_ours else says(last.outcome)
    return CallEnd(
        model=last.model,
        provider=last.provider,
        operation=held.record.spec.operation,
        outcome=outcome,
        said=last.outcome,
        seconds=held.took_s if outcome == "good" else None,
        micro_usd=round(usd * 1e6),
    )


def _age_s(course: Course) -> float:
    """Seconds since the last attempt began, whoever began it."""
    return max(0.0, (datetime.now(UTC) - course.attempts[-1].started_at).total_seconds())
