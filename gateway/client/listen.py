"""The tenant's feed as webhooks to one address: for a receiver that the service cannot reach, such as one on a developer's desk.

Everything comes through the public API; the signatures are those of real webhooks (Standard Webhooks).
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import NoReturn

import aiohttp

from gateway.client.answers import FeedEntry
from gateway.client.api_error import ApiError
from gateway.client.async_client import AsyncClient
from shared.signing import sign

KINDS = ("edit.succeeded", "edit.failed", "edit.canceled", "batch.completed", "batch.held")
LATEST = "latest"
_WAIT_S = 60
_EVENTS_A_PAGE = 20
_RECEIVER_S = 15.0
_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Forwarded:
    """An event that was sent. `status`: the receiver's answer, None if there was none; `fault`: why not. `took_s`: seconds."""

    event: FeedEntry
    status: int | None
    fault: str
    took_s: float


@dataclass(frozen=True, slots=True)
class Listener:
    """`kinds`: which events are forwarded. `forwarded` and `trouble` are told what happens; `reached` keeps the cursor."""

    client: AsyncClient
    forward_to: str
    kinds: Collection[str]
    forwarded: Callable[[Forwarded], None]
    trouble: Callable[[str], None]
    reached: Callable[[str], Awaitable[None]]

    async def run(self, after: str) -> NoReturn:
        """Forward what comes after this cursor, for ever; an event whose cursor was not kept comes again, under the same id.

        An outage of the service is waited out. Raises ApiError for what waiting cannot mend, such as a key that is refused.
        """
        is_away = False
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_RECEIVER_S), trust_env=False) as session:
            while True:
                try:
                    # The place of `latest` has to be known before anything is waited for: during an outage it would move on.
                    wait_s = 0 if after == LATEST else _WAIT_S
                    page = await self.client.events(after, wait_s=wait_s, limit=_EVENTS_A_PAGE, expand=True)
                    # With each page, because a rotation may have come between.
                    secrets = await self.client.webhook_secrets() if page["events"] else ()
                except ApiError as error:
                    if error.status == HTTPStatus.GONE:
                        self.trouble("some events are no longer kept; going on with what comes now")
                        after = LATEST
                        continue
                    if error.status and error.status < HTTPStatus.INTERNAL_SERVER_ERROR and error.code != "rate_limited":
                        raise
                    if not is_away:
                        self.trouble(f"{error.detail}; trying again until it answers")
                    is_away = True
                    await asyncio.sleep(_AGAIN_S)
                    continue
                if is_away:
                    self.trouble("the service answers again")
                is_away = False
                for event in page["events"]:
                    if event["type"] in self.kinds and event["data"] is not None:
                        self.forwarded(await self._forward(session, event, secrets))
                        await self.reached(event["id"])
                if page["next_cursor"] != after:
                    after = page["next_cursor"]
                    await self.reached(after)

    async def _forward(self, session: aiohttp.ClientSession, event: FeedEntry, secrets: Collection[str]) -> Forwarded:
        told = {"type": event["type"], "timestamp": event["created_at"], "data": event["data"]}
        body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        timestamp_s = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": event["event_id"],
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": sign(tuple(secrets), webhook_id=event["event_id"], timestamp_s=timestamp_s, body=body),
        }
        began = time.monotonic()
        status, fault = None, ""
        try:
            async with session.post(self.forward_to, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except TimeoutError:
            fault = f"no answer within {_RECEIVER_S:.0f} s"
        except (aiohttp.ClientError, ValueError) as error:
            fault = f"cannot be reached: {type(error).__name__}"
        return Forwarded(event, status, fault, time.monotonic() - began)
