"""Every error of the service, once: its code, its HTTP status, whether asking again can help.

EditStudioError
├── RequestError             the caller's request cannot be accepted as it is
│   ├── Unauthorized, Forbidden, NotFound, Gone, MethodNotAllowed, NotAcceptable, RangeNotSatisfiable, UnsupportedMediaType
│   ├── InvalidJson, InvalidMultipart, IncompleteBody, BodyTooLarge
│   ├── ValidationFailed     field errors: unknown_field, missing_field, wrong_type, invalid_value
│   ├── PictureError         InvalidBase64, NotAPicture, TruncatedPicture, PictureTooLarge, AnimatedPicture,
│   │                        MaskInvalid (MaskEmpty, MaskFull)
│   ├── UnknownModel, UnsupportedParameter, NoCapableModel, UrlNotAllowed
│   ├── IdempotencyMismatch, IdempotencyInFlight, AlreadyFinished, NotFinished, BudgetExceeded, QuoteExpired, QuoteMismatch,
│   │                        EndpointDisabled
│   └── RateLimited, QueueFull
├── ServiceError             our own trouble: Overloaded, StoreUnavailable, StorageUnavailable, InternalError, StillRunning
└── JobError                 why an accepted edit ended without a result
    ├── ProviderError        ProviderTransient, ProviderRateLimited, ProviderUnusable, ProviderRefused, ProviderModelGone,
    │                        ProviderModerated, ProviderBadOutput, ProviderAmbiguous
    ├── UrlFetchFailed, InputGone
    └── DeadlineExceeded, WorkerCrashed, Canceled

`str(error)` is fit for the caller: no keys, no addresses inside the service, no stack. The table is published at
`GET /api/image-studio/edit/errors`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault in one field. `pointer`: JSON pointer into the body (`""` is the body itself)."""

    pointer: str
    code: str
    message: str


class EditStudioError(Exception):
    """Root. `code` is stable, `status` the HTTP answer, `retryable` whether the same request may succeed later."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s


class RequestError(EditStudioError):
    """The request cannot be accepted as it is."""

    code, status, title = "bad_request", 400, "Bad request"

    @classmethod
    def at(cls, pointer: str, message: str) -> "RequestError":
        """The error with one field error of its own code at `pointer`."""
        return cls(message, errors=[FieldError(pointer, cls.code, message)])


class Unauthorized(RequestError):
    code, status, title = "unauthorized", 401, "No valid API key"


class Forbidden(RequestError):
    code, status, title = "forbidden", 403, "The API key lacks the scope"


class NotFound(RequestError):
    code, status, title = "not_found", 404, "Nothing here under this name"


class MethodNotAllowed(RequestError):
    code, status, title = "method_not_allowed", 405, "The resource does not take this method"


class NotAcceptable(RequestError):
    code, status, title = "not_acceptable", 406, "The requested representation does not exist"


class Gone(RequestError):
    code, status, title = "gone", 410, "Deleted or past its retention"


class RangeNotSatisfiable(RequestError):
    code, status, title = "range_not_satisfiable", 416, "The byte range lies outside of the picture"


class UnsupportedMediaType(RequestError):
    code, status, title = "unsupported_media_type", 415, "The body has a content type that is not taken here"


class InvalidJson(RequestError):
    code, title = "invalid_json", "The body is not JSON"


class InvalidMultipart(RequestError):
    code, title = "invalid_multipart", "The body is not well-formed multipart/form-data"


class IncompleteBody(RequestError):
    code, title = "incomplete_body", "The body ended before it was complete"


class BodyTooLarge(RequestError):
    code, status, title = "body_too_large", 413, "The body exceeds the limit"


class ValidationFailed(RequestError):
    code, status, title = "validation_failed", 422, "Some fields are not valid"


class UnknownModel(RequestError):
    code, status, title = "unknown_model", 422, "No model has this id"


class UnsupportedParameter(RequestError):
    code, status, title = "unsupported_parameter", 422, "The model cannot honour a parameter"


class NoCapableModel(RequestError):
    code, status, title = "no_capable_model", 422, "No configured model can do this edit"


class UrlNotAllowed(RequestError):
    code, status, title = "url_not_allowed", 422, "The URL is not allowed"


class IdempotencyMismatch(RequestError):
    code, status, title = "idempotency_mismatch", 422, "The idempotency key was used for another request"


class IdempotencyInFlight(RequestError):
    code, status, title, retryable = "idempotency_in_flight", 409, "The first request with this key is still being read", True


class BudgetExceeded(RequestError):
    """`detail` says which limit and how much is left of it; `left_micro_usd` is that in 1e-6 USD."""

    code, status, title = "budget_exceeded", 402, "The spending limit does not allow this"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
        left_micro_usd: int = 0,
    ) -> None:
        super().__init__(detail, errors=errors, retry_after_s=retry_after_s)
        self.left_micro_usd = left_micro_usd


class QuoteExpired(RequestError):
    code, status, title = "quote_expired", 422, "There is no such quote, or no longer"


class QuoteMismatch(RequestError):
    code, status, title = "quote_mismatch", 422, "The quote is for another edit"


class AlreadyFinished(RequestError):
    code, status, title = "already_finished", 409, "The edit has already ended"


class NotFinished(RequestError):
    code, status, title = "not_finished", 409, "The edit has not ended yet"


class EndpointDisabled(RequestError):
    code, status, title = "endpoint_disabled", 409, "The webhook endpoint is disabled or deleted"


class RateLimited(RequestError):
    code, status, title, retryable = "rate_limited", 429, "Too many requests", True


class QueueFull(RequestError):
    code, status, title, retryable = "queue_full", 429, "Too many unfinished edits", True


class PictureError(RequestError):
    """A picture that cannot be edited."""

    code, status, title = "invalid_picture", 422, "The picture cannot be edited"


class InvalidBase64(PictureError):
    code, title = "invalid_base64", "The text is not base64"


class NotAPicture(PictureError):
    code, title = "not_a_picture", "The bytes are not a picture in a format that is taken here"


class TruncatedPicture(PictureError):
    code, title = "truncated_picture", "The picture ends before it is complete"


class PictureTooLarge(PictureError):
    code, title = "picture_too_large", "The picture exceeds a limit of bytes, pixels or side"


class AnimatedPicture(PictureError):
    code, title = "animated_image", "The picture has more than one frame"


class MaskInvalid(PictureError):
    code, title = "mask_invalid", "The mask does not fit the picture"


class MaskEmpty(MaskInvalid):
    code, title = "mask_empty", "The mask selects nothing"


class MaskFull(MaskInvalid):
    code, title = "mask_full", "The mask selects everything"


class ServiceError(EditStudioError):
    """Our own trouble; nothing is wrong with the request."""

    code, status, retryable, title = "service_unavailable", 503, True, "The service cannot answer now"


class Overloaded(ServiceError):
    code, title = "overloaded", "The service has more work than it can take"


class StoreUnavailable(ServiceError):
    code, title = "store_unavailable", "The job store does not answer"


class StorageUnavailable(ServiceError):
    code, title = "storage_unavailable", "The picture storage does not answer"


class InternalError(ServiceError):
    code, status, retryable, title = "internal_error", 500, True, "Internal error"


class StillRunning(ServiceError):
    """A request that is answered with the result alone was held for as long as it can be."""

    code, status, title = "still_running", 408, "The edit goes on; the same request again waits for it"


class JobError(EditStudioError):
    """Why an accepted edit ended without a result, or has to be tried again."""

    code, status, title = "edit_failed", 502, "The edit failed"


class DeadlineExceeded(JobError):
    code, status, title = "deadline_exceeded", 504, "The deadline passed before the edit was done"


class WorkerCrashed(JobError):
    code, status, title = "worker_crashed", 500, "The edit made its worker fail three times"


class Canceled(JobError):
    code, status, title = "canceled", 409, "The edit was canceled on request"


class InputGone(JobError):
    code, status, title = "input_gone", 410, "A picture of the edit is no longer in storage"


class UrlFetchFailed(JobError):
    code, status, title = "url_fetch_failed", 422, "A URL of the request could not be fetched"


class ProviderError(JobError):
    """A provider's answer that is not a result. `billed`: whether the provider charges for the call, None if unknown."""

    code, title = "provider_failed", "The provider failed"

    def __init__(self, detail: str, *, retry_after_s: float | None = None, billed: bool | None = False) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.billed = billed


