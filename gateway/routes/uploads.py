"""Pictures uploaded apart, to be named by any number of edits."""

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from gateway.body import BodyReader
from gateway.route import Body, Call, Reply, Route, json_response
from gateway.spool import Spool
from gateway.uploads import keep_upload
from shared.edit import InputRef
from shared.errors import AlreadyFinished, NotAPicture, PictureTooLarge, StorageUnavailable, TruncatedPicture
from shared.job import API_PREFIX, InputView, Time
from shared.store.uploads import Upload


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UploadLink(_Wire):
    """The request that puts the picture into storage, to be made by `expires_at` with the picture as its body."""

    method: str
    url: str
    headers: dict[str, str]
    expires_at: Time


class UploadTicket(_Wire):
    """Where to put a picture. `image_id` names it wherever a request takes the id of a picture; unused, it holds for a day.

    `content_url`: the same through this service, with the API key, where the storage cannot be reached.
    """

    id: str
    upload: UploadLink
    image_id: str
    content_url: str


class UploadedPicture(_Wire):
    """A picture that was found good."""

    id: str
    image_id: str
    picture: InputView


async def create(call: Call) -> web.Response:
    """Make room for a picture."""
    upload = await call.connections.uploads.add(call.tenant)
    url, expires_at = await call.connections.storage.put_link(upload.key)
    ticket = UploadTicket(
        id=upload.id,
        upload=UploadLink(method="PUT", url=url, headers={}, expires_at=expires_at),
        image_id=upload.id,
        content_url=f"{call.connections.base_url(call.request)}{API_PREFIX}/uploads/{upload.id}/content",
    )
    return json_response(ticket, status=201)


async def put_content(call: Call) -> web.Response:
    """Take the picture here."""
    connections, limit = call.connections, call.connections.settings.image_max_bytes
    upload = await connections.uploads.get(call.tenant, call.id)
    reader, spool = BodyReader(call.request, max_bytes=connections.settings.body_max_bytes), Spool()
    try:
        async for piece in reader.pieces():
            if spool.bytes + len(piece) > limit:
                raise PictureTooLarge.at("", f"the picture has more than {limit} bytes")
            await spool.write(piece)
        content = await spool.finish()
        picture = upload.picture
        if picture is None:
            picture = await keep_upload(upload, content, connections)
        elif picture.sha256 != content.sha256:
            raise AlreadyFinished("another picture was uploaded under this id before")
    finally:
        await spool.discard()
    return json_response(_view(upload, picture))


def _view(upload: Upload, picture: InputRef) -> UploadedPicture:
    info = picture.info
    if info is None or picture.sha256 is None:
        raise ValueError(f"{upload.id} was kept without being looked at")
    width, height = info.upright_size
    shown = InputView(width=width, height=height, format=info.format, bytes=info.bytes, sha256=picture.sha256)
    return UploadedPicture(id=upload.id, image_id=upload.id, picture=shown)


_UPLOADS = f"{API_PREFIX}/uploads"
ROUTES = (
    Route(
        "POST",
        _UPLOADS,
        "Make room for a picture",
        create,
        description="Put the picture where the answer says, and name it by its `image_id`. It is looked at when first used.",
        scope="submit",
        rate="submit",
        tag="uploads",
        replies=(Reply(201, "where to put it", UploadTicket),),
    ),
    Route(
        "PUT",
        f"{_UPLOADS}/{{id}}/content",
        "Upload a picture",
        put_content,
        description="The picture's bytes, in any format that is taken, whatever the content type says.",
        scope="submit",
        rate="submit",
        tag="uploads",
        body=Body(None, others={"application/octet-stream": {"type": "string", "format": "binary"}}),
        replies=(Reply(200, "found good", UploadedPicture),),
        errors=(AlreadyFinished, NotAPicture, TruncatedPicture, PictureTooLarge, StorageUnavailable),
    ),
)
