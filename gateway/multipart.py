"""multipart/form-data taken apart while it arrives (pure): bytes in, parts out, nothing kept but a boundary's length.

Source: RFC 7578, and RFC 2046 section 5.1.1 for the delimiters. Part bodies are taken as they are: RFC 7578 section 4.7
deprecates transfer encodings, so they are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from shared.errors import IncompleteBody, InvalidMultipart

PARTS_MAX = 128
_HEADER_MAX_BYTES = 8_192
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}")
_ESCAPE = re.compile(r'\\(["\\])')
_PARAMETER = re.compile(r';\s*([A-Za-z*]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))')


@dataclass(frozen=True, slots=True)
class PartStart:
    """A part begins. `is_file`: it has a file name; `filename`: that name as it was sent, `` if it has an encoding of its own."""

    name: str
    is_file: bool
    filename: str = ""


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part that began last is complete."""


Event = PartStart | bytes | PartEnd


class _State(Enum):
    PREAMBLE = auto()  #: before the first delimiter
    DELIMITER = auto()  #: a delimiter was seen; what follows tells a part from the end
    HEADERS = auto()
    CONTENT = auto()
    EPILOGUE = auto()  #: after the closing delimiter; ignored


def boundary_of(content_type: str) -> bytes:
    """The boundary of a Content-Type header. Raises InvalidMultipart."""
    for name, quoted, bare in _PARAMETER.findall(content_type):
        if name.lower() == "boundary" and _BOUNDARY.fullmatch(quoted or bare):
            boundary: str = quoted or bare
            return boundary.encode("ascii")
    raise _invalid("the Content-Type header has no valid boundary")


class MultipartParser:
    """Feed the body in any pieces, then call `finish`."""

    def __init__(self, boundary: bytes, *, parts_max: int = PARTS_MAX) -> None:
        self._parts_max = parts_max
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter needs no line before it; with this one all delimiters look alike.
        self._buffer = b"\r\n"
        self._state = _State.PREAMBLE
        self._parts = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """What `data` completes. Raises InvalidMultipart. The iterator has to be exhausted before the next call."""
        self._buffer += data
        while True:
            match self._state:
                case _State.PREAMBLE | _State.CONTENT:
                    found = self._buffer.find(self._delimiter)
                    cut = found if found >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
                    if cut and self._state is _State.CONTENT:
                        yield self._buffer[:cut]
                    if found < 0:
                        self._buffer = self._buffer[cut:]
                        return
                    self._buffer = self._buffer[found + len(self._delimiter) :]
                    if self._state is _State.CONTENT:
                        yield PartEnd()
                    self._state = _State.DELIMITER
                case _State.DELIMITER:
                    if len(self._buffer) < 2:
                        return
                    follows, self._buffer = self._buffer[:2], self._buffer[2:]
                    if follows not in (b"\r\n", b"--"):
                        raise _invalid("a boundary is followed by something else than a line end")
                    self._state = _State.HEADERS if follows == b"\r\n" else _State.EPILOGUE
                case _State.HEADERS:
                    end = self._buffer.find(b"\r\n\r\n")
                    if (len(self._buffer) if end < 0 else end) > _HEADER_MAX_BYTES:
                        raise _invalid("a part's headers are too long")
                    if end < 0:
                        return
                    header, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
                    self._parts += 1
                    if self._parts > self._parts_max:
                        raise _invalid(f"more than {self._parts_max} parts")
                    self._state = _State.CONTENT
                    yield _part_start(header)
                case _State.EPILOGUE:
                    self._buffer = b""
                    return

    def finish(self) -> None:
        """Raises IncompleteBody unless the closing delimiter was seen."""
        if self._state is not _State.EPILOGUE:
            raise IncompleteBody.at("", "the multipart body ended before its closing boundary")


def _part_start(header: bytes) -> PartStart:
    try:
        lines = header.decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        raise _invalid("a part's headers are not UTF-8") from None
    disposition = ""
    for line in lines:
        name, _, value = line.partition(":")
        match name.strip().lower():
            case "content-disposition":
                disposition = value.strip()
            case "content-transfer-encoding" if value.strip().lower() not in ("binary", "8bit", "7bit"):
                raise _invalid("a part has a Content-Transfer-Encoding")
    if disposition.partition(";")[0].strip().lower() != "form-data":
        raise _invalid("a part is not form-data")
    parameters = {key.lower(): quoted or bare for key, quoted, bare in _PARAMETER.findall(disposition)}
    if not parameters.get("name"):
        raise _invalid("a part has no name")
    filename = _ESCAPE.sub(r"\1", parameters.get("filename", ""))
    return PartStart(parameters["name"], "filename" in parameters or "filename*" in parameters, filename)


def _invalid(message: str) -> Exception:
    return InvalidMultipart.at("", message)
