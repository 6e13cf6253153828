"""Uploaded pictures: judged once, when they come through the gateway or when an edit first names them."""

import asyncio
from pathlib import Path

from gateway.connections import Connections
from gateway.spool import OFF_LOOP_BYTES, Content, Spool
from shared.edit import InputRef, Role
from shared.errors import NotFound, PictureTooLarge
from shared.picture import PictureInfo, content_type, extension, read_info
from shared.settings import Settings
from shared.storage import ObjectMissing
from shared.store.uploads import Upload


async def uploaded_picture(upload: Upload, connections: Connections) -> InputRef:
    """Where the upload's picture lies, and what it is.

    Raises:
        NotFound: nothing was uploaded.
        NotAPicture, TruncatedPicture, PictureTooLarge; StorageUnavailable, StoreUnavailable.
    """
    if upload.picture is not None:
        return upload.picture
    limit, spool = connections.settings.image_max_bytes, Spool()
    try:
        try:
            head = await connections.storage.head(upload.key)
        except ObjectMissing:
            raise NotFound("nothing was uploaded under this id yet") from None
        if head.bytes > limit:
            raise PictureTooLarge(f"the picture has more than {limit} bytes, which is the limit")
        async for piece in connections.storage.stream(upload.key, start=0, length=head.bytes):
            await spool.write(piece)
        picture = await keep_upload(upload, await spool.finish(), connections)
    finally:
        await spool.discard()
    await connections.storage.delete([upload.key])
    return picture


async def keep_upload(upload: Upload, content: Content, connections: Connections) -> InputRef:
    """Judge a picture and put it where nobody can change it any more. Raises like `uploaded_picture`."""
    info = await picture_info(content, connections.settings, first_frame=True)
    key = f"in/{upload.tenant}/{upload.id}/{content.sha256}.{extension(info.format)}"
    await connections.storage.put(key, content.body, content_type=content_type(info.format))
    picture = InputRef(role=Role.IMAGE, key=key, info=info, sha256=content.sha256)
    await connections.uploads.settle(upload, picture)
    return picture


async def picture_info(content: Content, settings: Settings, *, first_frame: bool) -> PictureInfo:
    """What a picture is, off the loop where that pays. Raises NotAPicture, TruncatedPicture, PictureTooLarge, AnimatedPicture."""

    def run() -> PictureInfo:
        return read_info(
            content.body,
            max_bytes=settings.image_max_bytes,
            max_pixels=settings.image_max_pixels,
            max_side=settings.image_max_side,
            animated_first=first_frame,
        )

    if isinstance(content.body, Path) or content.bytes > OFF_LOOP_BYTES:
        return await asyncio.to_thread(run)
    return run()
