"""What providers over HTTP have in common: one exchange with its errors classed, words fit for a caller, addresses."""

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from shared.errors import ProviderAmbiguous, ProviderTransient

CONNECT_S = 10.0
_ANSWER_MAX_BYTES = 4 * 1024 * 1024
_MESSAGE_MAX_CHARS = 300
_ADDRESSES = re.compile(r"(?:https?://|data:)\S+")
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, a refusal too. `headers`: found whatever their case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after_s(self) -> float | None:
        """What `Retry-After` says, in seconds; None if it is absent or a date."""
        text = self.headers.get("Retry-After", "")
        return float(text) if text.isdecimal() else None


async def exchange(
    http: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    who: str,
    headers: Mapping[str, str],
    body: bytes | aiohttp.payload.Payload | None = None,
    timeout_s: float,
    is_paid: bool = False,
    max_bytes: int = _ANSWER_MAX_BYTES,
) -> Reply:
    """One call; a refusal is an answer too. `who`: the provider, for errors; `body`: JSON if it is bytes, else what it says.

    Raises:
        ProviderTransient: there was no answer.
        ProviderAmbiguous: the same, of a paid call that had left.
    """
    if isinstance(body, bytes):
        headers = {"Content-Type": "application/json", **headers}
    try:
        async with http.request(
            method,
            url,
            data=io.BytesIO(body) if isinstance(body, bytes) else body,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_S),
        ) as response:
            raw = bytearray()
            async for chunk in response.content.iter_any():
                raw += chunk
                if len(raw) > max_bytes:
                    raise aiohttp.ClientPayloadError("the answer is too long")
            return Reply(response.status, response.headers, bytes(raw))
    except _NOT_SENT as error:
        raise ProviderTransient(f"{who} cannot be reached") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        if is_paid:
            raise ProviderAmbiguous(f"the connection ended before {who} answered", billed=None) from error
        raise ProviderTransient(f"{who} did not answer") from error


def fit_for_caller(text: str, key: str) -> str:
    """A provider's words without our key and without addresses, cut short."""
    return _ADDRESSES.sub("(address)", text.replace(key, "(key)"))[:_MESSAGE_MAX_CHARS]


def data_uri(file: Path, content_type: str) -> str:
    """The file as a data URI. Blocks while it reads."""
    return f"data:{content_type};base64,{base64.b64encode(file.read_bytes()).decode()}"


def origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of a web address, or None if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and port and parts.scheme in ("http", "https") else None