class ProviderTransient(ProviderError):
    """Time-out, connection, 5xx, the provider's internal error: the same call may succeed later."""

    code, status, retryable, title = "provider_error", 502, True, "The provider had a passing fault"


class ProviderRateLimited(ProviderError):
    """The provider asked us to slow down. `retry_after_s`: seconds until the next call, None if it did not say."""

    code, status, retryable, title = "provider_busy", 503, True, "The provider asked us to slow down"


class ProviderUnusable(ProviderError):
    """401, 402, 403, out of credit: no call to this provider can succeed until an operator acts."""

    code, status, title = "provider_unusable", 502, "The provider refuses our account"


class ProviderRefused(ProviderError):
    """The provider calls the input or a parameter invalid."""

    code, status, title = "provider_refused", 422, "The provider refused the request"


class ProviderModelGone(ProviderError):
    """The provider no longer has this model."""

    code, status, title = "model_gone", 502, "The provider no longer has this model"


class ProviderModerated(ProviderError):
    """The provider's content policy refused the prompt, the input or the output."""

    code, status, title = "moderated", 422, "The provider's content policy refused the edit"


class ProviderBadOutput(ProviderError):
    """What came back is not a usable picture."""

    code, status, title = "bad_output", 502, "The provider returned no usable picture"


class ProviderAmbiguous(ProviderTransient):
    """The paid request was sent and no answer came: the provider may or may not have taken it."""

    code, title = "provider_ambiguous", "It is unknown whether the provider took the request"


def error_classes() -> dict[str, type[EditStudioError]]:
    """Code to class, in the order of this file. Raises ValueError if two classes share a code."""
    found: dict[str, type[EditStudioError]] = {}
    todo: list[type[EditStudioError]] = [EditStudioError]
    while todo:
        cls = todo.pop(0)
        todo = [*cls.__subclasses__(), *todo]
        if cls in (EditStudioError,):
            continue
        if cls.code in found:
            raise ValueError(f"{cls.__name__} and {found[cls.code].__name__} share the code {cls.code}")
        found[cls.code] = cls
    return found
