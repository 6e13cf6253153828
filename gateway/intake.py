"""The body of a submit, JSON or form, to wishes and pictures: read as a stream, checked whole, nothing stored."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import hdrs, web

from gateway.body import BodyReader
from gateway.connections import Connections
from gateway.fields import Faults, parse_json
from gateway.form import FormReader
from gateway.named_pictures import NamedPictures
from gateway.pictures import REFERENCE_FILES, Picture, given_pictures, judge_pictures
from gateway.rules import check_wishes, spec_of
from gateway.spool import Content
from shared.edit import EditOptions, EditRequest, QuoteRequest, Role
from shared.errors import UnsupportedMediaType
from shared.pinned import check_possible

JSON, FORM = "application/json", "multipart/form-data"
#: The largest body of a request that carries no picture.
SMALL_BODY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Submission:
    """A request that can be accepted."""

    options: EditRequest
    pictures: Sequence[Picture]

    @property
    def identities(self) -> list[tuple[str, str]]:
        """What each picture is for, and what tells it from others."""
        return [(picture.ref.role.value, picture.identity) for picture in self.pictures]


@contextlib.asynccontextmanager
async def read_submission(
    request: web.Request, connections: Connections, tenant: str, *, model: type[EditRequest] = EditRequest
) -> AsyncIterator[Submission]:
    """The body of `POST …/process`, or one that is a `model`. Its pictures can be read until the block ends.

    Raises:
        UnsupportedMediaType, BodyTooLarge, IncompleteBody, InvalidJson, InvalidMultipart, Overloaded, StoreUnavailable.
        ValidationFailed, or the one class that all faults share, with every fault that was found; NoCapableModel.
    """
    reader = BodyReader(request, max_bytes=connections.settings.body_max_bytes)
    if request.content_type == JSON:
        # Once as it came, once as text and once decoded.
        with connections.memory.hold(3 * reader.expected_bytes):
            wishes = parse_json(model, await reader.whole())
            yield await judge(wishes, {}, connections, tenant)
    elif request.content_type == FORM:
        async with FormReader(reader, request.headers[hdrs.CONTENT_TYPE], connections) as form:
            await form.read()
            yield await judge(form.wishes(model), form.files, connections, tenant)
    else:
        raise UnsupportedMediaType.at("", f"send {JSON} or {FORM}")


async def read_options(request: web.Request) -> EditOptions:
    """A body with wishes only; none at all is `{}`. Raises like `read_submission`."""
    data = await read_small_json(request)
    return parse_json(EditOptions, data or b"{}")


async def read_small_json(request: web.Request) -> bytes:
    """A JSON body without pictures, not parsed yet. Raises like `read_submission`."""
    data = await BodyReader(request, max_bytes=SMALL_BODY_BYTES).whole()
    if data and request.content_type != JSON:
        raise UnsupportedMediaType.at("", f"send {JSON}")
    return data


def field_of(role: Role) -> str:
    """The name of the field that gives pictures for this purpose."""
    return REFERENCE_FILES if role is Role.REFERENCE else role.value


def _stand_ins(wishes: EditRequest) -> dict[str, str]:
    """What a request for a quote says of pictures that it does not have, with the pointer of each."""
    if not isinstance(wishes, QuoteRequest):
        return {}
    said = {"image": ("/image_resolution", wishes.image_resolution), "mask": ("/has_mask", wishes.has_mask)}
    return {name: pointer for name, (pointer, value) in said.items() if value}


async def judge(wishes: EditRequest, files: Mapping[str, Sequence[Content]], connections: Connections, tenant: str) -> Submission:
    """The request as a whole: its wishes and its pictures. Raises like `read_submission`."""
    faults = Faults()
    given = given_pictures(wishes, files, faults)
    pointers = {**_stand_ins(wishes), **{field_of(one.role): one.pointer for one in given}}
    check_wishes(wishes, pointers, connections, faults)
    named = NamedPictures(tenant, connections)
    pictures = await judge_pictures(
        given,
        first_frame=wishes.animated == "first",
        mask_mode=wishes.mask_mode,
        named=named,
        connections=connections,
        faults=faults,
    )
    faults.raise_any()
    if not isinstance(wishes, QuoteRequest):
        # A quote's pictures may be described only; its route checks when it has stand-ins for them.
        check_possible(spec_of(wishes, [picture.ref for picture in pictures]), connections.catalog, pointers)
    return Submission(wishes, pictures)
