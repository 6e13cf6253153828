"""Quotes in Redis: what was offered for which edit, for ten minutes."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from shared.errors import FieldError, QuoteExpired
from shared.ids import new_id
from shared.store.connection import Scripts

QUOTED_MS = 600_000


@dataclass(frozen=True, slots=True)
class Quote:
    """`wish`: a digest of each of the edit's fields that the price may depend on. `models`: ids, the first choice first.

    `total_micro_usd`: the most that is charged, in 1e-6 USD.
    """

    id: str
    wish: Mapping[str, str]
    models: tuple[str, ...]
    total_micro_usd: int
    expires_ms: int


class Quotes:
    """What was offered to whom."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def keep(self, tenant: str, wish: Mapping[str, str], *, models: tuple[str, ...], total_micro_usd: int) -> Quote:
        """Offer this. Raises StoreUnavailable, Overloaded."""
        now_ms = int(time.time() * 1000)
        quote_id = new_id("quote", now_ms=now_ms, random_bytes=os.urandom(10))
        quote = Quote(quote_id, wish, models, total_micro_usd, now_ms + QUOTED_MS)
        text = json.dumps(asdict(quote), separators=(",", ":"))
        await self._scripts.command("SET", f"quote:{tenant}:{quote_id}", text, "PX", QUOTED_MS)
        return quote

    async def find(self, tenant: str, quote_id: str) -> Quote:
        """What was offered. Raises QuoteExpired (also for another tenant's), StoreUnavailable."""
        text: str | None = await self._scripts.command("GET", f"quote:{tenant}:{quote_id}")
        if text is None:
            message = "there is no such quote, or its ten minutes are over: ask for a new one, or leave quote_id out"
            raise QuoteExpired(message, errors=[FieldError("/quote_id", QuoteExpired.code, message)])
        fields = json.loads(text)
        return Quote(**{**fields, "models": tuple(fields["models"])})
