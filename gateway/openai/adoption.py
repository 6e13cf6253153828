"""The request that an SDK sends again finds the edit that its first one started.

OpenAI's clients send no Idempotency-Key of their own, but they count: `x-stainless-retry-count` is 0 on the first request of a
call and grows with each retry (openai 2.54.0, `_base_client.py`, `_build_headers`). So the first one always starts something
new, and one with a count goes on with the latest call of the same key that asked for the same. Whoever sends an Idempotency-Key
is taken at that word instead.
"""

import hashlib
import json
import re
from typing import Any

from gateway.idempotency import HEADER, STAND_IN
from gateway.openai.headers import RETRY_COUNT
from gateway.route import Call

#: How long a client waits for an answer; Python's and JavaScript's SDK tell it, each by its own name.
_PATIENCE = ("x-stainless-read-timeout", "x-stainless-timeout")
_PATIENCE_S = 600.0
#: What goes by between a client's giving up and its next request being read whole: its own pause, ours that it keeps to, and
#: the way of the body. Source: `MAX_RETRY_AFTER_DELAY` of the SDK, 120 s, and `gateway.body.WHOLE_S`.
_GRACE_S = 480.0
_LONGEST_S = 86_400.0
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?")


async def adopt(call: Call, *asked: Any) -> None:
    """Have this request taken for the one that it repeats, if it does. `asked`: in terms of JSON, what makes two requests equal.

    Raises StoreUnavailable, Overloaded.
    """
    request, repeats = call.request, call.connections.repeats
    count = request.headers.get(RETRY_COUNT, "")
    if HEADER in request.headers or not count.isdecimal():
        return
    text = json.dumps([call.key.id, request.method, request.path, *asked], sort_keys=True, separators=(",", ":"))
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    begin = repeats.begin if not int(count[:9]) else repeats.resume
    request[STAND_IN] = await begin(call.tenant, fingerprint, life_s=_life_s(call))


def _life_s(call: Call) -> float:
    said = next((text for name in _PATIENCE if (text := call.request.headers.get(name))), "")
    patience_s = float(said) if _NUMBER.fullmatch(said) else _PATIENCE_S
    return min(patience_s, _LONGEST_S) + _GRACE_S
