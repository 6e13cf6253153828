"""The pictures of a request: found, decoded, judged by their headers, and put into storage."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pybase64

from gateway.connections import Connections
from gateway.fields import Faults, pointer_to
from gateway.masks import check_mask
from gateway.named_pictures import NamedPictures
from gateway.rules import check_address
from gateway.spool import OFF_LOOP_BYTES, Content, sha256_of
from gateway.uploads import picture_info
from shared.edit import REFERENCE_IMAGES_MAX, EditRequest, InputRef, Role
from shared.errors import AnimatedPicture, InvalidBase64, MaskInvalid, NotFound, PictureError, PictureTooLarge
from shared.mask import MaskMode
from shared.picture import content_type, extension

SINGLE_ROLES = (Role.IMAGE, Role.MASK, Role.BACKGROUND_IMAGE, Role.LIGHTING_IMAGE)
SINGLE_FILES = tuple(role.value for role in SINGLE_ROLES)
_SINGLE_FIELDS = tuple(
    (role, role.value, f"{role.value}_base64", f"{role.value}_url", f"{role.value}_id") for role in SINGLE_ROLES
)
REFERENCE_FILES = "reference_images"


@dataclass(frozen=True, slots=True)
class Given:
    """A picture as it was given, in exactly one of four ways."""

    role: Role
    pointer: str
    base64: str | None = None
    file: Content | None = None
    url: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture found good. `content`: None for one that lies elsewhere, at `ref.key` or `ref.url`."""

    pointer: str
    ref: InputRef
    content: Content | None
    identity: str


def given_pictures(request: EditRequest, files: Mapping[str, Sequence[Content]], faults: Faults) -> list[Given]:
    """All pictures of a request, the one that is edited first. Each may be given in one way only."""
    found: list[Given] = []
    for role, name, as_base64, as_url, as_id in _SINGLE_FIELDS:
        ways = [Given(role, pointer_to(name), file=file) for file in files.get(name, ())]
        if (text := getattr(request, as_base64)) is not None:
            ways.append(Given(role, pointer_to(as_base64), base64=text))
        if (url := getattr(request, as_url)) is not None:
            ways.append(Given(role, pointer_to(as_url), url=url))
        if (identifier := getattr(request, as_id)) is not None:
            ways.append(Given(role, pointer_to(as_id), id=identifier))
        found += ways[:1]
        for extra in ways[1:]:
            faults.add(extra.pointer, "invalid_value", f"give {name} in one way only; it came as {ways[0].pointer[1:]} too")
    references = [
        Given(Role.REFERENCE, pointer_to(REFERENCE_FILES, n), base64=item.base64, url=item.url, id=item.id)
        for n, item in enumerate(request.reference_images)
    ]
    references += [
        Given(Role.REFERENCE, pointer_to(REFERENCE_FILES, n), file=file)
        for n, file in enumerate(files.get(REFERENCE_FILES, ()), start=len(references))
    ]
    if len(references) > REFERENCE_IMAGES_MAX:
        faults.add(pointer_to(REFERENCE_FILES), "invalid_value", f"at most {REFERENCE_IMAGES_MAX} reference images")
        return found
    return found + references


async def judge_pictures(
    given: Sequence[Given],
    *,
    first_frame: bool,
    mask_mode: MaskMode,
    named: NamedPictures,
    connections: Connections,
    faults: Faults,
) -> list[Picture]:
    """The good ones of `given`, in order; what is wrong with the others is added to `faults`.

    Raises StoreUnavailable, StorageUnavailable.
    """
    judging = [_judge(one, first_frame, named, connections, faults) for one in given]
    judged = await asyncio.gather(*judging) if len(judging) > 1 else [await one for one in judging]
    pictures = [picture for picture in judged if picture is not None]
    _check_mask_size(pictures, faults)
    for picture in pictures:
        if picture.ref.role is Role.MASK and picture.content is not None and picture.ref.info is not None and not faults:
            try:
                await check_mask(picture.content, picture.ref.info, mask_mode, places=connections.mask_places)
            except MaskInvalid as error:
                faults.add_error(picture.pointer, error)
    return pictures


