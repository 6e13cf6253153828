"""The pictures of an edit: result, thumbnail, input."""

import re
from typing import Annotated, Literal

from aiohttp import hdrs, web
from pydantic import Field

from gateway.route import Call, Header, Query, Reply, Route
from shared.edit import OUTPUT_FORMATS
from shared.errors import Gone, NotFinished, NotFound, RangeNotSatisfiable, StorageUnavailable
from shared.job import API_PREFIX, JobRecord, JobState, StoredOutput
from shared.picture import content_type
from shared.storage import ObjectMissing

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class ResultQuery(Query):
    """How the result is wanted."""

    redirect: Annotated[Literal["0", "1"], Field(description="1: 302 to a presigned link instead of the bytes")] = "0"


class ThumbnailQuery(Query):
    """Which of the two."""

    w: Annotated[Literal["320", "1024"], Field(description="width in pixels")] = "320"


async def result(call: Call) -> web.StreamResponse:
    """The result's bytes."""
    record = await call.connections.jobs.get(call.tenant, call.id)
    output = _output_of(record)
    if call.query.redirect == "1":
        link = await call.connections.links.of(record)
        if link is None:
            raise Gone("the result is no longer in storage")
        return web.Response(status=302, headers={hdrs.LOCATION: link[0]})
    return await _stream(call, output.key, kind=content_type(output.format), size=output.bytes, tag=output.sha256)


async def thumbnail(call: Call) -> web.StreamResponse:
    """A small WebP of the result."""
    output = _output_of(await call.connections.jobs.get(call.tenant, call.id))
    key = output.thumbnails.get(call.query.w)
    if key is None:
        raise NotFound("this result has no thumbnail of this width")
    return await _stream_object(call, key)


async def source(call: Call) -> web.StreamResponse:
    """The picture that was edited."""
    record = await call.connections.jobs.get(call.tenant, call.id)
    if not record.spec.inputs:
        raise NotFound("the edit is an item of a batch that was broken when it was sent: it has no picture")
    key = record.spec.image.key
    if key is None:
        # It came as a URL; the worker keeps what it fetched.
        kept = await call.connections.storage.keys_under(f"in/{record.tenant}/{record.id}/image-")
        if not kept:
            raise NotFound("the picture has not been fetched from its URL yet")
        key = kept[0]
    return await _stream_object(call, key)


def _output_of(record: JobRecord) -> StoredOutput:
    """Raises NotFinished, NotFound."""
    if not record.state.terminal:
        raise NotFinished("the edit has not ended yet")
    if record.state is not JobState.SUCCEEDED or record.course.output is None:
        raise NotFound(f"the edit has no result: it {'was canceled' if record.state is JobState.CANCELED else 'failed'}")
    return record.course.output


async def _stream_object(call: Call, key: str) -> web.StreamResponse:
    try:
        head = await call.connections.storage.head(key)
    except ObjectMissing:
        raise Gone("the picture is no longer in storage") from None
    return await _stream(call, key, kind=head.content_type, size=head.bytes, tag=head.etag.strip('"'))


async def _stream(call: Call, key: str, *, kind: str, size: int, tag: str) -> web.StreamResponse:
    """Answer with an object's bytes, or the range of them that was asked for. Raises Gone, RangeNotSatisfiable."""
    request, etag = call.request, f'"{tag}"'
    headers = {hdrs.ETAG: etag, hdrs.ACCEPT_RANGES: "bytes", hdrs.CACHE_CONTROL: "private, max-age=3600"}
    if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers=headers)
    status, start, length = 200, 0, size
    asked = _RANGE.fullmatch(request.headers.get(hdrs.RANGE, ""))
    if asked is not None and request.headers.get(hdrs.IF_RANGE, etag) == etag and any(asked.groups()):
        start, length = _range(asked[1], asked[2], size)
        status, headers[hdrs.CONTENT_RANGE] = 206, f"bytes {start}-{start + length - 1}/{size}"
    pieces = call.connections.storage.stream(key, start=start, length=length)
    try:
        # The first piece comes before the headers leave: a missing object can still be answered as such.
        first = await anext(pieces, b"")
    except ObjectMissing:
        raise Gone("the picture is no longer in storage") from None
    response = web.StreamResponse(status=status, headers={hdrs.CONTENT_TYPE: kind, **headers})
    response.content_length = length
    await response.prepare(request)
    await response.write(first)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


def _range(first: str, last: str, size: int) -> tuple[int, int]:
    """(start, length) of a byte range. Source: RFC 9110 section 14.1.2."""
    if not first:
        length = min(int(last[:19]), size)
        start = size - length
    else:
        start = int(first[:19])
        length = (min(int(last[:19]), size - 1) if last else size - 1) - start + 1
    if length < 1 or start >= size:
        raise RangeNotSatisfiable(f"the picture has {size} bytes")
    return start, length


_JOB = f"{API_PREFIX}/jobs/{{id}}"
_FILE_HEADERS = (
    Header("ETag", "tells this picture from others", {"type": "string"}),
    Header("Accept-Ranges", "`bytes`", {"type": "string"}),
)
_ASKED_HEADERS = (
    Header("If-None-Match", "the ETag of a picture that the caller has", {"type": "string"}),
    Header("Range", "one range of bytes", {"type": "string"}),
)
_RESULT_TYPES = tuple(content_type(name) for name in OUTPUT_FORMATS)
_INPUT_TYPES = tuple(content_type(name) for name in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "heic"))


def _file_replies(content_types: tuple[str, ...]) -> tuple[Reply, ...]:
    return (
        Reply(200, "the picture", content_types=content_types, headers=_FILE_HEADERS),
        Reply(206, "the range that was asked for", content_types=content_types, headers=_FILE_HEADERS),
        Reply(304, "the caller has it"),
    )


_ERRORS = (Gone, NotFinished, RangeNotSatisfiable, StorageUnavailable)
ROUTES = (
    Route(
        "GET",
        f"{_JOB}/result",
        "Get the result",
        result,
        query=ResultQuery,
        headers=_ASKED_HEADERS,
        replies=(
            *_file_replies(_RESULT_TYPES),
            Reply(302, "where it lies", headers=(Header("Location", "presigned link", {"type": "string"}),)),
        ),
        errors=_ERRORS,
    ),
    Route(
        "GET",
        f"{_JOB}/thumbnail",
        "Get a small WebP of the result",
        thumbnail,
        query=ThumbnailQuery,
        headers=_ASKED_HEADERS,
        replies=_file_replies(("image/webp",)),
        errors=_ERRORS,
    ),
    Route(
        "GET",
        f"{_JOB}/input",
        "Get the picture that was edited",
        source,
        headers=_ASKED_HEADERS,
        replies=_file_replies(_INPUT_TYPES),
        errors=(Gone, RangeNotSatisfiable, StorageUnavailable),
    ),
)
