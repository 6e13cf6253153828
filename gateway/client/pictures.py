"""Pictures as callers have them: a path, bytes, an open file, a PIL image, a URL, or the id of an upload or an earlier edit."""

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeGuard, Union

from gateway.client.api_error import PictureUnusable

if TYPE_CHECKING:
    from PIL.Image import Image

_ID = re.compile(r"(edit|upl)_[0-9a-hjkmnp-tv-z]{26}")
_WAYS = "give a path, bytes, a file opened with 'rb', a PIL image, a URL, or the id of an upload or an edit"
#: Of results, where it is not the format's own name.
_ENDINGS: Mapping[str, str] = {"jpeg": "jpg"}


class Readable(Protocol):
    """A file opened for reading bytes."""

    def read(self) -> bytes:
        """All of it, from where it stands."""


Picture: TypeAlias = Union[bytes, str, os.PathLike[str], Readable, "Image"]
#: How a request names a picture that is not sent with it: as `<name>_url` or `<name>_id`.
Named = tuple[Literal["url", "id"], str]


def content_of(name: str, picture: Picture) -> bytes | Path | Named:
    """What is to be sent, or named, for the picture that goes by `name`. Reads files and encodes images: not on an event loop.

    Raises PictureUnusable.
    """
    if isinstance(picture, str):
        if picture.startswith(("http://", "https://")):
            return "url", picture
        if _ID.fullmatch(picture):
            return "id", picture
    if isinstance(picture, (str, os.PathLike)):
        path = Path(picture)
        if not path.is_file():
            where = "" if path.is_absolute() else f" in {Path.cwd()}"
            raise PictureUnusable(f"{name}: there is no file {str(path)!r}{where}; {_WAYS}")
        return path
    content = _bytes_of(name, picture)
    if not content:
        raise PictureUnusable(f"{name}: there are no bytes in it (a file that was read before stands at its end); {_WAYS}")
    return content


def size_of(content: bytes | Path) -> int:
    """In bytes. Raises OSError."""
    return content.stat().st_size if isinstance(content, Path) else len(content)


def opened(content: bytes | Path) -> io.BufferedIOBase:
    """To be sent piece by piece, and from the beginning each time. Raises OSError."""
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def ending_of(output: Mapping[str, Any]) -> str:
    """How the name of a file with this result ends, without the dot."""
    return _ENDINGS.get(output["format"], output["format"])


def _bytes_of(name: str, picture: object) -> bytes:
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if _is_image(picture):
        encoded = io.BytesIO()
        picture.save(encoded, "PNG")
        return encoded.getvalue()
    read = getattr(picture, "read", None)
    found = read() if callable(read) else None
    if isinstance(found, bytes):
        return found
    trouble = "the file gave text" if isinstance(found, str) else f"{type(picture).__name__} is no picture"
    raise PictureUnusable(f"{name}: {trouble}; {_WAYS}")


def _is_image(picture: object) -> "TypeGuard[Image]":
    """Told by its class' name, so that Pillow need not be there."""
    return any(f"{cls.__module__}.{cls.__qualname__}" == "PIL.Image.Image" for cls in type(picture).__mro__)
