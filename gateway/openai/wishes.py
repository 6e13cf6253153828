"""What OpenAI's clients ask of an edit, and what that is in our words."""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from gateway.fields import Faults, field_errors
from shared.candidates import Circumstances, what_keeps_out
from shared.catalog.load import Catalog
from shared.edit import PROMPT_MAX_CHARS, REFERENCE_IMAGES_MAX, EditSpec, InputRef, Operation, Role
from shared.store.files import upload_id_of

AUTO = "auto"
#: Under this name an edit's metadata says which model was asked for, where another one stands for it.
ASKED_FOR = "openai_model"
N_MAX = 10
#: What OpenAI calls its own image models. Source: openai 2.54.0, `types/image_model.py`.
_OPENAIS_NAMES = re.compile(r"(?:chatgpt-image|gpt-image|dall-e)-.+")
_OPENAIS_MODEL = "gpt-image-1"
_LINKS_BY_DEFAULT = "dall-e-2"
_MATTERS = {"low": "prioritize_cost", "high": "prioritize_quality", "hd": "prioritize_quality"}
_DIGITS = re.compile(r"\d{1,3}")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_Model = TypeVar("_Model", bound=BaseModel)


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value


def _boolean(value: Any) -> Any:
    return _BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value


#: Forms hold texts only, and some clients send texts in JSON too.
_Text = Annotated[str, StringConstraints(pattern=r"^\d{1,3}$")]
FileId = Annotated[str, StringConstraints(pattern=r"^file-[0-9a-hjkmnp-tv-z]{26}$")]
_Flag = Annotated[
    bool,
    Field(strict=True),
    BeforeValidator(_boolean, json_schema_input_type=bool | Literal["true", "false", "True", "False", "1", "0"]),
]


def _count(least: int, most: int) -> Any:
    bounds = Field(ge=least, le=most)
    as_sent = BeforeValidator(_number, json_schema_input_type=Annotated[int, bounds] | _Text)
    return Annotated[int, Field(strict=True, ge=least, le=most), as_sent]


