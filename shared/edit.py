"""What a caller may wish: the edit request, validated, and the edit as it is stored (pure)."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shared.picture import PictureInfo

PROMPT_MAX_CHARS = 8_000
REFERENCE_IMAGES_MAX = 16
OUTPUT_FORMATS = ("png", "jpeg", "webp", "avif")

Prompt = Annotated[str, StringConstraints(max_length=PROMPT_MAX_CHARS)]
Url = Annotated[str, StringConstraints(max_length=4_096, pattern=r"^https?://")]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
ImageId = Annotated[str, StringConstraints(pattern=r"^(edit|upl)_[0-9a-hjkmnp-tv-z]{26}$")]


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
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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


class Role(StrEnum):
    """What a picture is for."""

    IMAGE = "image"  #: the picture that is edited
    MASK = "mask"  #: where it is edited
    BACKGROUND_IMAGE = "background_image"  #: relight: the new background
    LIGHTING_IMAGE = "lighting_image"  #: relight: where the light comes from
    REFERENCE = "reference"  #: one of `reference_images`


class InputRef(_Strict):
    """Where one picture of an edit lies: in our storage under `key`, or still at the caller's `url`.

    `info` and `sha256` are None as long as it was not fetched (`url`).
    """

    role: Role
    key: str | None = None
    url: str | None = None
    info: PictureInfo | None = None
    sha256: str | None = None


class EditSpec(EditOptions):
    """An accepted edit: the options, and where its pictures lie. What a worker gets."""

    inputs: tuple[InputRef, ...] = ()
    user_tier: Literal["free", "pro", "enterprise"] = "free"  #: of the key that submitted it

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
