"""Files that are uploaded under a name and for a purpose, in Redis: each is an upload with a few words about it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.errors import NotFound
from shared.settings import Settings
from shared.store.connection import Scripts
from shared.store.listing import not_a_cursor
from shared.store.uploads import Upload

_UPLOAD = "upl_"
_PREFIX = "file-"
_SCANNED_A_PAGE = 10_000


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str
    name: str
    purpose: str
    bytes: int
    created_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class File:
    """`upload_id`: what names its bytes wherever the id of a picture is taken."""

    id: str
    tenant: str
    name: str
    purpose: str
    bytes: int
    created_ms: int
    expires_ms: int

    @property
    def upload_id(self) -> str:
        """Of the upload that has its bytes."""
        return upload_id_of(self.id)


def upload_id_of(file_id: str) -> str:
    """The upload under a file's id."""
    return f"{_UPLOAD}{file_id.removeprefix(_PREFIX)}"


class Files:
    """A file is kept as long as a finished edit, or less if its owner says so."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._retention_ms = settings.retention_s * 1000

    @property
    def longest_life_s(self) -> int:
        """How long a file can be kept."""
        return self._retention_ms // 1000

    async def add(self, upload: Upload, *, name: str, purpose: str, size: int, life_s: int | None) -> File:
        """Describe an upload whose bytes have been put. Raises StoreUnavailable, Overloaded."""
        now_ms = int(time.time() * 1000)
        life_ms = self._retention_ms if life_s is None else life_s * 1000
        stored = _Stored(
            tenant=upload.tenant, name=name, purpose=purpose, bytes=size, created_ms=now_ms, expires_ms=now_ms + life_ms
        )
        file_id, index = f"{_PREFIX}{upload.id.removeprefix(_UPLOAD)}", _index(upload.tenant)
        await self._scripts.command("PEXPIRE", f"upload:{upload.id}", life_ms)
        await self._scripts.command("SET", f"file:{file_id}", stored.model_dump_json(), "PX", life_ms)
        await self._scripts.command("ZREMRANGEBYSCORE", index, "-inf", now_ms - self._retention_ms)
        await self._scripts.command("ZADD", index, now_ms, file_id)
        await self._scripts.command("PEXPIRE", index, self._retention_ms)
        return _file(file_id, stored)

    async def get(self, tenant: str, file_id: str) -> File:
        """One file. Raises NotFound (also for another tenant's), StoreUnavailable."""
        text = await self._scripts.command("GET", f"file:{file_id}")
        stored = _Stored.model_validate_json(text) if text else None
        if stored is None or stored.tenant != tenant:
            raise NotFound("you have no file with this id")
        return _file(file_id, stored)

    async def page(
        self, tenant: str, *, limit: int, after: str | None, order: Literal["asc", "desc"], purpose: str | None
    ) -> tuple[Sequence[File], bool]:
        """Some files past `after`, and whether there are more. Raises ValidationFailed for an `after` that is no file's."""
        forward, index = order == "asc", _index(tenant)
        start = 0
        if after is not None:
            rank = await self._scripts.command("ZRANK" if forward else "ZREVRANK", index, after)
            if rank is None:
                raise not_a_cursor()
            start = int(rank) + 1
        ids: list[str] = await self._scripts.command("ZRANGE" if forward else "ZREVRANGE", index, start, start + _SCANNED_A_PAGE)
        found: list[File] = []
        for first in range(0, len(ids), limit):
            chunk = ids[first : first + limit]
            texts = await self._scripts.command("MGET", *(f"file:{file_id}" for file_id in chunk))
            files = [_file(i, _Stored.model_validate_json(text)) for i, text in zip(chunk, texts, strict=True) if text]
            found += [file for file in files if purpose in (None, file.purpose)]
            if len(found) > limit:
                break
        return found[:limit], len(found) > limit

    async def delete(self, file: File) -> bool:
        """Forget a file; answers whether edits that have not ended long ago still use its bytes. Raises StoreUnavailable."""
        await self._scripts.command("ZREM", _index(file.tenant), file.id)
        await self._scripts.command("DEL", f"file:{file.id}", f"upload:{file.upload_id}")
        return bool(await self._scripts.command("EXISTS", f"kept:{file.upload_id}"))


def _index(tenant: str) -> str:
    return f"tfiles:{tenant}"


def _file(file_id: str, stored: _Stored) -> File:
    return File(id=file_id, **stored.model_dump())