class PictureReference(BaseModel):
    """A picture that lies elsewhere: exactly one of the two. `image_url` may be a data URI, `file_id` is of `POST /files`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_url: Annotated[str, StringConstraints(min_length=1)] | None = None
    file_id: FileId | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "PictureReference":
        if (self.image_url is None) == (self.file_id is None):
            raise ValueError("give exactly one of image_url and file_id")
        return self


_Picture = Annotated[str, StringConstraints(min_length=1)] | PictureReference
_Pictures = Annotated[list[_Picture], Field(min_length=1, max_length=REFERENCE_IMAGES_MAX)]


class EditsRequest(BaseModel):
    """The body of `POST /images/edits`. In a form the pictures are file parts: `image` or `image[]`, and `mask`.

    `quality`: of a model that has such a parameter; where the model is chosen, what matters in choosing. `input_fidelity`,
    `moderation` and `partial_images` change nothing, and `background` may not be `transparent`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Annotated[str, StringConstraints(min_length=1, max_length=PROMPT_MAX_CHARS)]
    image: Annotated[_Picture | _Pictures | None, Field(description="URL, data URI, base64, or a reference; or several")] = None
    images: _Pictures | None = None
    mask: Annotated[_Picture | None, Field(description="fully transparent where the picture is to be edited")] = None
    model: (
        Annotated[str, StringConstraints(min_length=1, max_length=100), Field(description="ours, OpenAI's, or auto")] | None
    ) = None
    n: _count(1, N_MAX) | None = None  # type: ignore[valid-type]
    size: Annotated[str, StringConstraints(pattern=r"^(auto|[1-9]\d{0,4}x[1-9]\d{0,4})$")] | None = None
    quality: Literal["standard", "hd", "low", "medium", "high", "auto"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: _count(0, 100) | None = None  # type: ignore[valid-type]
    response_format: Literal["url", "b64_json"] | None = None
    stream: _Flag | None = None
    partial_images: _count(0, 3) | None = None  # type: ignore[valid-type]
    background: Literal["opaque", "auto"] | None = None
    input_fidelity: Literal["high", "low"] | None = None
    moderation: Literal["low", "auto"] | None = None
    user: Annotated[str, StringConstraints(max_length=512)] | None = None

    @property
    def pictures(self) -> list[_Picture]:
        """Those that came in JSON, the one that is edited first."""
        own = self.image if isinstance(self.image, list) else [self.image] if self.image is not None else []
        return [*own, *(self.images or [])]

    @property
    def wants_links(self) -> bool:
        """Whether the answer holds links rather than pictures: if asked for, or by dall-e-2's default."""
        return (self.response_format or ("url" if self.model == _LINKS_BY_DEFAULT else "b64_json")) == "url"


def validated(model: type[_Model], fields: Mapping[str, Any]) -> _Model:
    """`fields` as a `model`. Raises ValidationFailed, UrlNotAllowed."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        faults = Faults()
        faults.extend(field_errors(error, model))
        faults.raise_any()
        raise


def native_fields(asked: EditsRequest, catalog: Catalog, seen: Collection[str], *, files: Mapping[Role, int]) -> dict[str, Any]:
    """The fields of an `EditRequest`. `seen`: providers that some worker is configured for; `files`: parts of a form by role."""
    fields: dict[str, Any] = {
        "prompt": asked.prompt,
        "size": "match_input" if asked.size in (None, AUTO) else asked.size,
        "output_format": asked.output_format or "png",
        "response_format": "url" if asked.wants_links else "b64",
    }
    others = asked.pictures[1:]
    for first in asked.pictures[:1]:
        fields |= {f"image_{way}": value for way, value in _given(first).items()}
    if others:
        fields["reference_images"] = [_given(other) for other in others]
    if asked.mask is not None:
        fields |= {f"mask_{way}": value for way, value in _given(asked.mask).items()}
    if asked.output_compression is not None:
        fields["output_quality"] = max(1, asked.output_compression)
    has_mask = asked.mask is not None or bool(files.get(Role.MASK))
    if has_mask:
        fields["mask_mode"] = "alpha_transparent_is_edit"
    references = len(others) + files.get(Role.REFERENCE, 0)
    bound = _binding(asked, catalog, seen, has_mask=has_mask, references=references)
    told = {"user": asked.user, ASKED_FOR: None if asked.model in (None, AUTO, bound.get("model")) else asked.model}
    return {**fields, **bound, "metadata": {name: text for name, text in told.items() if text}}


def _binding(asked: EditsRequest, catalog: Catalog, seen: Collection[str], *, has_mask: bool, references: int) -> dict[str, Any]:
    """Model, operation and quality. OpenAI's own names stand for our entry of its model where that can do the edit."""
    named = None if asked.model in (None, AUTO) else asked.model
    if named is None or not _OPENAIS_NAMES.fullmatch(named):
        return _bound_to(named, asked, catalog, seen, has_mask=has_mask)
    stand_in = catalog.models.get(named) or catalog.models.get(_OPENAIS_MODEL)
    if stand_in is not None:
        fields = _bound_to(stand_in.id, asked, catalog, seen, has_mask=has_mask)
        roles = [Role.IMAGE, *[Role.MASK] * has_mask, *[Role.REFERENCE] * references]
        spec = EditSpec(prompt=asked.prompt, inputs=tuple(InputRef(role=role) for role in roles), **fields)
        if what_keeps_out(spec, stand_in, Circumstances(configured=seen)) is None:
            return fields
    return _bound_to(None, asked, catalog, seen, has_mask=has_mask)


def _bound_to(
    model_id: str | None, asked: EditsRequest, catalog: Catalog, seen: Collection[str], *, has_mask: bool
) -> dict[str, Any]:
    """The fields for this model, or for whichever is chosen."""
    model = catalog.models.get(model_id) if model_id is not None else None
    among = [model] if model is not None else [one for one in catalog.models.values() if one.provider in seen]
    # Any model edits within a mask; those that are made for it do it better.
    inpaints = has_mask and any(Operation.INPAINT in one.operations for one in among)
    fields: dict[str, Any] = {"operation": Operation.INPAINT if inpaints else Operation.GENERAL_EDIT}
    if model_id is not None:
        fields["model"] = model_id
    if asked.quality is None:
        return fields
    if model is None:
        return fields | ({"preferences": {_MATTERS[asked.quality]: True}} if asked.quality in _MATTERS else {})
    declared = model.parameters.get("quality")
    takes = declared is not None and declared.field is None and asked.quality in declared.enum
    return fields | ({"options": {"quality": asked.quality}} if takes else {})


def _given(picture: _Picture) -> dict[str, str]:
    """One picture in the way that we know it: `base64`, `url` or `id`."""
    if isinstance(picture, PictureReference) and picture.file_id is not None:
        return {"id": upload_id_of(picture.file_id)}
    text = picture if isinstance(picture, str) else picture.image_url or ""
    return {"url" if text.lower().startswith(("http://", "https://")) else "base64": text}
