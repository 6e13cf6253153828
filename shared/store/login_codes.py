"""One-time codes that let a browser in: of a code only its SHA-256 is stored, and what key it is worth."""

import hashlib
import json
import secrets

from shared.store.connection import Scripts
from shared.store.tenants import ApiKey, Tenants

_CODE_BYTES = 24
_LIFE_S = 24 * 3_600
#: Of the key that a code is exchanged for: browsers lose theirs without telling anybody.
_KEY_LIFE_S = 30 * 24 * 3_600
#: What the page needs; it never administers.
_SCOPES = frozenset({"read", "submit"})


class LoginCodes:
    """Codes are made where a person can see them, and turned into a key by whoever comes first."""

    def __init__(self, scripts: Scripts, tenants: Tenants) -> None:
        self._scripts = scripts
        self._tenants = tenants

    async def make(self, tenant: str, *, tier: str) -> str:
        """A code, good once and for a day. Raises StoreUnavailable."""
        code = secrets.token_urlsafe(_CODE_BYTES)
        worth = json.dumps({"tenant": tenant, "tier": tier})
        await self._scripts.command("SET", _name(code), worth, "EX", _LIFE_S)
        return code

    async def redeem(self, code: str) -> tuple[str, ApiKey] | None:
        """A new key, good for 30 days, for the code; None if it is unknown, used or too old. Raises StoreUnavailable."""
        worth = await self._scripts.command("GETDEL", _name(code))
        if worth is None:
            return None
        of = json.loads(worth)
        return await self._tenants.create_key(
            of["tenant"], tier=of["tier"], scopes=_SCOPES, name="login link", life_s=_KEY_LIFE_S
        )


def _name(code: str) -> str:
    return f"login:{hashlib.sha256(code.encode()).hexdigest()}"
