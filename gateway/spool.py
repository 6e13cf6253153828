"""Uploaded pictures on their way to storage: small ones in memory, others in a temporary file, hashed while they arrive."""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

#: Work on more bytes than this does not run on the event loop.
OFF_LOOP_BYTES = 256 * 1024
_FLUSH_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """A whole picture: its bytes, or the file that has them."""

    body: bytes | Path
    bytes: int
    sha256: str


class Spool:
    """Takes one picture piece by piece; holds at most 1 MiB of it in memory. `discard` when done with it."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._hash = hashlib.sha256()
        self._path: Path | None = None
        self.bytes = 0

    async def write(self, piece: bytes) -> None:
        """Add a piece. Raises OSError when the disk is full."""
        self._held.append(piece)
        self._held_bytes += len(piece)
        self.bytes += len(piece)
        if self._held_bytes >= _FLUSH_BYTES:
            await asyncio.to_thread(self._flush)

    async def finish(self) -> Content:
        """The whole picture."""
        if self._path is not None:
            await asyncio.to_thread(self._flush)
            return Content(self._path, self.bytes, self._hash.hexdigest())
        data = b"".join(self._held)
        self._held.clear()
        return Content(data, len(data), await sha256_of(data))

    async def discard(self) -> None:
        """Remove the file, if there is one. Safe to repeat."""
        if self._path is not None:
            await asyncio.to_thread(self._path.unlink, missing_ok=True)

    def _flush(self) -> None:
        if self._path is None:
            descriptor, name = tempfile.mkstemp(prefix="edit-studio-")
            os.close(descriptor)
            self._path = Path(name)
        with self._path.open("ab") as file:
            for piece in self._held:
                file.write(piece)
                self._hash.update(piece)
        self._held.clear()
        self._held_bytes = 0


async def sha256_of(data: bytes) -> str:
    """The digest in hexadecimal, off the loop where that pays."""
    if len(data) <= OFF_LOOP_BYTES:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())


async def pieces_of(content: Content, size: int) -> AsyncGenerator[bytes, None]:
    """The bytes of a picture again, a file's in pieces of `size`."""
    if not isinstance(content.body, Path):
        yield content.body
        return
    with content.body.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, size):
            yield piece
