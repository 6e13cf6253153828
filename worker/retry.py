"""What an error means for an edit: again later, or the end; and what it says of the model (pure)."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shared.catalog.load import Catalog
from shared.edit import EditSpec
from shared.errors import (
    EditStudioError,
    JobError,
    Overloaded,
    ProviderAmbiguous,
    ProviderBadOutput,
    ProviderError,
    ProviderModelGone,
    ProviderModerated,
    ProviderRateLimited,
    ProviderTransient,
    ProviderUnusable,
    StorageUnavailable,
    WorkerCrashed,
    error_classes,
)
from shared.job import Course
from shared.store.leases import Release

FAILURES_MAX = 4
_BACKOFF_FIRST_S = 1.0
_BACKOFF_MAX_S = 60.0
_RATE_LIMIT_MAX_S = 600.0
_STORAGE_AGAIN_S = 30.0
_ROOM_AGAIN_S = 5.0
_TRIES_A_MODEL = 2
_NEXT_MODEL = (ProviderUnusable, ProviderModelGone, ProviderBadOutput)  # This model is no use for the edit, another may be.
_DOWN = (ProviderTransient.code, ProviderAmbiguous.code)
_SAYS_NOTHING = (None, "succeeded", ProviderRateLimited.code, WorkerCrashed.code)  # Of whether the model can do the edit.
_UNFIT = (ProviderModelGone.code, ProviderBadOutput.code, ProviderModerated.code)

Says = Literal["good", "bad", "unusable", "neutral"]
_SAYS: Mapping[str, Says] = {
    "succeeded": "good",
    ProviderTransient.code: "bad",
    ProviderAmbiguous.code: "bad",
    ProviderBadOutput.code: "bad",
    ProviderModelGone.code: "bad",
    ProviderUnusable.code: "unusable",
}


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The edit ends with this error."""

    error: EditStudioError


def after(
    error: EditStudioError, *, failures: int, chance: float, next_model: bool = False, left_s: float = math.inf
) -> Release | GiveUp:
    """What to do after `error`. `next_model`: another one is to do the edit, see `is_for_the_next`.

    `failures`: how often the edit failed before; `left_s`: seconds to its deadline; `chance`: uniform in [0, 1), for full
    jitter, so that edits which failed together do not come back together. A provider's limit is no failure of the edit and
    costs no try.
    """
    if isinstance(error, ProviderRateLimited):
        wait_s = limited_s(error, chance=chance, left_s=left_s)
        return Release(delay_s=wait_s, waiting_on="rate_limit", pause_s=wait_s)
    if isinstance(error, StorageUnavailable):
        return Release(delay_s=_STORAGE_AGAIN_S, waiting_on="storage")
    if isinstance(error, Overloaded):
        return Release(delay_s=error.retry_after_s or _ROOM_AGAIN_S)
    if next_model and failures + 1 < FAILURES_MAX:
        return Release(failed=True)
    if isinstance(error, ProviderError) and error.retryable and failures + 1 < FAILURES_MAX:
        longest_s = min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2**failures)
        return Release(delay_s=chance * longest_s, waiting_on="retry_backoff", failed=True)
    return GiveUp(error)


def limited_s(error: ProviderRateLimited, *, chance: float, left_s: float) -> float:
    """How long a provider's limit is waited out: what it says, else 1 to 60 s, but not beyond half of what is left."""
    if error.retry_after_s is not None:
        return min(_RATE_LIMIT_MAX_S, error.retry_after_s)
    return 1 + chance * max(0.0, min(_BACKOFF_MAX_S, left_s / 2) - 1)


def may_fall_back(spec: EditSpec) -> bool:
    """A pinned model never becomes another."""
    return spec.fallback == "auto" and spec.model is None


def is_for_the_next(error: EditStudioError, spec: EditSpec) -> bool:
    """Whether another model is to do the edit after this error, at once."""
    if isinstance(error, ProviderModerated):
        return may_fall_back(spec) and spec.on_moderation == "fallback"
    return may_fall_back(spec) and isinstance(error, _NEXT_MODEL)


def says(outcome: str) -> Says:
    """What an attempt's outcome says of the model that was called."""
    return _SAYS.get(outcome, "neutral")


def spent_models(course: Course, catalog: Catalog) -> frozenset[str]:
    """Models that need not be asked again for this edit: tried twice, unfit, or of a provider that refuses our account."""
    spent: set[str] = set()
    tries: Counter[str] = Counter()
    for attempt in course.attempts:
        if attempt.outcome in _SAYS_NOTHING:
            continue
        tries[attempt.model] += 1
        if tries[attempt.model] >= _TRIES_A_MODEL or attempt.outcome in _UNFIT:
            spent.add(attempt.model)
        if attempt.outcome == ProviderUnusable.code:
            spent.update(model.id for model in catalog.models.values() if model.provider == attempt.provider)
    return frozenset(spent)


def tired_providers(course: Course) -> frozenset[str]:
    """Providers that failed twice at this edit by themselves: more than one of their models is likely to."""
    failed = Counter(attempt.provider for attempt in course.attempts if attempt.outcome in _DOWN)
    return frozenset(provider for provider, times in failed.items() if times >= _TRIES_A_MODEL)


def paid_usd(course: Course) -> float:
    """What providers charge, or may charge, for the attempts so far: `max_cost` bounds all of them together."""
    return sum(line.usd for line in course.lines if line.billed is not False)


def last_error(course: Course) -> JobError | None:
    """Why the last attempt failed: the end of an edit that no model is left for."""
    failed = [attempt for attempt in course.attempts if attempt.outcome not in (None, "succeeded")]
    cls = error_classes().get(failed[-1].outcome or "") if failed else None
    return cls(failed[-1].error or cls.title) if cls is not None and issubclass(cls, JobError) else None
