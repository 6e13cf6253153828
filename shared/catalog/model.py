"""The shape of a catalogue entry: what a model is, takes, costs and cannot do."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.edit import Operation


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameter(_Entry):
    """One parameter at the provider. `field`: the option of ours that fills it; None: only through `options`, or a constant."""

    type: Literal["string", "integer", "number", "boolean"]
    required: bool = False
    default: str | int | float | bool | None = None
    min: float | None = None
    max: float | None = None
    enum: tuple[str, ...] = ()
    field: str | None = None


class Size(_Entry):
    """How the output size is asked for, and which sizes the model takes. Sides and pixels are of the output.

    `none`: the model decides. `WxH`: parameter `size` = `W*H`. `aspect_ratio`: parameter `aspect_ratio` from `aspects`.
    `echo`: the output has exactly the input's size.
    """

    control: Literal["none", "WxH", "aspect_ratio", "echo"] = "none"
    min_side: int = 1
    max_side: int
    min_pixels: int = 1
    max_pixels: int | None = None
    multiple_of: int = 1
    min_aspect: float = 0.0  #: width / height
    max_aspect: float = 1e9
    aspects: tuple[str, ...] = ()  #: "16:9", with control aspect_ratio
    min_share: float = 0.0  #: of its canvas that the picture has to fill, when outpainting


class Enlarging(_Entry):
    """The most that an upscaler makes of a picture: times each side, pixels of the longer side, pixels in all."""

    times: float | None = None
    max_side: int | None = None
    max_pixels: int | None = None


class Mask(_Entry):
    """How a mask reaches the model. `native`: as `parameter` in `polarity`; `composited`: we cut and paste; `no`: not at all."""

    kind: Literal["native", "composited", "no"] = "no"
    parameter: str | None = None
    polarity: Literal["white_is_edit", "black_is_edit", "alpha_transparent_is_edit"] | None = None


class PriceTier(_Entry):
    """A price that holds when every parameter in `when` has that value."""

    when: dict[str, str]
    usd: Decimal


class Price(_Entry):
    """USD per output picture or per million pixels of it: the first tier whose `when` fits, else `base`."""

    base: Annotated[Decimal, Field(alias="usd")]
    unit: Literal["picture", "megapixel"] = "picture"
    tiers: tuple[PriceTier, ...] = ()
    source: str


class Model(_Entry):
    """One model of one provider. `path`: its address at the provider, in that provider's own terms."""

    id: str
    provider: str
    name: str
    description: str
    tier: Literal["budget", "mid", "premium"]
    quality: Literal["basic", "good", "excellent", "premium"]
    status: Literal["active", "deprecated", "retired"] = "active"
    path: str
    operations: tuple[Operation, ...]
    capabilities: tuple[str, ...]
    use_cases: tuple[str, ...]
    features: tuple[str, ...]
    example_prompts: tuple[str, ...] = ()
    languages: tuple[str, ...]
    image_parameter: Literal["image", "images", "image_url", "image_urls", "input_image", "input_images", "subject_image"] = (
        "image"
    )
    max_images: int = 1
    input_max_bytes: int = 20 * 1024 * 1024
    input_min_side: int = 1
    input_max_side: int = 16_384
    size: Size
    mask: Mask = Mask()
    enlarges: Enlarging | None = None  #: of every model that does upscales
    parameters: dict[str, Parameter] = {}
    one_of: tuple[str, ...] = ()  #: of these fields of a request the model needs at least one, beside its required parameters
    beside: tuple[Literal["background_image", "lighting_image"], ...] = ()  #: pictures with a role of their own that it takes
    output_formats: tuple[str, ...] = ("png", "jpeg", "webp", "avif")  #: what the model itself can return
    price: Price
    source: str
    docs_url: str | None = None

    @model_validator(mode="after")
    def _says_how_far_it_enlarges(self) -> "Model":
        if Operation.UPSCALE in self.operations and self.enlarges is None:
            raise ValueError("a model that upscales needs enlarges = { times = …, max_side = … or max_pixels = … }")
        return self

    @property
    def max_resolution(self) -> tuple[int, int]:
        """(width, height) of the largest output, a square where a pixel budget binds."""
        side = self.size.max_side
        if self.size.max_pixels is not None:
            side = min(side, int(self.size.max_pixels**0.5))
        return side, side


class ProviderEntry(_Entry):
    """One catalogue file: the provider and its models."""

    provider: str
    label: str
    needs_key: bool  #: usable only with `<PROVIDER>_API_KEY`
    base_url: str | None = None
    in_process: bool = False  #: works on files in the worker itself; nothing leaves the machine
    takes_links: bool = True  #: fetches pictures from our storage; if not, it is sent the bytes
    max_concurrent: int | None = None  #: calls at once per account; None: as many as there are slots
    calls_per_minute: int | None = Field(None, ge=1)  #: per account, in the long run; None: as many as there are
    burst: int | None = Field(None, ge=1)  #: of these, how many may come at once; None: those of 5 s
    models: tuple[Model, ...]
