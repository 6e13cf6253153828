"""What a picture is, told from its bytes without decoding it; limits (pure)."""

from pydantic import BaseModel, ConfigDict


class PictureInfo(BaseModel):
    """What the header says. `width` and `height` are as stored; `upright_*` after the EXIF orientation is applied."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str  #: jpeg, png, webp, gif, bmp, tiff, avif, heic
    width: int
    height: int
    bytes: int
    orientation: int = 1  #: EXIF, 1–8
    mode: str = "RGB"  #: Pillow's name of the pixel layout: L, RGB, RGBA, P, CMYK, I;16 …
    has_alpha: bool = False
    has_icc: bool = False
    has_metadata: bool = False  #: EXIF (GPS among it), XMP, IPTC or text comments
    frames: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) in pixels as a viewer shows it."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)
