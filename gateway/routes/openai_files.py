"""Files for OpenAI's clients: inputs of batches, pictures that are named by id, outputs of batches."""

from typing import Annotated, Any, Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.intake import FORM
from gateway.openai.errors import OPENAI_PREFIX
from gateway.openai.files import FILE_MAX_BYTES, FileObject, Purpose, content_of, file_view, forget_file, output_view, take_file
from gateway.openai.headers import ANSWER_HEADERS
from gateway.openai.outputs import batch_of, lines_of, output_file_of
from gateway.route import JSON, Body, Call, Query, Reply, Route
from gateway.streaming import stream
from shared.errors import AlreadyFinished, InvalidMultipart, PictureTooLarge, StorageUnavailable

_BYTES = "application/octet-stream"


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FilesQuery(Query):
    """Which files."""

    after: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    order: Literal["asc", "desc"] = "desc"
    purpose: Purpose | None = None


class FilesPage(_Wire):
    """By the time they were made."""

    object: Literal["list"] = "list"
    data: tuple[FileObject, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(_Wire):
    """What is no more."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


async def create(call: Call) -> web.Response:
    """Keep a file."""
    return _response(file_view(await take_file(call)))


async def page(call: Call) -> web.Response:
    """Some files."""
    asked: FilesQuery = call.query
    files, has_more = await call.connections.files.page(
        call.tenant, limit=asked.limit, after=asked.after, order=asked.order, purpose=asked.purpose
    )
    ends = (files[0].id, files[-1].id) if files else (None, None)
    views = tuple(file_view(file) for file in files)
    return _response(FilesPage(data=views, first_id=ends[0], last_id=ends[1], has_more=has_more))


async def show(call: Call) -> web.Response:
    """What a file is."""
    output = output_file_of(call.id)
    if output is not None:
        return _response(await output_view(call, output))
    return _response(file_view(await call.connections.files.get(call.tenant, call.id)))


async def content(call: Call) -> web.StreamResponse:
    """A file's bytes."""
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: _BYTES}
    output = output_file_of(call.id)
    if output is not None:
        return await stream(call, lines_of(call, await batch_of(call, output), output), headers=headers)
    file = await call.connections.files.get(call.tenant, call.id)
    return await stream(call, content_of(call, file), headers=headers)


async def delete(call: Call) -> web.Response:
    """Forget a file."""
    if (output := output_file_of(call.id)) is not None:
        await batch_of(call, output)
        raise AlreadyFinished("the output of a batch is not stored: it goes when its batch does")
    file = await call.connections.files.get(call.tenant, call.id)
    await forget_file(call, file)
    return _response(FileDeleted(id=file.id))


def _response(document: BaseModel) -> web.Response:
    return web.Response(text=document.model_dump_json(), headers={hdrs.CONTENT_TYPE: JSON})


_FORM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary", "description": f"at most {FILE_MAX_BYTES} bytes"},
        "purpose": {"enum": ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]},
        "expires_after[anchor]": {"const": "created_at"},
        "expires_after[seconds]": {"type": "integer", "minimum": 3_600, "maximum": 2_592_000},
    },
    "required": ["file", "purpose"],
    "additionalProperties": False,
}
_FILES, _ID = f"{OPENAI_PREFIX}/files", r"^file-[0-9a-z-]{1,64}$"
ROUTES = (
    Route(
        "POST",
        _FILES,
        "Upload a file, for OpenAI's clients",
        create,
        description="Of any kind: it is looked at when a batch is made of it, or an edit names it as its picture.",
        scope="submit",
        rate="submit",
        tag="openai",
        body=Body(None, others={FORM: _FORM_SCHEMA}),
        replies=(Reply(200, "the file", FileObject, headers=ANSWER_HEADERS),),
        errors=(InvalidMultipart, PictureTooLarge, StorageUnavailable),
    ),
    Route(
        "GET",
        _FILES,
        "List uploaded files, for OpenAI's clients",
        page,
        description="The outputs of batches are not listed; their batches name them.",
        tag="openai",
        query=FilesQuery,
        replies=(Reply(200, "the files", FilesPage, headers=ANSWER_HEADERS),),
    ),
    Route(
        "GET",
        f"{_FILES}/{{id}}",
        "Show a file, for OpenAI's clients",
        show,
        tag="openai",
        id_pattern=_ID,
        replies=(Reply(200, "the file", FileObject, headers=ANSWER_HEADERS),),
    ),
    Route(
        "GET",
        f"{_FILES}/{{id}}/content",
        "Get a file's bytes, for OpenAI's clients",
        content,
        description="The output of a batch is one JSON object a line, written while it is read.",
        tag="openai",
        id_pattern=_ID,
        replies=(Reply(200, "the bytes", content_types=(_BYTES,), headers=ANSWER_HEADERS),),
        errors=(StorageUnavailable,),
    ),
    Route(
        "DELETE",
        f"{_FILES}/{{id}}",
        "Delete a file, for OpenAI's clients",
        delete,
        scope="submit",
        tag="openai",
        id_pattern=_ID,
        replies=(Reply(200, "deleted", FileDeleted, headers=ANSWER_HEADERS),),
        errors=(AlreadyFinished, StorageUnavailable),
    ),
)
