"""The first answer again: what makes two requests the same."""

import hashlib
import json
import re
from collections.abc import Sequence

from aiohttp import web

from gateway.fields import refusal
from shared.edit import EditOptions, canonical_options
from shared.store.jobs import Idempotency

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


def idempotency_of(request: web.Request, options: EditOptions, pictures: Sequence[tuple[str, str]]) -> Idempotency | None:
    """The key that the caller sent, if any, with the fingerprint of the request: method, path, wishes and pictures.

    `pictures`: for each, what it is for, and the digest, URL or id that tells it from others. How a picture was sent and how
    the body was written makes no difference. Raises ValidationFailed for a malformed key.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise refusal("", "invalid_value", "an Idempotency-Key has 1 to 255 printable characters")
    asked = [request.method, request.path, canonical_options(options), pictures]
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return Idempotency(key=_sha256(key), fingerprint=_sha256(text))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
