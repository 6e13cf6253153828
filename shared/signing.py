"""Standard Webhooks signatures, made and checked; and the secrets they are made with (pure).

Source: Standard Webhooks specification 1.0.0, "Signature scheme": HMAC-SHA256 over `id.timestamp.body`, secret `whsec_` and
base64, header `v1,` and base64; several signatures are separated by spaces.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

_PREFIX = "whsec_"
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class SignatureInvalid(Exception):
    """The message was not signed with this secret, was changed on the way, or is too old or from the future."""


def webhook_secret(master: str, tenant: str, version: int) -> str:
    """The tenant's secret: derived, so that a version number is all that has to be stored."""
    # The number comes first: whatever a tenant is called, no two pairs give the same text.
    derived = hmac.digest(master.encode(), f"webhook secret {version} of {tenant}".encode(), hashlib.sha256)
    return _PREFIX + base64.b64encode(derived).decode()


def sign(secrets: Sequence[str], *, webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature per secret, current first.

    Raises ValueError for an id with a dot in it, which would make the signed text ambiguous, and for a malformed secret.
    """
    if "." in webhook_id:
        raise ValueError(f"a dot in the webhook id {webhook_id!r}")
    return " ".join(f"v1,{_signature(secret, webhook_id, str(timestamp_s), body)}" for secret in secrets)


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now_s: float, tolerance_s: float = 300) -> None:
    """Check a received message. `headers`: in any case. `now_s`: seconds since 1970.

    Raises:
        SignatureInvalid: a header is missing or malformed, no signature matches, or `tolerance_s` is exceeded.
        ValueError: `secret` is malformed.
    """
    given = {name.lower(): value for name, value in headers.items()}
    webhook_id, timestamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not webhook_id or not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureInvalid("webhook-id or webhook-timestamp is missing or malformed")
    if abs(now_s - int(timestamp)) > tolerance_s:
        raise SignatureInvalid("webhook-timestamp is too old or in the future")
    expected = f"v1,{_signature(secret, webhook_id, timestamp, body)}".encode()
    signatures = given.get("webhook-signature", "").encode().split(b" ")
    # Every signature is compared, in constant time, so that the answer's time tells nothing.
    if not sum(hmac.compare_digest(expected, signature) for signature in signatures):
        raise SignatureInvalid("no signature matches")


def _signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    key = _key(secret)
    return base64.b64encode(hmac.digest(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(_PREFIX) or not key:
        raise ValueError("a webhook secret is whsec_ and base64")
    return key
