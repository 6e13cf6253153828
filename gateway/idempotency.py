"""The first answer again: what makes two requests the same."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from gateway.fields import refusal
from shared.edit import EditOptions, canonical_options
from shared.store.jobs import Idempotency

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}
#: What stands for the header where a caller sends none, but can be told to repeat a request. No header can say the same.
STAND_IN = web.RequestKey("idempotency_stand_in", str)
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


def idempotency_of(request: web.Request, options: EditOptions, pictures: Sequence[tuple[str, str]]) -> Idempotency | None:
    """The key that the caller sent, if any, with the fingerprint of the request: method, path, wishes and pictures.

    `pictures`: for each, what it is for, and the digest, URL or id that tells it from others. How a picture was sent and how
    the body was written makes no difference. Raises ValidationFailed for a malformed key.
    """
    return idempotency_for(request, canonical_options(options), pictures)


def idempotency_for(request: web.Request, *asked: Any) -> Idempotency | None:
    """The key that the caller sent, if any, with the fingerprint of method, path and what was `asked`, in terms of JSON.

    Raises ValidationFailed for a malformed key.
    """
    key = hashed_key(request)
    if not key:
        return None
    text = json.dumps([request.method, request.path, *asked], sort_keys=True, separators=(",", ":"))
    return Idempotency(key=key, fingerprint=_sha256(text))


def hashed_key(request: web.Request) -> str:
    """The key that the caller sent, or what stands for it, as it is kept; `` without one.

    Raises ValidationFailed for a malformed one.
    """
    key = request.headers.get(HEADER)
    if key is None:
        stand_in = request.get(STAND_IN)
        return _sha256(f"{stand_in}\n") if stand_in else ""
    if not _KEY.fullmatch(key):
        raise refusal("", "invalid_value", "an Idempotency-Key has 1 to 255 printable characters")
    return _sha256(key)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
