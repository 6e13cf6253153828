"""The pictures of an edit: fetched from where they lie, brought into the shape that a model takes."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.catalog.model import Model
from shared.edit import EditSpec, InputRef, Role
from shared.errors import InputGone, NoCapableModel
from shared.geometry import GeometryPlan, plan_edit
from shared.picture import PictureInfo, content_type, extension
from shared.settings import Settings
from shared.storage import ObjectMissing, Storage
from shared.store.leases import Leases
from shared.telemetry import spanned
from worker.canvas import AdaptedPicture, needs_pixels
from worker.fetch import GuardedHttp
from worker.hands import PATIENCE_S, Held
from worker.masking import Box
from worker.pixel_pool import PixelPool
from worker.pixel_tasks import PIXELS_S, adapt_picture, crop_picture, mask_of, model_mask, picture_info
from worker.providers.base import Source


@dataclass(slots=True)
class SourcePicture:
    """One picture of an edit. `key`: empty for a part of a picture. `file`: a local copy, once there is one.

    `mask`: what is edited, white, and `box`: what lies around it; of the picture that is edited, if only a part of it is.
    """

    ref: InputRef
    info: PictureInfo
    sha256: str
    key: str
    file: Path | None = None
    mask: Path | None = None
    box: Box | None = None

    @property
    def part_size(self) -> tuple[int, int] | None:
        """(width, height) of `box`."""
        return None if self.box is None else (self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True)
class Layout:
    """How a model sees the picture.

    `shown`: the picture, or the part of it within `box`; `plan`: of that; `canvas`: of what comes back, larger than `plan` only
    when outpainting, by `expand` (left, right, up, down in pixels of what is sent). `mask`: of the whole upright picture, white
    where it is edited.
    """

    shown: SourcePicture
    plan: GeometryPlan
    canvas: GeometryPlan
    box: Box
    expand: tuple[int, int, int, int] = (0, 0, 0, 0)
    mask: Path | None = None


class Pictures:
    """Inputs in storage and at callers' URLs, and what models are given of them."""

    def __init__(self, *, settings: Settings, storage: Storage, http: GuardedHttp, pool: PixelPool, leases: Leases) -> None:
        self._settings = settings
        self._storage = storage
        self._http = http
        self._pool = pool
        self._leases = leases

    @spanned("fetch")
    async def collect(self, held: Held, folder: Path) -> dict[Role, list[SourcePicture]]:
        """All pictures of the edit by role. Those that still lie at a URL are fetched, checked and stored first.

        Raises UrlNotAllowed, UrlFetchFailed, PictureError for what a URL leads to; MaskInvalid; InputGone, StorageUnavailable.
        """
        spec = held.record.spec
        refs = [await self._stored(held, ref, number, folder) for number, ref in enumerate(spec.inputs)]
        if refs != list(spec.inputs):
            fetched = spec.model_copy(update={"inputs": tuple(refs)})
            text = fetched.to_record(held.record.id)
            await self._leases.checkpoint(held.record, patience_s=PATIENCE_S, spec=text)
        found: dict[Role, list[SourcePicture]] = {role: [] for role in Role}
        for ref in refs:
            assert ref.info is not None
            assert ref.sha256 is not None
            assert ref.key is not None
            found[ref.role].append(SourcePicture(ref, ref.info, ref.sha256, ref.key))
        for given in found[Role.MASK]:
            # Read before a model is chosen: what lies around the selection is all that most of them are shown.
            edited, mask = found[Role.IMAGE][0], folder / "mask.png"
            source, size, most = await self.file(given, folder), edited.info.upright_size, self._settings.image_max_pixels
            edited.box = await self._pool.run(mask_of, source, mask, size, spec.mask_mode, most, timeout_s=PIXELS_S)
            edited.mask = mask
        return found

    async def _stored(self, held: Held, ref: InputRef, number: int, folder: Path) -> InputRef:
        """The reference with key, facts and digest."""
        if ref.key is not None:
            return ref
        assert ref.url is not None
        s, file = self._settings, folder / f"fetched-{number}"
        await self._http.download(ref.url, file, max_bytes=s.image_max_bytes)
        first = held.record.spec.animated == "first"
        info = await self._pool.run(
            picture_info, file, s.image_max_bytes, s.image_max_pixels, s.image_max_side, first, timeout_s=PIXELS_S
        )
        digest = await asyncio.to_thread(_sha256, file)
        record = held.record
        key = f"in/{record.tenant}/{record.id}/{ref.role}-{number}.{extension(info.format)}"
        await self._storage.put(key, file, content_type=content_type(info.format))
        return ref.model_copy(update={"key": key, "info": info, "sha256": digest})

    async def file(self, picture: SourcePicture, folder: Path) -> Path:
        """A local copy of the stored picture. Raises InputGone, StorageUnavailable."""
        if picture.file is None:
            path = folder / hashlib.sha256(picture.key.encode()).hexdigest()
            try:
                await self._storage.download(picture.key, path)
            except ObjectMissing:
                raise InputGone("the picture of this edit is no longer in storage; submit it again") from None
            picture.file = path
        return picture.file

    async def adapted(
        self,
        held: Held,
        picture: SourcePicture,
        model: Model,
        plan: GeometryPlan,
        folder: Path,
        *,
        call_id: str,
        links: bool,
        whole: bool,
    ) -> tuple[Source, AdaptedPicture | None]:
        """What the model is given, and what had to be changed for it, if anything.

        `links`: the provider can fetch from our storage; then it gets a link that carries `call_id`. `whole`: the model works
        in this process, on a file, and keeps transparency.
        """
        if not needs_pixels(picture.info, plan, model, keep_alpha=whole) and (picture.key or not links):
            width, height = picture.info.upright_size
            kind = content_type(picture.info.format)
            if links:
                return Source(kind, width, height, await self._link(picture.key, call_id, picture.info.format), None), None
            return Source(kind, width, height, None, await self.file(picture, folder)), None
        source = await self.file(picture, folder)
        target = folder / f"sent-{source.name}"
        made = await self._pool.run(
            adapt_picture, source, target, plan, model.input_max_bytes, self._settings.image_max_pixels, whole, timeout_s=PIXELS_S
        )
        if not links:
            return Source(made.content_type, made.width, made.height, None, made.file), made
        record, form = held.record, made.content_type.rpartition("/")[2]
        # The digest tells references of one call apart.
        name = f"{call_id}-{picture.ref.role}-{picture.sha256[:12]}.{extension(form)}"
        key = f"sent/{record.tenant}/{record.id}/{record.gen}/{name}"
        await self._storage.put(key, made.file, content_type=made.content_type)
        return Source(made.content_type, made.width, made.height, await self._link(key, call_id, form), made.file), made

    async def layout(
        self, pictures: Mapping[Role, Sequence[SourcePicture]], spec: EditSpec, model: Model, folder: Path
    ) -> Layout:
        """How `model` sees the picture: whole, or only what lies around the mask if it can take none.

        Raises PictureError, InputGone, StorageUnavailable; NoCapableModel if the model cannot extend the picture so far.
        """
        shown = picture = pictures[Role.IMAGE][0]
        box = whole = (0, 0, *picture.info.upright_size)
        if picture.box is not None and picture.box != whole and model.mask.kind != "native":
            box, part, max_pixels = picture.box, folder / "part.png", self._settings.image_max_pixels
            source = await self.file(picture, folder)
            info = await self._pool.run(crop_picture, source, part, box, max_pixels, timeout_s=PIXELS_S)
            shown = SourcePicture(picture.ref, info, picture.sha256, "", part)
        plan = plan_edit(spec, model, shown.info.upright_size)
        if plan is None:
            raise NoCapableModel(f"{model.id} cannot extend the picture so far")
        return Layout(shown, plan.picture, plan.canvas, box, expand=plan.expand, mask=picture.mask)

    async def mask(self, layout: Layout, model: Model, folder: Path) -> Source | None:
        """The mask as the model takes it, as a file; None without one, or if the model takes none."""
        if layout.mask is None or model.mask.kind != "native":
            return None
        target = folder / "sent-mask.png"
        polarity = model.mask.polarity or "white_is_edit"
        await self._pool.run(model_mask, layout.mask, target, layout.plan, polarity, timeout_s=PIXELS_S)
        return Source("image/png", *layout.plan.sent, None, target)

    async def _link(self, key: str, call_id: str, form: str) -> str:
        url, _ = await self._storage.link(key, filename=f"{call_id}.{extension(form)}")
        return url


def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
