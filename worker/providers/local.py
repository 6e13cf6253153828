"""`local`: edits that need no model. Free, offline, finished by `submit`; the pixel work is done in the pool's processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from shared.adjustment import PIXELS_MAX, SIDE_MAX
from shared.adjustments import GRAMMAR, output_size, parse
from shared.catalog.model import Model, ProviderEntry
from shared.edit import Operation
from shared.errors import ProviderRefused, ProviderTransient
from shared.settings import ProviderAccess, Settings
from worker.pixel_pool import PixelPool, PixelWorkLost
from worker.providers import local_pixels
from worker.providers.base import AdaptedEdit, Done, Outcome, Provider, Source

_TIMEOUT_S = 120.0
_FACTORS = (2, 3, 4)

Work = tuple[Callable[..., bytes], tuple[Any, ...], dict[str, Any]]  # function, arguments, what is said of it in `raw`


def create(
    _access: ProviderAccess, _entry: ProviderEntry, _settings: Settings, _http: aiohttp.ClientSession, pool: PixelPool
) -> Provider:
    """The provider; it needs nothing but the pool, which stays the caller's to close."""
    return Local(pool)


def abilities() -> str:
    """What can be asked for, in a sentence for a caller whose edit was refused."""
    prompts = ", ".join(repr(rule.en[0]) for rule in GRAMMAR)
    return (
        f"Without a provider's key there are: general_edit with prompts such as {prompts} (alone or joined by 'and'); "
        "remove_background; erase with a mask; outpaint without a prompt; upscale 2 or 4 times."
    )


class Local:
    """Pixel work as a provider. Raises ProviderRefused for what it cannot do exactly; it never approximates."""

    name = "local"
    has_history = False

    def __init__(self, pool: PixelPool) -> None:
        self._pool = pool

    async def submit(self, edit: AdaptedEdit) -> Outcome:
        """The finished picture, PNG.

        Raises:
            ProviderRefused: the edit is none of ours, or too large.
            ProviderTransient: the process that worked on it died or took longer than 120 s.
            ProviderUnusable: OpenCV is needed and not installed.
        """
        function, arguments, raw = _work(edit)
        try:
            data = await self._pool.run(function, *arguments, timeout_s=_TIMEOUT_S)
        except PixelWorkLost as error:
            raise ProviderTransient(str(error)) from error
        except MemoryError as error:
            raise ProviderRefused("the picture is too large for the memory that one edit may take") from error
        return Done(data=data, content_type="image/png", raw=raw)

    async def poll(self, task_id: str) -> Outcome:
        """Never needed: `submit` answers with the result."""
        raise ProviderRefused(f"there is no task {task_id!r}: these edits end at once")

    async def find(self, call_id: str, model: Model, *, submitted_at_ms: int) -> str | None:  # noqa: ARG002
        """None: a call that was lost left nothing behind and cost nothing."""
        return None

    def may_fetch(self, url: str) -> bool:  # noqa: ARG002
        """Never: results come as bytes."""
        return False

    async def close(self) -> None:
        """Nothing to give back; the pool is closed by who made it."""


def _work(edit: AdaptedEdit) -> Work:
    """What has to run for this edit. Raises ProviderRefused."""
    if len(edit.images) != 1:
        raise ProviderRefused(f"one picture at a time, not {len(edit.images)}. {abilities()}")
    picture = edit.images[0]
    file = _file(picture)
    if edit.operation is not Operation.GENERAL_EDIT and (edit.prompt or "").strip():
        raise ProviderRefused(f"{edit.operation} follows no prompt here. {abilities()}")
    if edit.mask is not None and edit.operation is not Operation.ERASE:
        raise ProviderRefused(f"{edit.operation} takes no mask here. {abilities()}")
    match edit.operation:
        case Operation.GENERAL_EDIT:
            return _adjust(file, picture, edit.prompt or "")
        case Operation.REMOVE_BACKGROUND:
            return local_pixels.remove_background, (file,), {}
        case Operation.ERASE if edit.mask is not None:
            return local_pixels.erase, (file, _file(edit.mask)), {}
        case Operation.OUTPAINT if any(edit.expand):
            left, right, up, down = edit.expand
            _check_size(picture.width + left + right, picture.height + up + down)
            return local_pixels.outpaint, (file, edit.expand), {}
        case Operation.UPSCALE:
            factor = edit.parameters.get("factor", _FACTORS[0])
            if factor not in _FACTORS:
                raise ProviderRefused("factor has to be 2, 3 or 4")
            _check_size(picture.width * factor, picture.height * factor)
            return local_pixels.upscale, (file, factor), {"factor": factor}
    raise ProviderRefused(f"this {edit.operation} cannot be done here. {abilities()}")


def _adjust(file: Path, picture: Source, prompt: str) -> Work:
    adjustments = parse(prompt)
    if adjustments is None:
        raise ProviderRefused(f"the prompt is more than exact adjustments. {abilities()}")
    try:
        output_size(adjustments, (picture.width, picture.height))
    except ValueError as error:
        raise ProviderRefused(str(error)) from error
    return local_pixels.adjust, (file, adjustments), {"adjustments": [one.model_dump() for one in adjustments]}


def _check_size(width: int, height: int) -> None:
    if max(width, height) > SIDE_MAX or width * height > PIXELS_MAX:
        raise ProviderRefused(
            f"the result would have {width}×{height} pixels: {SIDE_MAX} px a side and {PIXELS_MAX:,} pixels are the most"
        )


def _file(source: Source) -> Path:
    if source.file is None:
        raise ProviderRefused("the picture has to be at hand as a file")
    return source.file
