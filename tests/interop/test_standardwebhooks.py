"""The `standardwebhooks` package checks what we sign, and we check what it signs."""

import json
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from shared.signing import SignatureInvalid, sign, verify, webhook_secret

BODY = '{"type":"edit.succeeded","data":{"prompt":"make it 黑白 – «now»"}}'


def signed_by_us(*versions: int) -> dict[str, str]:
    timestamp_s = int(time.time())
    secrets = [webhook_secret("m" * 32, "acme", version) for version in versions]
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": sign(secrets, webhook_id="evt_1", timestamp_s=timestamp_s, body=BODY.encode()),
    }


def test_their_receiver_takes_our_message() -> None:
    receiver = Webhook(webhook_secret("m" * 32, "acme", 1))
    assert receiver.verify(BODY.encode(), signed_by_us(1)) == json.loads(BODY)


@pytest.mark.parametrize("version", [1, 2])
def test_their_receiver_takes_our_message_with_either_secret_during_rotation(version: int) -> None:
    receiver = Webhook(webhook_secret("m" * 32, "acme", version))
    assert receiver.verify(BODY.encode(), signed_by_us(2, 1)) == json.loads(BODY)


def test_their_receiver_refuses_our_message_with_another_tenants_secret() -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook_secret("m" * 32, "other", 1)).verify(BODY.encode(), signed_by_us(1))


def test_we_take_their_message() -> None:
    secret = webhook_secret("m" * 32, "acme", 1)
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, BODY),
    }
    verify(secret, headers, BODY.encode(), now_s=now.timestamp())
    with pytest.raises(SignatureInvalid):
        verify(webhook_secret("m" * 32, "acme", 2), headers, BODY.encode(), now_s=now.timestamp())
