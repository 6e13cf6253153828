"""Which model does an edit's next call: the recommendation with what is healthy now, and with what the edit has been through."""

import asyncio
import contextlib
import random
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Literal

from shared.candidates import Circumstances, Exclusion, candidates_for
from shared.catalog.load import Catalog
from shared.catalog.model import Model
from shared.edit import EditSpec
from shared.errors import JobError, NoCapableModel
from shared.job import Course, JobRecord
from shared.learned import Learned
from shared.receipt import CHOICES, ChoiceRecord, choice_record, no_choice_record
from shared.recommend import Recommendation, recommend
from shared.store.experience import Experiences
from shared.telemetry import spanned
from worker.hands import Held
from worker.pictures import SourcePicture
from worker.providers.base import Provider
from worker.retry import last_error, may_fall_back, paid_usd, spent_models, tired_providers

_LACKING_PROVIDER_S = 30.0
_PROBED_BY_ANOTHER_S = (2.0, 8.0)  # Not all at once: they all wait for the same circuit.
_SPREAD_S = 2.0
_CHOICES_KEPT = 6


class WrongLane(Exception):
    """The edit belongs to another provider's lane, where that provider's limits hold.

    `delay_s`: until it is offered again; `pause_s`: so long nobody takes from the lane that it leaves.
    """

    def __init__(self, lane: str, *, delay_s: float = 0.0, pause_s: float = 0.0) -> None:
        super().__init__(lane)
        self.lane = lane
        self.delay_s = delay_s
        self.pause_s = pause_s


class CircuitsOpen(Exception):
    """Nothing but open circuits keeps out the models that could do the edit. `retry_s`: until one of them may be tried."""

    def __init__(self, retry_s: float) -> None:
        super().__init__("the models that could do the edit have failed too often just now")
        self.retry_s = retry_s


class NobodyLeft(Exception):
    """Every model that could do the edit has been tried. `error`: the last one's."""

    def __init__(self, error: JobError) -> None:
        super().__init__(str(error))
        self.error = error


class Chooser:
    """Chooses for claimed edits. One per worker process."""

    def __init__(self, *, catalog: Catalog, providers: Mapping[str, Provider], experiences: Experiences) -> None:
        self._catalog = catalog
        self._providers = providers
        self._experiences = experiences

    @spanned("choose")
    async def choose(self, held: Held, picture: SourcePicture, *, without: Collection[str] = ()) -> Recommendation:
        """The model, which may be one of another lane. A paid call that is under way decides it. `without`: models.

        What was chosen, or what kept all models out, is left in `held.choices`, to be written down.

        Raises:
            NoCapableModel, NobodyLeft: the edit is at its end.
            CircuitsOpen: it has to wait.
            WrongLane: a call is under way at a provider that this worker has no key for.
        """
        record, spec = held.record, held.record.spec
        here = Circumstances(self._providers.keys(), picture.info.upright_size, picture.part_size)
        if record.call and (called := self._catalog.models.get(record.call_model)):
            return self._under_way(held.course, spec, called, here)
        learned, history = await asyncio.gather(self._experiences.look(), self._experiences.history(record.tenant))
        spec, spent = self._left_to_do(spec, held.course)
        here = replace(here, experience=learned.experience_of(spec.operation, history))
        tried = spent | frozenset(without)
        barred = learned.down
        while True:
            try:
                chosen = self._best(spec, held.course, here, tried | barred)
            except NoCapableModel as error:
                raise self._nobody(held, spec, learned, replace(here, down=tried), barred, error) from None
            is_here = in_lane(chosen, record)
            # Only the lane's own workers call the model, so the leave to try it is asked for there.
            if not is_here or chosen.model.id not in learned.probing or await self._experiences.may_probe(chosen.model.id):
                break
            barred |= {chosen.model.id}
        if is_here:
            held.choices = _with(record.choices, choice_record(chosen, _now_ms()))
        return chosen

    def _under_way(self, course: Course, spec: EditSpec, called: Model, here: Circumstances) -> Recommendation:
        """Nothing that was learned since counts: the call is paid, at the price that was reserved, whatever it would cost now."""
        if called.provider not in self._providers:
            # Paid for, and nobody who took it could ask for the result: it waits for a worker with the provider's key.
            raise WrongLane(called.provider, delay_s=_LACKING_PROVIDER_S)
        spec = spec.model_copy(update={"model": called.id, "provider": None, "max_cost": None, "quoted_usd": None})
        try:
            found = recommend(spec, catalog=self._catalog, now=here)
        except NoCapableModel as error:
            raise _end_of(course, error) from None
        return found if course.estimated_usd is None else replace(found, usd=Decimal(str(course.estimated_usd)))

    def _left_to_do(self, spec: EditSpec, course: Course) -> tuple[EditSpec, frozenset[str]]:
        """The wish after the attempts so far, and the models that they have used up."""
        spec = spec.model_copy(update={"max_cost": _left_usd(spec, course)})
        if may_fall_back(spec):
            return spec, spent_models(course, self._catalog)
        if spec.model is None and course.attempts:
            spec = spec.model_copy(update={"model": course.attempts[-1].model})
        return spec, frozenset()

    def _best(self, spec: EditSpec, course: Course, here: Circumstances, barred: frozenset[str]) -> Recommendation:
        """What was chosen before is chosen again while it can be: workers that know a little more or less do not pass it on.

        A provider that failed at this edit is left alone while another may do it. Raises NoCapableModel.
        """
        tired = tired_providers(course)
        avoided = frozenset(model.id for model in self._catalog.models.values() if model.provider in tired)
        if may_fall_back(spec) and avoided - barred:
            with contextlib.suppress(NoCapableModel):
                found = recommend(spec, catalog=self._catalog, now=replace(here, down=barred | avoided))
                return _as_before(found, course)
        return _as_before(recommend(spec, catalog=self._catalog, now=replace(here, down=barred)), course)

    def _nobody(
        self, held: Held, spec: EditSpec, learned: Learned, here: Circumstances, barred: frozenset[str], error: NoCapableModel
    ) -> Exception:
        """Why there is no model. `here`: as if no circuit were open; `barred`: models that are out because one is."""
        able, _, _ = candidates_for(spec, self._catalog, here)
        _, excluded, _ = candidates_for(spec, self._catalog, replace(here, down=frozenset(here.down) | barred))
        end = CircuitsOpen(min(_retry_s(learned, c.model.id) for c in able)) if able else _end_of(held.course, error)
        held.choices = _with(held.record.choices, _nothing(excluded, str(end), spec))
        return end


