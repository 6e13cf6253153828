"""The headers that OpenAI's clients send and read: repeats, what is left of the rate, how long it took.

Source: OpenAI API reference, "Debugging requests" and "Rate limits": durations there are written as Go writes them; and
openai 2.54.0, `_base_client.py`.
"""

import math

from multidict import CIMultiDict

from gateway.route import Header
from shared.store.tenants import Bucket

RETRY_COUNT = "x-stainless-retry-count"
_TEXT = {"type": "string"}
#: What a call that may be paid for takes.
CALL_HEADERS = (
    Header("Idempotency-Key", "the same key and the same request within 24 h give the first answer again", _TEXT),
    Header(
        RETRY_COUNT,
        "0 starts something new; more: a retry, which goes on with what the same key asked for last in the same words",
        _TEXT,
    ),
)
ANSWER_HEADERS = (
    Header("openai-processing-ms", "milliseconds until the answer began", _TEXT),
    Header("x-ratelimit-limit-requests", "requests a minute", _TEXT),
    Header("x-ratelimit-remaining-requests", "how many are left", _TEXT),
    Header("x-ratelimit-reset-requests", "when all are left again, such as `6.5s`", _TEXT),
)


def add_openai_headers(headers: CIMultiDict[str], bucket: Bucket | None, *, processing_s: float) -> None:
    """To any answer under OpenAI's prefix. `bucket`: None where no key was looked at."""
    headers["openai-processing-ms"] = str(math.ceil(processing_s * 1000))
    if bucket is not None:
        headers["x-ratelimit-limit-requests"] = str(bucket.limit)
        headers["x-ratelimit-remaining-requests"] = str(bucket.remaining)
        headers["x-ratelimit-reset-requests"] = duration((bucket.limit - bucket.remaining) * 60 / bucket.limit)


def duration(seconds: float) -> str:
    """`350ms`, `6.5s`, `1m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds * 10) / 10, 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"
