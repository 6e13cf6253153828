"""The body of `POST /images/edits`, JSON or form, to an edit that can be submitted."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiohttp import hdrs
from pydantic_core import from_json

from gateway.body import BodyReader
from gateway.fields import pointer_to, refusal
from gateway.form import FormReader
from gateway.intake import FORM, JSON, Submission, judge
from gateway.openai.wishes import EditsRequest, native_fields, validated
from gateway.pictures import REFERENCE_FILES
from gateway.route import Call
from gateway.spool import Content
from shared.edit import REFERENCE_IMAGES_MAX, EditRequest, Role
from shared.errors import InvalidJson, UnsupportedMediaType

#: A list of pictures comes as `image[]` from Python's SDK and others.
_IMAGES = ("image", "image[]")
_PARTS: Mapping[str, int] = {**dict.fromkeys(_IMAGES, REFERENCE_IMAGES_MAX), "mask": 1}


@contextlib.asynccontextmanager
async def read_edits(call: Call) -> AsyncIterator[tuple[EditsRequest, Submission]]:
    """What was asked, and the edit that it is. Its pictures can be read until the block ends. Raises like `read_submission`."""
    request, connections = call.request, call.connections
    reader = BodyReader(request, max_bytes=connections.settings.body_max_bytes)
    if request.content_type == JSON:
        # Once as it came, once as text and once decoded.
        with connections.memory.hold(3 * reader.expected_bytes):
            asked = validated(EditsRequest, json_object(await reader.whole()))
            yield asked, await _judged(call, asked, {})
    elif request.content_type == FORM:
        async with FormReader(reader, request.headers[hdrs.CONTENT_TYPE], connections, parts=_PARTS) as form:
            await form.read()
            asked = validated(EditsRequest, fields_of(form.texts))
            yield asked, await _judged(call, asked, form.files)
    else:
        raise UnsupportedMediaType.at("", f"send {FORM} or {JSON}")


def json_object(data: bytes) -> dict[str, Any]:
    """A body that has to be a JSON object. Raises InvalidJson."""
    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidJson.at("", f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidJson.at("", "not a JSON object")
    return value


def fields_of(texts: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The texts of a form by name. Raises ValidationFailed for one that comes twice."""
    fields = dict(texts)
    if len(fields) < len(texts):
        names = [name for name, _ in texts]
        raise refusal(pointer_to(next(name for name in names if names.count(name) > 1)), "invalid_value", "this part comes twice")
    return fields


async def _judged(call: Call, asked: EditsRequest, parts: Mapping[str, Sequence[Content]]) -> Submission:
    pictures = [content for name in _IMAGES for content in parts.get(name, ())]
    files = {Role.IMAGE.value: pictures[:1], REFERENCE_FILES: pictures[1:], Role.MASK.value: parts.get("mask", ())}
    counts = {Role.MASK: len(files[Role.MASK.value]), Role.REFERENCE: len(pictures[1:])}
    seen = await call.connections.jobs.providers_seen()
    wishes = validated(EditRequest, native_fields(asked, call.connections.catalog, seen, files=counts))
    if not pictures and not asked.pictures:
        raise refusal("/image", "missing_field", "send the picture to edit as image")
    return await judge(wishes, files, call.connections, call.tenant)