async def store_pictures(
    pictures: Sequence[Picture], *, tenant: str, job_id: str, connections: Connections
) -> tuple[InputRef, ...]:
    """Put what is not in storage yet under `in/{tenant}/{job_id}/`, all at once. Raises StorageUnavailable."""
    counts: dict[Role, int] = {}
    refs: list[InputRef] = []
    puts = []
    for picture in pictures:
        ref, info, n = picture.ref, picture.ref.info, counts.get(picture.ref.role, 0)
        counts[ref.role] = n + 1
        if picture.content is not None and info is not None:
            ref = ref.model_copy(update={"key": f"in/{tenant}/{job_id}/{ref.role.value}-{n}.{extension(info.format)}"})
            puts.append((ref.key, picture.content.body, content_type(info.format)))
        refs.append(ref)
    results = await asyncio.gather(
        *(connections.storage.put(str(key), body, content_type=kind) for key, body, kind in puts), return_exceptions=True
    )
    failures = [result for result in results if isinstance(result, BaseException)]
    if failures:
        await discard_pictures(refs, connections=connections, job_id=job_id)
        raise failures[0]
    return tuple(refs)


async def discard_pictures(refs: Sequence[InputRef], *, connections: Connections, job_id: str) -> None:
    """Take back what `store_pictures` put for an edit that was not accepted. Raises StorageUnavailable."""
    await connections.storage.delete([ref.key for ref in refs if ref.key is not None and f"/{job_id}/" in ref.key])


async def _judge(
    given: Given, first_frame: bool, named: NamedPictures, connections: Connections, faults: Faults
) -> Picture | None:
    if given.url is not None:
        check_address(given.url, given.pointer, connections, faults)
        return Picture(given.pointer, InputRef(role=given.role, url=given.url), None, given.url)
    try:
        if given.id is not None:
            return await _named(given, given.id, first_frame, named)
        content = given.file or await _decode(given.base64 or "", max_bytes=connections.settings.image_max_bytes)
        info = await picture_info(content, connections.settings, first_frame=first_frame)
    except NotFound as error:
        faults.add(given.pointer, error.code, error.detail)
        return None
    except PictureError as error:
        faults.add_error(given.pointer, error)
        return None
    ref = InputRef(role=given.role, info=info, sha256=content.sha256)
    return Picture(given.pointer, ref, content, content.sha256)


async def _named(given: Given, name: str, first_frame: bool, named: NamedPictures) -> Picture:
    ref = await named.find(name)
    if ref.info is not None and ref.info.frames > 1 and not first_frame:
        raise AnimatedPicture("the picture has more than one frame; send one frame, or animated=first to use the first")
    own = ref if ref.role is given.role else ref.model_copy(update={"role": given.role})
    return Picture(given.pointer, own, None, ref.sha256 or name)


async def _decode(text: str, *, max_bytes: int) -> Content:
    """The picture in base64, bare or as a data URI. Raises InvalidBase64, PictureTooLarge."""
    start = 0
    if text[:5].lower() == "data:":
        comma = text.find(",", 0, 300)
        if comma < 0 or not text[:comma].lower().endswith(";base64"):
            raise InvalidBase64("a data URI has to be in base64: data:image/png;base64,…")
        start = comma + 1
    if (len(text) - start) * 3 // 4 - 2 > max_bytes:
        raise PictureTooLarge(f"the picture has more than {max_bytes} bytes")
    if len(text) == start:
        raise InvalidBase64("the text is empty")

    def run() -> bytes:
        return pybase64.b64decode(text[start:], validate=True)

    try:
        data = run() if len(text) <= OFF_LOOP_BYTES else await asyncio.to_thread(run)
    except ValueError:
        raise InvalidBase64("the text is not base64 of the standard alphabet with padding") from None
    return Content(data, len(data), await sha256_of(data))


def _check_mask_size(pictures: Sequence[Picture], faults: Faults) -> None:
    """A mask has the picture's size. What is still at its URL is compared by the worker."""
    sizes = {picture.ref.role: picture.ref.info.upright_size for picture in pictures if picture.ref.info is not None}
    image, mask = sizes.get(Role.IMAGE), sizes.get(Role.MASK)
    if image is not None and mask is not None and image != mask:
        pointer = next(picture.pointer for picture in pictures if picture.ref.role is Role.MASK)
        message = f"the mask has {mask[0]}×{mask[1]} pixels, the picture {image[0]}×{image[1]}"
        faults.add_error(pointer, MaskInvalid(message))
