"""Our errors as OpenAI's clients know them: status, type, code and param (pure).

Source: openai 2.54.0, `_exceptions.py` (a class for each status) and `_base_client.py`, `_should_retry`.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.errors import (
    BudgetExceeded,
    EditStudioError,
    FieldError,
    Forbidden,
    JobError,
    ProviderModerated,
    QueueFull,
    RateLimited,
    ServiceError,
    Unauthorized,
    UnknownModel,
)

OPENAI_PREFIX = "/openai/v1"

#: What OpenAI answers where we answer otherwise: its clients have a class for these.
_STATUSES = {402: 429, 410: 404, 415: 400, 422: 400}
_CODES: dict[type[EditStudioError], str] = {
    Unauthorized: "invalid_api_key",
    Forbidden: "insufficient_permissions",
    UnknownModel: "model_not_found",
    RateLimited: "rate_limit_exceeded",
    BudgetExceeded: "insufficient_quota",
    ProviderModerated: "moderation_blocked",
}
_FIELD_CODES = {
    "unknown_field": "unknown_parameter",
    "missing_field": "missing_required_parameter",
    "wrong_type": "invalid_type",
}
_PARAMS = {"cursor": "after", "reference_images": "image", "output_quality": "output_compression", "options": "quality"}
_WAYS = ("_base64", "_url", "_id")
_PICTURES = ("image", "mask")


class ErrorObject(BaseModel):
    """`param`: the field that is to blame; `code`: a stable word."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorAnswer(BaseModel):
    """Why a request was not answered as asked, in OpenAI's shape."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error: ErrorObject


def speaks_openai(path: str) -> bool:
    """Whether what is answered under this path has OpenAI's shapes."""
    return path.startswith(f"{OPENAI_PREFIX}/")


def openai_status(cls: type[EditStudioError]) -> int:
    """The HTTP status."""
    return 404 if cls is UnknownModel else _STATUSES.get(cls.status, cls.status)


def openai_code(cls: type[EditStudioError]) -> str:
    """The code where no single field is to blame."""
    return _CODES.get(cls, cls.code)


def openai_error(error: EditStudioError) -> ErrorObject:
    """The error itself; of several faulty fields the first one counts, the message says how many more there are."""
    return error_object(type(error), error.detail, error.errors[0] if error.errors else None)


def error_object(cls: type[EditStudioError], message: str, fault: FieldError | None) -> ErrorObject:
    """The error of a class that was written down."""
    code = openai_code(cls)
    if fault is not None and code == cls.code:
        code = _FIELD_CODES.get(fault.code, fault.code)
    if cls is UnknownModel:
        fault = FieldError("/model", cls.code, message)
    return ErrorObject(message=message, type=_type_of(cls), param=_param_of(fault.pointer) if fault else None, code=code)


def openai_document(error: EditStudioError) -> dict[str, Any]:
    """The members of the answer."""
    return ErrorAnswer(error=openai_error(error)).model_dump()


def should_retry(error: EditStudioError) -> bool:
    """Whether the same call again may be answered otherwise. An edit that has failed stays so, whoever asks."""
    return error.retryable and not isinstance(error, JobError)


def _type_of(cls: type[EditStudioError]) -> str:
    if issubclass(cls, BudgetExceeded):
        return "insufficient_quota"
    if issubclass(cls, ProviderModerated):
        return "image_generation_user_error"
    if issubclass(cls, (RateLimited, QueueFull)):
        return "requests"
    is_ours = openai_status(cls) >= 500 or issubclass(cls, ServiceError)
    return "server_error" if is_ours else "invalid_request_error"


def _param_of(pointer: str) -> str | None:
    """The name of the parameter that a JSON pointer leads into; ours for pictures are given back as OpenAI's.

    In a line of a batch, the pointer leads into its `body`.
    """
    name = pointer.removeprefix("/body")[1:].partition("/")[0].removesuffix("[]")
    for way in _WAYS:
        if name.removesuffix(way) in _PICTURES:
            name = name.removesuffix(way)
    return _PARAMS.get(name, name) or None
