"""Files for OpenAI's clients: uploaded ones, and the outputs of batches."""

import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from aiohttp import hdrs
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.batches.staging import CLEARING_S
from gateway.body import BodyReader
from gateway.fields import pointer_to, refusal
from gateway.form import FormReader
from gateway.intake import FORM
from gateway.openai.intake import fields_of
from gateway.openai.outputs import OutputFile, batch_of, bytes_of
from gateway.openai.wishes import validated
from gateway.route import Call
from shared.errors import NotFound, UnsupportedMediaType
from shared.storage import ObjectMissing
from shared.store.files import File

#: OpenAI's own limit of a batch's input file.
FILE_MAX_BYTES = 200 * 1024 * 1024
_FORM_OVERHEAD_BYTES = 64 * 1024
_EXPIRES = {"expires_after[anchor]": "anchor", "expires_after[seconds]": "seconds"}
_NAME_MAX_CHARS = 255
Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExpiresAfter(_Wire):
    """Seconds from when the file was made."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3_600, le=2_592_000)]  #: pydantic reads it from the form's text


class FileCreate(_Wire):
    """The texts of the form of `POST /files`."""

    purpose: Purpose
    expires_after: ExpiresAfter | None = None


class FileObject(_Wire):
    """A file. Times are seconds since 1970. Of the output of a batch, `purpose` is `batch_output`."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: Annotated[str, StringConstraints(max_length=_NAME_MAX_CHARS)]
    purpose: Purpose | Literal["batch_output"]
    status: Literal["processed"] = "processed"
    status_details: None = None


async def take_file(call: Call) -> File:
    """Keep the file of a form. It is looked at when it is used: a file may be a picture or the input of a batch.

    Raises UnsupportedMediaType, BodyTooLarge, IncompleteBody, InvalidMultipart, ValidationFailed; StorageUnavailable,
    StoreUnavailable.
    """
    request, connections = call.request, call.connections
    if request.content_type != FORM:
        raise UnsupportedMediaType.at("", f"send {FORM}")
    reader = BodyReader(request, max_bytes=FILE_MAX_BYTES + _FORM_OVERHEAD_BYTES)
    parts = {"file": 1}
    header = request.headers[hdrs.CONTENT_TYPE]
    async with FormReader(reader, header, connections, parts=parts, file_max_bytes=FILE_MAX_BYTES) as form:
        await form.read()
        asked = validated(FileCreate, _fields(fields_of(form.texts)))
        content = next(iter(form.files.get("file", ())), None)
        if content is None or not content.bytes:
            raise refusal(pointer_to("file"), "missing_field", "send the file, which may not be empty, as the part file")
        life_s = asked.expires_after.seconds if asked.expires_after else None
        if life_s is not None and life_s > connections.files.longest_life_s:
            message = f"files are kept for {connections.files.longest_life_s} s at most"
            raise refusal(pointer_to("expires_after"), "invalid_value", message)
        upload = await connections.uploads.add(call.tenant)
        await connections.storage.put(upload.key, content.body, content_type="application/octet-stream")
        name = form.filename[-_NAME_MAX_CHARS:] or "upload"
        return await connections.files.add(upload, name=name, purpose=asked.purpose, size=content.bytes, life_s=life_s)


async def content_of(call: Call, file: File) -> AsyncGenerator[bytes, None]:
    """The bytes of an uploaded file. Raises NotFound, StorageUnavailable, StoreUnavailable."""
    connections = call.connections
    upload = await connections.uploads.get(call.tenant, file.upload_id)
    # A picture that was used once has moved to where nobody can change it.
    key = upload.key if upload.picture is None else upload.picture.key or upload.key
    try:
        async for piece in connections.storage.stream(key, start=0, length=file.bytes):
            yield piece
    except ObjectMissing:
        raise NotFound("the file is no longer in storage") from None


async def forget_file(call: Call, file: File) -> None:
    """Delete a file; its bytes stay as long as an edit needs them. Raises StorageUnavailable, StoreUnavailable."""
    if not await call.connections.files.delete(file):
        await call.connections.storage.delete_under(f"in/{file.tenant}/{file.upload_id}/", within_s=CLEARING_S)


def file_view(file: File) -> FileObject:
    """An uploaded file as OpenAI's clients see it."""
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=file.created_ms // 1000,
        expires_at=file.expires_ms // 1000,
        filename=file.name,
        purpose=file.purpose,
    )


async def output_view(call: Call, file: OutputFile) -> FileObject:
    """An output of a batch. Raises NotFound, StoreUnavailable."""
    batch = await batch_of(call, file)
    return FileObject(
        id=file.id,
        bytes=await bytes_of(call, batch, file),
        created_at=(batch.finished or int(time.time() * 1000)) // 1000,
        expires_at=batch.expires // 1000 if batch.expires else None,
        filename=f"{batch.id}_{'error' if file.is_errors else 'output'}.jsonl",
        purpose="batch_output",
    )


def _fields(texts: dict[str, str]) -> dict[str, Any]:
    """The texts with those of `expires_after` together."""
    fields: dict[str, Any] = {name: text for name, text in texts.items() if name not in _EXPIRES}
    inner: dict[str, Any] = {_EXPIRES[name]: text for name, text in texts.items() if name in _EXPIRES}
    return fields | ({"expires_after": inner} if inner else {})
