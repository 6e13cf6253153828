"""What an error means for an edit: again later, or the end (pure)."""

from collections import Counter
from dataclasses import dataclass

from shared.catalog.load import Catalog
from shared.errors import (
    EditStudioError,
    JobError,
    Overloaded,
    ProviderBadOutput,
    ProviderError,
    ProviderModelGone,
    ProviderRateLimited,
    ProviderUnusable,
    StorageUnavailable,
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
NEXT_MODEL = (ProviderUnusable, ProviderModelGone, ProviderBadOutput)  #: this model is no use for the edit, another may be


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The edit ends with this error."""

    error: EditStudioError


def after(error: EditStudioError, *, failures: int, chance: float, may_fall_back: bool = False) -> Release | GiveUp:
    """What to do after `error`. `may_fall_back`: another model may do the edit; then one that cannot is no end of it.

    `failures`: how often the edit failed before; `chance`: uniform in [0, 1), for full jitter, so that edits which failed
    together do not come back together. A provider's limit is no failure of the edit and costs no try.
    """
    if isinstance(error, ProviderRateLimited):
        asked = error.retry_after_s
        wait_s = min(_RATE_LIMIT_MAX_S, asked if asked is not None else 1 + chance * (_BACKOFF_MAX_S - 1))
        return Release(delay_s=wait_s, waiting_on="rate_limit", pause_s=wait_s)
    if isinstance(error, StorageUnavailable):
        return Release(delay_s=_STORAGE_AGAIN_S, waiting_on="storage")
    if isinstance(error, Overloaded):
        return Release(delay_s=error.retry_after_s or _ROOM_AGAIN_S)
    if may_fall_back and isinstance(error, NEXT_MODEL) and failures + 1 < FAILURES_MAX:
        return Release(failed=True)
    if isinstance(error, ProviderError) and error.retryable and failures + 1 < FAILURES_MAX:
        longest_s = min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2**failures)
        return Release(delay_s=chance * longest_s, waiting_on="retry_backoff", failed=True)
    return GiveUp(error)


def spent_models(course: Course, catalog: Catalog) -> frozenset[str]:
    """Models that need not be asked again for this edit: tried twice, unfit, or of a provider that refuses our account."""
    spent: set[str] = set()
    tries: Counter[str] = Counter()
    for attempt in course.attempts:
        if attempt.outcome in (None, "succeeded", ProviderRateLimited.code):
            continue
        tries[attempt.model] += 1
        if tries[attempt.model] >= _TRIES_A_MODEL or attempt.outcome in (ProviderModelGone.code, ProviderBadOutput.code):
            spent.add(attempt.model)
        if attempt.outcome == ProviderUnusable.code:
            spent.update(model.id for model in catalog.models.values() if model.provider == attempt.provider)
    return frozenset(spent)


def paid_usd(course: Course) -> float:
    """What providers charge, or may charge, for the attempts so far: `max_cost` bounds all of them together."""
    return sum(line.usd for line in course.lines if line.billed is not False)


def last_error(course: Course) -> JobError | None:
    """Why the last attempt failed: the end of an edit that no model is left for."""
    failed = [attempt for attempt in course.attempts if attempt.outcome not in (None, "succeeded")]
    cls = error_classes().get(failed[-1].outcome or "") if failed else None
    return cls(failed[-1].error or cls.title) if cls is not None and issubclass(cls, JobError) else None
