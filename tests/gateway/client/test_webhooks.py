"""Webhooks are believed when they are signed, whole and fresh."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook

from gateway.client.webhooks import WebhookInvalid, read_webhook
from shared.signing import webhook_secret

SECRET, OTHER = (webhook_secret("master", "t1", version) for version in (1, 2))
BODY = json.dumps({"type": "edit.succeeded", "timestamp": "2026-01-01T00:00:00Z", "data": {"id": "edit_1"}}).encode()


def signed(body: bytes = BODY, *, secret: str = SECRET, age: timedelta = timedelta()) -> dict[str, str]:
    at = datetime.now(UTC) - age
    signature = Webhook(secret).sign("evt_1", at, body.decode())
    return {"Webhook-Id": "evt_1", "Webhook-Timestamp": str(int(at.timestamp())), "Webhook-Signature": signature}


def test_a_signed_webhook_is_read_also_during_a_rotation() -> None:
    assert read_webhook(BODY, signed(), SECRET)["data"] == {"id": "edit_1"}
    assert read_webhook(BODY, signed(), (OTHER, SECRET))["type"] == "edit.succeeded"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY + b" ", signed()),
        (BODY, signed(secret=OTHER)),
        (BODY, signed(age=timedelta(minutes=6))),
        (BODY, {}),
        (b"no json", signed(b"no json")),
    ],
)
def test_what_was_changed_or_is_old_or_of_somebody_else_is_refused(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(WebhookInvalid):
        read_webhook(body, headers, SECRET)


def test_a_secret_that_is_none_is_the_callers_fault() -> None:
    for secret in ("wrong", ()):
        with pytest.raises(ValueError, match="secret"):
            read_webhook(BODY, signed(), secret)
