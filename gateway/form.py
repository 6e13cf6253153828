"""A multipart form while it arrives: file parts to spools, text parts to fields."""

import contextlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic_core import to_json

from gateway.body import BodyReader
from gateway.connections import Connections
from gateway.fields import fields_of_texts, json_value, parse_json, pointer_to, refusal
from gateway.multipart import MultipartParser, PartEnd, PartStart, boundary_of
from gateway.pictures import REFERENCE_FILES, SINGLE_FILES
from gateway.spool import Content, Spool
from shared.edit import REFERENCE_IMAGES_MAX, EditRequest
from shared.errors import FieldError, InvalidJson, PictureTooLarge, ValidationFailed

#: The part that holds the fields as one JSON object.
REQUEST_PART = "request"
#: File parts by name, and how many there may be of each.
PICTURE_PARTS: Mapping[str, int] = {**dict.fromkeys(SINGLE_FILES, 1), REFERENCE_FILES: REFERENCE_IMAGES_MAX}
_TEXT_BYTES = 1024 * 1024
_Wishes = TypeVar("_Wishes", bound=EditRequest)


class FormReader:
    """Use as a context: at its end the spooled files are removed.

    `parts`: the file parts that are taken, and how many of each; `file_max_bytes`: a picture's limit unless it is given.
    """

    def __init__(
        self,
        reader: BodyReader,
        content_type: str,
        connections: Connections,
        *,
        parts: Mapping[str, int] = PICTURE_PARTS,
        file_max_bytes: int | None = None,
    ) -> None:
        self._reader = reader
        self._parts = parts
        self._file_max_bytes = file_max_bytes or connections.settings.image_max_bytes
        self._parser = MultipartParser(boundary_of(content_type))
        self._connections = connections
        self._stack = contextlib.AsyncExitStack()
        self._texts: list[tuple[str, str]] = []
        self._text_bytes = 0
        self.files: dict[str, list[Content]] = {}
        self.filename = ""  #: of the file part that came last

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def read(self) -> None:
        """Read the whole form. Raises BodyTooLarge, IncompleteBody, InvalidMultipart, PictureTooLarge, ValidationFailed."""
        name, spool, text = "", None, bytearray()
        while piece := await self._reader.read():
            for event in self._parser.feed(piece):
                if isinstance(event, PartStart):
                    name, text, self.filename = event.name, bytearray(), event.filename or self.filename
                    spool = self._spool_for(event)
                elif isinstance(event, PartEnd) and spool is not None:
                    self.files.setdefault(name, []).append(await spool.finish())
                elif isinstance(event, PartEnd):
                    self._texts.append((name, _decoded(name, text)))
                elif isinstance(event, bytes) and spool is not None:
                    await self._write(spool, name, event)
                elif isinstance(event, bytes):
                    self._count_text(len(event))
                    text += event
        self._parser.finish()

    @property
    def texts(self) -> Sequence[tuple[str, str]]:
        """The text parts, in order."""
        return self._texts

    def wishes(self, model: type[_Wishes]) -> _Wishes:
        """The fields of the form. Raises ValidationFailed, InvalidJson."""
        texts = [(name, text) for name, text in self._texts if name != REQUEST_PART]
        fields = fields_of_texts(texts, model)
        for name, text in self._texts:
            if name == REQUEST_PART:
                fields = _merged(fields, text)
        return parse_json(model, to_json(fields))

    def _spool_for(self, part: PartStart) -> Spool | None:
        """Where the part's bytes go; None for a text."""
        is_taken = part.name in self._parts and (part.is_file or part.name != REFERENCE_FILES)
        if not is_taken:
            if part.is_file and part.name != REQUEST_PART:
                message = f"no file goes by this name; file parts are {', '.join(self._parts)}"
                raise refusal(pointer_to(part.name), "unknown_field", message)
            return None
        if len(self.files.get(part.name, ())) >= self._parts[part.name]:
            raise refusal(pointer_to(part.name), "invalid_value", f"too many parts {part.name}")
        spool = Spool()
        self._stack.push_async_callback(spool.discard)
        return spool

    async def _write(self, spool: Spool, name: str, piece: bytes) -> None:
        limit = self._file_max_bytes
        if spool.bytes + len(piece) > limit:
            raise PictureTooLarge.at(pointer_to(name), f"the file has more than {limit} bytes")
        await spool.write(piece)

    def _count_text(self, size: int) -> None:
        """Texts are held in memory; large ones (pictures in base64) only as far as there is room for them."""
        before, self._text_bytes = self._text_bytes, self._text_bytes + size
        if before <= _TEXT_BYTES < self._text_bytes:
            self._stack.enter_context(self._connections.memory.hold(3 * self._reader.expected_bytes))


def _decoded(name: str, text: bytearray) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise refusal(pointer_to(name), "invalid_value", "the text is not UTF-8") from None


def _merged(fields: dict[str, Any], text: str) -> dict[str, Any]:
    """`fields` and those of the JSON object `text`; no name may be in both."""
    try:
        more = json_value(text, pointer_to(REQUEST_PART))
    except ValueError as error:
        raise InvalidJson.at(pointer_to(REQUEST_PART), f"not JSON: {error}") from None
    if not isinstance(more, dict):
        raise InvalidJson.at(pointer_to(REQUEST_PART), "not a JSON object")
    twice = sorted(fields.keys() & more.keys())
    if twice:
        message = "this field comes twice: as a part and in the JSON"
        raise ValidationFailed(message, errors=[FieldError(pointer_to(name), "invalid_value", message) for name in twice])
    return {**fields, **more}
