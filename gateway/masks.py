"""Masks that select nothing or everything, found before the edit is accepted where that costs little."""

import asyncio
import io
from pathlib import Path

from PIL import Image

from gateway.spool import Content
from shared.mask import MaskMode, selection
from shared.picture import PictureInfo, pillow_formats, quiet_pillow

#: Larger masks are read by the workers alone, who read all of them.
_PIXELS_MAX = 16_000_000
#: Where the header says how much decoding takes. A tiny TIFF or AVIF can unpack to gigabytes for a few pixels, which only the
#: workers' processes, bounded in memory and time, may find out.
_FORMATS = frozenset(("png", "jpeg", "webp", "gif", "bmp"))
#: Masks decoded at once: a WebP of 34 bytes and 16 MP takes 350 MB for a second.
PLACES = 2
_PLAIN = ("1", "L", "LA", "P", "RGB", "RGBA")


async def check_mask(content: Content, info: PictureInfo, mode: MaskMode, *, places: asyncio.Semaphore) -> None:
    """Refuse a mask as `shared.mask` does. One that cannot be judged here passes. Raises MaskInvalid, MaskEmpty, MaskFull.

    `places`: of this process, as many as `PLACES`.
    """
    is_plain = info.format in _FORMATS and info.mode in _PLAIN and info.frames == 1
    if is_plain and info.width * info.height <= _PIXELS_MAX:
        async with places:
            await asyncio.to_thread(_check, content.body, mode)


def _check(body: bytes | Path, mode: MaskMode) -> None:
    try:
        with quiet_pillow(), Image.open(body if isinstance(body, Path) else io.BytesIO(body), formats=pillow_formats()) as opened:
            picture = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    except Exception:
        # Decoders raise whatever happens to them on broken bytes; the worker says what is wrong.
        return
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    selection(picture.convert("RGB"), alpha, mode)