def in_lane(chosen: Recommendation, record: JobRecord) -> bool:
    """Whether the edit waits where the limits of the model's provider hold. Those that killed workers run where they can."""
    return record.lane in (chosen.model.provider, "suspect")


def _as_before(found: Recommendation, course: Course) -> Recommendation:
    """The recommendation, with the model of the course in the first place if it is a candidate still."""
    before = next(((c, score) for c, score in found.scored if c.model.id == course.model), None)
    if before is None or course.selection is None or found.model.id == course.model:
        return found
    candidate, score = before
    kept = course.selection
    others = tuple(other for other, _ in found.scored if other is not candidate)
    return replace(
        found,
        model=candidate.model,
        usd=candidate.usd,
        mode=kept.mode,
        reason=kept.reason,
        score=score,
        others=others,
        alternatives=kept.alternatives,
    )


def _retry_s(learned: Learned, model_id: str) -> float:
    """Seconds until a model may be tried. One whose circuit is half-open is being tried by another worker."""
    health = learned.health(model_id)
    if health.state != "down" or health.retry_at_ms is None:
        return random.uniform(*_PROBED_BY_ANOTHER_S)
    return (health.retry_at_ms - learned.now_ms) / 1000 + random.uniform(0.0, _SPREAD_S)


def _left_usd(spec: EditSpec, course: Course) -> float | None:
    return None if spec.max_cost is None else max(0.0, spec.max_cost - paid_usd(course))


def _end_of(course: Course, error: NoCapableModel) -> Exception:
    """An edit that nobody is left for ends by what the last one failed with, not by its having been tried."""
    failed = last_error(course)
    return error if failed is None else NobodyLeft(failed)


def _nothing(excluded: tuple[Exclusion, ...], reason: str, spec: EditSpec) -> ChoiceRecord:
    mode: Literal["pinned", "recommended"] = "recommended" if spec.model is None else "pinned"
    return no_choice_record(excluded, reason, _now_ms(), mode=mode)


def _with(choices: str, new: ChoiceRecord) -> str:
    """The record's field with one more turn; the oldest ones go."""
    earlier = CHOICES.validate_json(choices) if choices else ()
    return CHOICES.dump_json((*earlier, new)[-_CHOICES_KEPT:], exclude_defaults=True).decode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
