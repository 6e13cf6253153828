"""What a caller may wish: the edit request, validated, and the edit as it is stored (pure)."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    StringConstraints,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from shared.picture import PictureInfo

PROMPT_MAX_CHARS = 8_000
REFERENCE_IMAGES_MAX = 16
PICTURE_MAX_SIDE = 16_384
OUTPUT_FORMATS = ("png", "jpeg", "webp", "avif")
_INFO = ("format", "width", "height", "bytes")

Prompt = Annotated[str, StringConstraints(max_length=PROMPT_MAX_CHARS)]
Url = Annotated[str, StringConstraints(max_length=4_096, pattern=r"^https?://")]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
QuoteId = Annotated[str, StringConstraints(pattern=r"^quote_[0-9a-hjkmnp-tv-z]{26}$")]
ImageId = Annotated[str, StringConstraints(pattern=r"^(edit|upl)_[0-9a-hjkmnp-tv-z]{26}$")]
CustomId = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,64}$")]


class Operation(StrEnum):
    """What is to be done to the picture."""

    GENERAL_EDIT = "general_edit"  #: change what the prompt says
    INPAINT = "inpaint"  #: repaint what the mask selects
    OUTPAINT = "outpaint"  #: extend the canvas
    REMOVE_BACKGROUND = "remove_background"  #: keep the subject on transparency
    SEARCH_REPLACE = "search_replace"  #: find one thing and put another in its place
    SEARCH_RECOLOR = "search_recolor"  #: find one thing and recolour it
    RELIGHT = "relight"  #: change the light
    ERASE = "erase"  #: remove what the mask selects
    UPSCALE = "upscale"  #: more pixels, same picture


class WebhookEvent(StrEnum):
    """What a caller may be told about an edit."""

    SUCCEEDED = "edit.succeeded"  #: the result is stored
    FAILED = "edit.failed"  #: the edit gave up
    CANCELED = "edit.canceled"  #: the edit was stopped on request


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class Preferences(_Strict):
    """What matters when a model is chosen. Without any, cost decides."""

    prioritize_cost: bool = False
    prioritize_quality: bool = False
    prioritize_speed: bool = False


class EditOptions(_Strict):
    """Everything of a request except its pictures."""

    operation: Operation = Operation.GENERAL_EDIT
    prompt: Prompt | None = None
    negative_prompt: Prompt | None = None
    search_prompt: Prompt | None = None
    select_prompt: Prompt | None = None
    mask_mode: Literal["auto", "alpha_transparent_is_edit", "white_is_edit", "black_is_edit"] = "auto"
    expand_left: Annotated[int, Field(ge=0, le=2_000)] = 0
    expand_right: Annotated[int, Field(ge=0, le=2_000)] = 0
    expand_up: Annotated[int, Field(ge=0, le=2_000)] = 0
    expand_down: Annotated[int, Field(ge=0, le=2_000)] = 0
    model: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    provider: Annotated[str, StringConstraints(min_length=1, max_length=50)] | None = None
    preferences: Preferences | None = None
    max_cost: Annotated[float, Field(ge=0, le=1_000, description="USD, over all attempts together")] | None = None
    deadline_s: Annotated[int, Field(ge=1, le=86_400, description="seconds from acceptance")] | None = None
    fallback: Literal["auto", "none"] = "auto"
    on_moderation: Annotated[
        Literal["fail", "fallback"], Field(description="fallback: what one model's content policy refuses, the next may try")
    ] = "fail"
    size: Annotated[str, StringConstraints(pattern=r"^(match_input|model|[1-9]\d{0,4}x[1-9]\d{0,4})$")] = "match_input"
    strict: bool = True
    guidance_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    steps: Annotated[int, Field(ge=1, le=1_000)] | None = None
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    style_preset: Annotated[str, StringConstraints(max_length=100)] | None = None
    options: Annotated[dict[MetadataKey, str | int | float | bool], Field(max_length=32)] = {}
    output_format: Literal["png", "jpeg", "webp", "avif"] | None = None
    output_quality: Annotated[int, Field(ge=1, le=100)] | None = None
    keep_metadata: bool = False
    animated: Literal["refuse", "first"] = "refuse"
    webhook_url: Url | None = None
    webhook_events: Annotated[tuple[WebhookEvent, ...], Field(max_length=3)] = (
        WebhookEvent.SUCCEEDED,
        WebhookEvent.FAILED,
        WebhookEvent.CANCELED,
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = {}
    priority: Literal["interactive", "bulk"] = "interactive"
    response_format: Literal["url", "b64"] = "url"


class ReferenceImage(_Strict):
    """One more picture beside the one that is edited: exactly one of the three."""

    base64: str | None = None
    url: Url | None = None
    id: ImageId | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "ReferenceImage":
        if sum(value is not None for value in (self.base64, self.url, self.id)) != 1:
            raise ValueError("give exactly one of base64, url, id")
        return self


class EditRequest(EditOptions):
    """The body of `POST …/process`. A picture comes as `*_base64`, `*_url` or `*_id` (or as a multipart file part)."""

    image_base64: str | None = None
    image_url: Url | None = None
    image_id: ImageId | None = None
    mask_base64: str | None = None
    mask_url: Url | None = None
    mask_id: ImageId | None = None
    background_image_base64: str | None = None
    background_image_url: Url | None = None
    background_image_id: ImageId | None = None
    lighting_image_base64: str | None = None
    lighting_image_url: Url | None = None
    lighting_image_id: ImageId | None = None
    reference_images: Annotated[tuple[ReferenceImage, ...], Field(max_length=REFERENCE_IMAGES_MAX)] = ()
    quote_id: Annotated[QuoteId, Field(description="of `POST …/quote`: holds its models and its price")] | None = None


class Resolution(_Strict):
    """Upright, in pixels."""

    width: Annotated[int, Field(ge=1, le=PICTURE_MAX_SIDE)]
    height: Annotated[int, Field(ge=1, le=PICTURE_MAX_SIDE)]


class QuoteRequest(EditRequest):
    """The body of `POST …/quote`: that of `POST …/process`, with the picture or its size. `has_mask`: instead of the mask."""

    image_resolution: Resolution | None = None
    has_mask: bool = False
    quote_id: None = None


class Role(StrEnum):
    """What a picture is for."""

    IMAGE = "image"  #: the picture that is edited
    MASK = "mask"  #: where it is edited
    BACKGROUND_IMAGE = "background_image"  #: relight: the new background
    LIGHTING_IMAGE = "lighting_image"  #: relight: where the light comes from
    REFERENCE = "reference"  #: one of `reference_images`


class InputRef(_Strict):
    """Where one picture of an edit lies: in our storage under `key`, or still at the caller's `url`.

    `info` and `sha256` are None as long as it was not fetched (`url`). In JSON it is an array, and in an edit's record the key
    of its own picture has no folder: a hundred thousand edits may be waiting in memory.
    """

    role: Role
    key: str | None = None
    url: str | None = None
    info: PictureInfo | None = None
    sha256: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _unpacked(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, list):
            return value
        role, key, url, sha256, *picture = value
        folder = (info.context or {}).get("folder")
        if folder and key and "/" not in key:
            key = folder + key
        named = dict(zip(_INFO, picture[:4], strict=False)) | (picture[4] if len(picture) > len(_INFO) else {})
        return {"role": role, "key": key, "url": url, "sha256": sha256, "info": named or None}

    @model_serializer(mode="plain", when_used="json")
    def _packed(self, info: SerializationInfo) -> list[Any]:
        packed: list[Any] = [self.role, self.key, self.url, self.sha256]
        edit_id = (info.context or {}).get("edit_id")
        if self.key and edit_id and self.key.split("/")[::2][:2] == ["in", edit_id]:
            packed[1] = self.key.rpartition("/")[2]
        if self.info is not None:
            packed += [getattr(self.info, name) for name in _INFO]
            if more := self.info.model_dump(exclude=set(_INFO), exclude_defaults=True):
                packed.append(more)
        return packed


class EditSpec(EditOptions):
    """An accepted edit: the options, and where its pictures lie. What a worker gets.

    `models`: only these, in this order, none of them for more than `quoted_usd`; empty without a quote.
    """

    inputs: tuple[InputRef, ...] = ()
    models: tuple[str, ...] = ()
    quoted_usd: float | None = None
    user_tier: Literal["free", "pro", "enterprise"] = "free"  #: of the key that submitted it
    custom_id: CustomId | None = None  #: the caller's own name for an item of a batch

    def to_record(self, edit_id: str) -> str:
        """As it is kept in the record of this edit."""
        return self.model_dump_json(exclude_defaults=True, context={"edit_id": edit_id})

    @classmethod
    def from_record(cls, text: str, tenant: str, edit_id: str) -> "EditSpec":
        """The inverse of `to_record`."""
        return cls.model_validate_json(text, context={"folder": f"in/{tenant}/{edit_id}/"})

    def inputs_of(self, role: Role) -> tuple[InputRef, ...]:
        """The pictures for one purpose, in the caller's order."""
        return tuple(ref for ref in self.inputs if ref.role is role)

    @property
    def image(self) -> InputRef:
        """The picture that is edited."""
        return self.inputs_of(Role.IMAGE)[0]

    @property
    def mask(self) -> InputRef | None:
        """Where it is edited, or None."""
        return next(iter(self.inputs_of(Role.MASK)), None)


def canonical_options(options: EditOptions) -> dict[str, Any]:
    """The options as plain JSON values without defaults: equal wishes give equal dictionaries."""
    fields = set(EditOptions.model_fields)
    return options.model_dump(mode="json", include=fields, exclude_defaults=True)
