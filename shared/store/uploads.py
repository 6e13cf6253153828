"""Pictures that are uploaded apart, in Redis: where each lies, and what it is once it was looked at."""

import secrets
import time
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from shared.edit import InputRef
from shared.errors import NotFound
from shared.ids import new_id
from shared.settings import Settings
from shared.store.connection import Scripts

UNUSED_S = 86_400


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str
    picture: InputRef | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """`key`: where the bytes are put; `picture`: where they lie for good, None as long as nobody has looked at them."""

    id: str
    tenant: str
    picture: InputRef | None

    @property
    def key(self) -> str:
        """In storage. Whoever has the link may put there what he likes until it ends, so nothing is read from here twice."""
        return f"in/{self.tenant}/{self.id}/content"


class Uploads:
    """An upload that nobody uses is forgotten after a day, one that is used as long as an edit is kept."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._used_ms = settings.retention_s * 1000

    async def add(self, tenant: str) -> Upload:
        """Room for a picture. Raises StoreUnavailable."""
        upload_id = new_id("upl", now_ms=int(time.time() * 1000), random_bytes=secrets.token_bytes(10))
        stored = _Stored(tenant=tenant).model_dump_json(exclude_defaults=True)
        await self._scripts.command("SET", f"upload:{upload_id}", stored, "PX", UNUSED_S * 1000)
        return Upload(upload_id, tenant, None)

    async def get(self, tenant: str, upload_id: str) -> Upload:
        """One upload. Raises NotFound (also for another tenant's), StoreUnavailable."""
        text = await self._scripts.command("GET", f"upload:{upload_id}")
        stored = _Stored.model_validate_json(text) if text else None
        if stored is None or stored.tenant != tenant:
            raise NotFound("you have no upload with this id")
        return Upload(upload_id, tenant, stored.picture)

    async def settle(self, upload: Upload, picture: InputRef) -> None:
        """Say what was uploaded. Of two at once either may win: each has put its own bytes under a key of their own."""
        stored = _Stored(tenant=upload.tenant, picture=picture).model_dump_json(exclude_defaults=True)
        await self._scripts.command("SET", f"upload:{upload.id}", stored, "XX", "KEEPTTL")

    async def use(self, upload: Upload) -> None:
        """Keep it as long as the edits that use it."""
        await self._scripts.command("PEXPIRE", f"upload:{upload.id}", self._used_ms)
