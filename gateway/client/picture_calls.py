"""Pictures on their way to the service: small ones with the request that needs them, large ones ahead of it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp

from gateway.client.answers import UploadedPicture
from gateway.client.connection import TRANSFER, Connection
from gateway.client.pictures import Named, Picture, content_of, opened, size_of
from shared.edit import Role

REFERENCES = "reference_images"
#: Of one picture, or of all references: what is larger is uploaded, so that a call that is repeated does not send it again.
_INLINE_MAX_BYTES = 4 * 1024 * 1024
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Parts:
    """A request and the files that go with it, by name."""

    request: Mapping[str, Any]
    files: Sequence[tuple[str, bytes | Path]]

    @asynccontextmanager
    async def form(self) -> AsyncGenerator[aiohttp.FormData, None]:
        """To be sent once. Raises OSError."""
        form = aiohttp.FormData()
        form.add_field("request", json.dumps(self.request), content_type="application/json")
        files = [(name, await asyncio.to_thread(opened, content)) for name, content in self.files]
        try:
            for name, file in files:
                form.add_field(name, file, filename=name, content_type="application/octet-stream")
            yield form
        finally:
            for _, file in files:
                file.close()


class PictureCalls(Connection):
    """Uploads, and requests that bring pictures."""

    async def upload(self, picture: Picture) -> UploadedPicture:
        """What was uploaded: requests name it by its `image_id`. It is forgotten after a day, unless an edit uses it.

        Raises ApiError, PictureUnusable, OSError.
        """
        content = await asyncio.to_thread(content_of, "picture", picture)
        if isinstance(content, tuple):
            raise ValueError(f"picture: {content[1]!r} need not be uploaded, requests can name it")
        return await self._upload(content)

    async def _upload(self, content: bytes | Path) -> UploadedPicture:
        room = await self._post("/uploads")

        async def put() -> Any:
            with await asyncio.to_thread(opened, content) as file:
                return await self._document("PUT", f"/uploads/{room['id']}/content", data=file, timeout=TRANSFER)

        return cast(UploadedPicture, await self._patiently(put))

    async def _send(self, path: str, parts: Parts, *, idempotency_key: str) -> Any:
        """Raises ApiError, OSError."""

        async def send() -> Any:
            async with parts.form() as form:
                headers = {"Idempotency-Key": idempotency_key}
                return await self._document("POST", path, data=form, headers=headers, timeout=TRANSFER)

        return await self._patiently(send)

    async def _parts(
        self, fields: Mapping[str, Any], pictures: Mapping[str, Picture | None], references: Sequence[Picture]
    ) -> Parts:
        """A request with these fields and pictures; what is too large to go with it is uploaded.

        Raises PictureUnusable, ApiError, OSError.
        """
        given = [(name, picture) for name, picture in pictures.items() if picture is not None]
        given += [(REFERENCES, picture) for picture in references]
        contents = await asyncio.to_thread(lambda: [(name, content_of(name, picture)) for name, picture in given])
        sizes = await asyncio.to_thread(lambda: [0 if isinstance(one, tuple) else size_of(one) for _, one in contents])
        # The service puts references that are named before those that are sent: as only one kind, they stay in their order.
        group = [(content, size) for (name, content), size in zip(contents, sizes, strict=True) if name == REFERENCES]
        are_named = len({isinstance(one, tuple) for one, _ in group}) > 1 or sum(size for _, size in group) > _INLINE_MAX_BYTES
        request, files = dict(fields), list[tuple[str, bytes | Path]]()
        for (name, content), size in zip(contents, sizes, strict=True):
            if isinstance(content, tuple):
                _name(request, name, content)
            elif size > _INLINE_MAX_BYTES or (are_named and name == REFERENCES):
                _name(request, name, ("id", (await self._upload(content))["image_id"]))
            else:
                files.append((name, content))
        return Parts(request, files)

    async def _named(self, items: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Items of a batch with their pictures uploaded; the same picture is uploaded once.

        Raises PictureUnusable, ApiError, OSError.
        """
        names = [role.value for role in Role if role is not Role.REFERENCE]
        asked = [dict(item) for item in items]
        wanted = [(item, name, item.pop(name)) for item in asked for name in names if name in item]
        by_identity = {_identity(picture): (name, picture) for _, name, picture in wanted}
        found: dict[object, Named] = {}
        todo = iter(by_identity.items())

        async def work() -> None:
            for identity, (name, picture) in todo:
                content = await asyncio.to_thread(content_of, name, picture)
                named: Named = content if isinstance(content, tuple) else ("id", (await self._upload(content))["image_id"])
                found[identity] = named

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(by_identity))):
                    group.create_task(work())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        for item, name, picture in wanted:
            _name(item, name, found[_identity(picture)])
        return list(asked)


def _name(request: dict[str, Any], name: str, named: Named) -> None:
    kind, text = named
    if name == REFERENCES:
        request[REFERENCES] = [*request.get(REFERENCES, ()), {kind: text}]
    else:
        request[f"{name}_{kind}"] = text


def _identity(picture: object) -> object:
    """Of equal paths and texts the same; anything else is itself."""
    return str(picture) if isinstance(picture, (str, Path)) else id(picture)
