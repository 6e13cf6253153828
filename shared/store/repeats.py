"""Calls of clients that repeat a request without an Idempotency-Key, but say that they do.

A call has a name of its own, made when its first request comes and found again by what the request asks for. Under this name the
edit is promised once (`accept.lua`), so a repeat that overtakes the first request makes no second edit either.
"""

import secrets

from shared.store.connection import Scripts


class Repeats:
    """Which call a request belongs to. A name is known for `life_s` after the call's latest request."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def begin(self, tenant: str, fingerprint: str, *, life_s: float) -> str:
        """A new call, whatever was asked before. Raises StoreUnavailable, Overloaded."""
        name = secrets.token_hex(16)
        await self._scripts.command("SET", _key(tenant, fingerprint), name, "PX", int(life_s * 1000))
        return name

    async def resume(self, tenant: str, fingerprint: str, *, life_s: float) -> str:
        """The latest call that asked the same; a new one if there was none, as when its first request was cut off.

        Raises StoreUnavailable, Overloaded.
        """
        key, life_ms = _key(tenant, fingerprint), int(life_s * 1000)
        await self._scripts.command("SET", key, secrets.token_hex(16), "NX", "PX", life_ms)
        await self._scripts.command("PEXPIRE", key, life_ms)
        name: str = await self._scripts.command("GET", key)
        return name


def _key(tenant: str, fingerprint: str) -> str:
    return f"repeat:{tenant}:{fingerprint}"
