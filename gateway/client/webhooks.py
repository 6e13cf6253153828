"""Webhooks of the service, checked before they are believed (Standard Webhooks)."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

from shared.signing import SignatureInvalid, verify


class WebhookEvent(TypedDict):
    """`type`: such as `edit.succeeded`; `data`: the edit or the batch as it was then."""

    type: str
    timestamp: str
    data: dict[str, Any]


class WebhookInvalid(Exception):
    """The message does not come from the service, or was changed, or is older than five minutes: answer 400, do nothing."""


def read_webhook(body: bytes, headers: Mapping[str, str], secret: str | Sequence[str]) -> WebhookEvent:
    """What a webhook tells. `body`: as it came, not parsed; `secret`: `whsec_…`, or all of a client's `webhook_secrets()`.

    Retries of the same webhook have the same header `webhook-id`.

    Raises:
        WebhookInvalid.
        ValueError: a secret is malformed.
    """
    secrets = [secret] if isinstance(secret, str) else list(secret)
    if not secrets:
        raise ValueError("secret: there is none; `webhook_secrets()` of the client gives it")
    for number, one in enumerate(secrets, start=1):
        try:
            verify(one, headers, body, now_s=time.time())
            break
        except SignatureInvalid as error:
            if number == len(secrets):
                raise WebhookInvalid(
                    f"{error}: the body has to be passed as its bytes, with the secret of this service"
                ) from error
    try:
        return cast(WebhookEvent, json.loads(body))
    except ValueError as error:
        raise WebhookInvalid("it was signed but is not JSON") from error
