"""A batch as a form: its manifest to a spool, its pictures to storage, each as it arrives."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from gateway.batches.staging import CLEARING_S
from gateway.connections import Connections
from gateway.fields import pointer_to, refusal
from gateway.multipart import Event, MultipartParser, PartStart, boundary_of
from gateway.named_pictures import Found
from gateway.spool import Content, Spool
from gateway.uploads import picture_info
from shared.batch import FILES_MAX
from shared.edit import InputRef, Role
from shared.errors import PictureError, PictureTooLarge
from shared.picture import content_type, extension
from shared.turns import Turns

MANIFEST = "manifest"
_NAME_MAX_CHARS = 255
_FED_BYTES = 32 * 1024


class BatchForm:
    """Use as a context: at its end the spooled manifest is removed. `files`: pictures by their file names, or what is wrong."""

    def __init__(
        self, body: AsyncIterator[bytes], content_type_header: str, connections: Connections, *, tenant: str, batch_id: str
    ) -> None:
        self._body = body
        self._parser = MultipartParser(boundary_of(content_type_header), parts_max=FILES_MAX + 1)
        self._connections = connections
        self._prefix = f"in/{tenant}/{batch_id}/"
        self._spools: list[Spool] = []
        self.files: dict[str, Found] = {}
        self._manifest: Content | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for spool in self._spools:
            await spool.discard()

    async def read(self) -> Content:
        """Read the whole form; answers its manifest.

        Raises BodyTooLarge, IncompleteBody, InvalidMultipart, ValidationFailed, StorageUnavailable.
        """
        part, spool, is_long, turns = PartStart("", is_file=False), Spool(), False, Turns()
        async for event in self._events():
            if isinstance(event, PartStart):
                self._check(event)
                part, spool, is_long = event, Spool(), False
                self._spools.append(spool)
            elif isinstance(event, bytes):
                is_long = is_long or self._is_long(part, spool.bytes + len(event))
                if not is_long:
                    await spool.write(event)
            else:
                await self._end(part, spool, is_long=is_long)
            await turns.give()
        self._parser.finish()
        if self._manifest is None:
            raise refusal(pointer_to(MANIFEST), "missing_field", "the form needs a part manifest: NDJSON, or JSON with items")
        return self._manifest

    async def discard(self) -> None:
        """Take the pictures back from storage: the batch was refused. Raises StorageUnavailable."""
        await self._connections.storage.delete_under(self._prefix, within_s=CLEARING_S)

    async def _events(self) -> AsyncIterator[Event]:
        async for piece in self._body:
            # The parser moves what it holds at every part: with small pieces a form of tiny parts blocks nobody.
            for start in range(0, len(piece), _FED_BYTES):
                for event in self._parser.feed(piece[start : start + _FED_BYTES]):
                    yield event

    def _check(self, part: PartStart) -> None:
        if part.name == MANIFEST:
            if self._manifest is not None:
                raise refusal(pointer_to(MANIFEST), "invalid_value", "this part comes twice")
            return
        if not part.is_file or not 0 < len(part.filename) <= _NAME_MAX_CHARS:
            message = f"parts are {MANIFEST}, and files with a file name of at most {_NAME_MAX_CHARS} characters"
            raise refusal(pointer_to(part.name), "unknown_field", message)
        if part.filename in self.files:
            raise refusal(pointer_to(part.name), "invalid_value", f"two files have the name {part.filename!r}")

    def _is_long(self, part: PartStart, size: int) -> bool:
        return part.name != MANIFEST and size > self._connections.settings.image_max_bytes

    async def _end(self, part: PartStart, spool: Spool, *, is_long: bool) -> None:
        if part.name == MANIFEST:
            self._manifest = await spool.finish()
            return
        limit = self._connections.settings.image_max_bytes
        try:
            if is_long:
                raise PictureTooLarge(f"the picture has more than {limit} bytes, which is the limit")
            self.files[part.filename] = await self._keep(await spool.finish())
        except PictureError as error:
            # Only the items that name it fail.
            self.files[part.filename] = error
        self._spools.remove(spool)
        await spool.discard()

    async def _keep(self, content: Content) -> InputRef:
        info = await picture_info(content, self._connections.settings, first_frame=True)
        key = f"{self._prefix}{len(self.files)}.{extension(info.format)}"
        await self._connections.storage.put(key, content.body, content_type=content_type(info.format))
        return InputRef(role=Role.IMAGE, key=key, info=info, sha256=content.sha256)
