"""Signatures: known answers, and what must not pass."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.signing import SignatureInvalid, sign, verify, webhook_secret

MASTER = "m" * 32
NOW_S = 1_614_265_330

# Source: the Standard Webhooks reference vector, which the tests of its libraries repeat.
KNOWN_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KNOWN_BODY = b'{"test": 2432232314}'
KNOWN_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def headers(signature: str, *, webhook_id: str = "msg_1", timestamp: str = str(NOW_S)) -> dict[str, str]:
    return {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def test_the_published_example_gives_the_published_signature() -> None:
    signed = sign([KNOWN_SECRET], webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp_s=NOW_S, body=KNOWN_BODY)
    assert signed == KNOWN_SIGNATURE


def test_a_secret_is_stable_and_32_bytes() -> None:
    secret = webhook_secret(MASTER, "acme", 1)
    assert secret == webhook_secret(MASTER, "acme", 1)
    assert secret == "whsec_5VYqoPWmrKfnAzqVD4smFHKFVRtseMb5p+VHpJG2z/0="
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


def test_master_tenant_and_version_each_change_the_secret() -> None:
    made = {
        webhook_secret(master, tenant, version)
        for master in (MASTER, "n" * 32)
        for tenant in ("acme", "1 of acme", "11 of acme", "")
        for version in (1, 2, 11)
    }
    assert len(made) == 2 * 4 * 3


@given(body=st.binary(max_size=200), webhook_id=st.from_regex(r"[A-Za-z0-9_]{1,40}", fullmatch=True))
@settings(max_examples=50)
def test_what_is_signed_verifies_with_each_of_the_secrets(body: bytes, webhook_id: str) -> None:
    secrets = [webhook_secret(MASTER, "acme", version) for version in (2, 1)]
    signature = sign(secrets, webhook_id=webhook_id, timestamp_s=NOW_S, body=body)
    assert len(signature.split(" ")) == 2
    for secret in secrets:
        verify(secret, headers(signature, webhook_id=webhook_id), body, now_s=NOW_S)
    with pytest.raises(SignatureInvalid):
        verify(secrets[0], headers(signature, webhook_id=webhook_id), body + b" ", now_s=NOW_S)


def test_header_names_are_taken_in_any_case() -> None:
    secret = webhook_secret(MASTER, "acme", 1)
    given_headers = headers(sign([secret], webhook_id="msg_1", timestamp_s=NOW_S, body=b"{}"))
    verify(secret, {name.title(): value for name, value in given_headers.items()}, b"{}", now_s=NOW_S)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(NOW_S + 1)},
        {"webhook-timestamp": f"{NOW_S}.0"},
        {"webhook-timestamp": f" {NOW_S}"},
        {"webhook-timestamp": "١٦١٤٢٦٥٣٣٠"},
        {"webhook-timestamp": "9" * 40},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1a,g0hM9SsE"},
        {"webhook-signature": "ünsigned"},
    ],
)
def test_a_changed_or_missing_header_does_not_verify(change: dict[str, str]) -> None:
    secret = webhook_secret(MASTER, "acme", 1)
    whole = headers(sign([secret], webhook_id="msg_1", timestamp_s=NOW_S, body=b"{}"))
    verify(secret, whole, b"{}", now_s=NOW_S)
    with pytest.raises(SignatureInvalid):
        verify(secret, whole | change, b"{}", now_s=NOW_S)
    with pytest.raises(SignatureInvalid):
        verify(secret, {name: value for name, value in whole.items() if name not in change}, b"{}", now_s=NOW_S)


def test_a_signature_of_another_version_does_not_count_as_v1() -> None:
    secret = webhook_secret(MASTER, "acme", 1)
    signature = sign([secret], webhook_id="msg_1", timestamp_s=NOW_S, body=b"{}")
    with pytest.raises(SignatureInvalid):
        verify(secret, headers(signature.replace("v1,", "v2,")), b"{}", now_s=NOW_S)


@pytest.mark.parametrize("age_s", [-301, 301])
def test_a_message_out_of_its_time_is_refused(age_s: int) -> None:
    secret = webhook_secret(MASTER, "acme", 1)
    whole = headers(sign([secret], webhook_id="msg_1", timestamp_s=NOW_S, body=b"{}"))
    verify(secret, whole, b"{}", now_s=NOW_S + age_s * 300 / 301)
    with pytest.raises(SignatureInvalid):
        verify(secret, whole, b"{}", now_s=NOW_S + age_s)


def test_an_id_with_a_dot_is_not_signed() -> None:
    with pytest.raises(ValueError, match="dot"):
        sign([KNOWN_SECRET], webhook_id="evt_1.2", timestamp_s=NOW_S, body=b"{}")


@pytest.mark.parametrize("secret", ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64!", "whsec_YQ"])
def test_a_malformed_secret_is_an_error_not_a_signature(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        sign([secret], webhook_id="msg_1", timestamp_s=NOW_S, body=b"{}")
