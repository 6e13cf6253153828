"""What an error means for an edit: again later, or the end (pure)."""

from dataclasses import dataclass

from shared.errors import EditStudioError, Overloaded, ProviderError, ProviderRateLimited, StorageUnavailable
from shared.store.leases import Release

FAILURES_MAX = 4
_BACKOFF_FIRST_S = 1.0
_BACKOFF_MAX_S = 60.0
_RATE_LIMIT_MAX_S = 600.0
_STORAGE_AGAIN_S = 30.0
_ROOM_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The edit ends with this error."""

    error: EditStudioError


def after(error: EditStudioError, *, failures: int, chance: float) -> Release | GiveUp:
    """What to do after `error`.

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
    if isinstance(error, ProviderError) and error.retryable and failures + 1 < FAILURES_MAX:
        longest_s = min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2**failures)
        return Release(delay_s=chance * longest_s, waiting_on="retry_backoff", failed=True)
    return GiveUp(error)
