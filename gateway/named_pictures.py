"""Pictures that requests name by id: uploads, results of earlier edits, file parts of the same form. Each is looked up once."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from gateway.connections import Connections
from gateway.uploads import uploaded_picture
from shared.batch import FILE
from shared.edit import InputRef, Role
from shared.errors import Gone, NotFound, PictureError, RequestError
from shared.picture import PictureInfo

_KNOWN_MAX = 4_096
_AT_ONCE = 32

Found = InputRef | RequestError


class NamedPictures:
    """For the time of one request. `files`: the file parts of its form, by file name, or what is wrong with them."""

    def __init__(self, tenant: str, connections: Connections, files: Mapping[str, Found] | None = None) -> None:
        self._tenant = tenant
        self._connections = connections
        self._files = files or {}
        self._known: OrderedDict[str, Found] = OrderedDict()
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def find(self, name: str) -> InputRef:
        """Where the picture lies. Raises NotFound, a PictureError; StoreUnavailable, StorageUnavailable."""
        found = self._files.get(name.removeprefix(FILE)) if name.startswith(FILE) else self._known.get(name)
        if found is None:
            found = await self._look(name)
            self._known[name] = found
            if len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
        if isinstance(found, RequestError):
            raise found
        return found

    async def look_up(self, names: Iterable[str]) -> None:
        """Find all of these at once, so that `find` need not wait for any. Raises StoreUnavailable, StorageUnavailable."""
        unknown = {name for name in names if name not in self._known and not name.startswith(FILE)}

        async def look(name: str) -> None:
            async with self._places:
                self._known[name] = await self._look(name)

        failures = await asyncio.gather(*(look(name) for name in unknown), return_exceptions=True)
        for failure in failures:
            if failure is not None:
                raise failure
        while len(self._known) > max(_KNOWN_MAX, len(unknown)):
            self._known.popitem(last=False)

    async def _look(self, name: str) -> Found:
        """An edit of another tenant, one without a result and one that never was are alike; so are uploads."""
        try:
            if name.startswith(FILE):
                raise NotFound(f"the form has no file part with the file name {name.removeprefix(FILE)!r}")
            if name.startswith("upl_"):
                return await self._upload(name)
            return await self._result(name)
        except (NotFound, PictureError) as error:
            return error

    async def _upload(self, upload_id: str) -> InputRef:
        upload = await self._connections.uploads.get(self._tenant, upload_id)
        picture = await uploaded_picture(upload, self._connections)
        await self._connections.uploads.use(upload)
        return picture

    async def _result(self, job_id: str) -> InputRef:
        try:
            output = await self._connections.jobs.output(self._tenant, job_id)
        except (NotFound, Gone):
            output = None
        if output is None:
            raise NotFound("you have no edit with this id and a result")
        info = PictureInfo(format=output.format, width=output.width, height=output.height, bytes=output.bytes)
        return InputRef(role=Role.IMAGE, key=output.key, info=info, sha256=output.sha256)
