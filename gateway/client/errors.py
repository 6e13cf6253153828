"""A class for each code of the service, under the service's own names. Written by `python -m tests.client_sources`.

A code that is newer than this client comes as ApiError itself.
"""

from collections.abc import Mapping

from gateway.client.api_error import ApiError


class RequestError(ApiError):
    code = "bad_request"


class Unauthorized(RequestError):
    code = "unauthorized"


class Forbidden(RequestError):
    code = "forbidden"


class NotFound(RequestError):
    code = "not_found"


class MethodNotAllowed(RequestError):
    code = "method_not_allowed"


class NotAcceptable(RequestError):
    code = "not_acceptable"


class Gone(RequestError):
    code = "gone"


class RangeNotSatisfiable(RequestError):
    code = "range_not_satisfiable"


class UnsupportedMediaType(RequestError):
    code = "unsupported_media_type"


class InvalidJson(RequestError):
    code = "invalid_json"


class InvalidMultipart(RequestError):
    code = "invalid_multipart"


class IncompleteBody(RequestError):
    code = "incomplete_body"


class BodyTooLarge(RequestError):
    code = "body_too_large"


class ValidationFailed(RequestError):
    code = "validation_failed"


class UnknownModel(RequestError):
    code = "unknown_model"


class UnsupportedParameter(RequestError):
    code = "unsupported_parameter"


class NoCapableModel(RequestError):
    code = "no_capable_model"


class UrlNotAllowed(RequestError):
    code = "url_not_allowed"


class IdempotencyMismatch(RequestError):
    code = "idempotency_mismatch"


class IdempotencyInFlight(RequestError):
    code, retryable = "idempotency_in_flight", True


class BudgetExceeded(RequestError):
    code = "budget_exceeded"


class QuoteExpired(RequestError):
    code = "quote_expired"


class QuoteMismatch(RequestError):
    code = "quote_mismatch"


class AlreadyFinished(RequestError):
    code = "already_finished"


class NotFinished(RequestError):
    code = "not_finished"


class EndpointDisabled(RequestError):
    code = "endpoint_disabled"


class RateLimited(RequestError):
    code, retryable = "rate_limited", True


class QueueFull(RequestError):
    code, retryable = "queue_full", True


class PictureError(RequestError):
    code = "invalid_picture"


class InvalidBase64(PictureError):
    code = "invalid_base64"


class NotAPicture(PictureError):
    code = "not_a_picture"


class TruncatedPicture(PictureError):
    code = "truncated_picture"


class PictureTooLarge(PictureError):
    code = "picture_too_large"


class AnimatedPicture(PictureError):
    code = "animated_image"


class MaskInvalid(PictureError):
    code = "mask_invalid"


class MaskEmpty(MaskInvalid):
    code = "mask_empty"


class MaskFull(MaskInvalid):
    code = "mask_full"


class ServiceError(ApiError):
    code, retryable = "service_unavailable", True


class Overloaded(ServiceError):
    code, retryable = "overloaded", True


class StoreUnavailable(ServiceError):
    code, retryable = "store_unavailable", True


class StorageUnavailable(ServiceError):
    code, retryable = "storage_unavailable", True


class InternalError(ServiceError):
    code, retryable = "internal_error", True


class StillRunning(ServiceError):
    code, retryable = "still_running", True


class JobError(ApiError):
    code = "edit_failed"


class DeadlineExceeded(JobError):
    code = "deadline_exceeded"


class WorkerCrashed(JobError):
    code = "worker_crashed"


class Canceled(JobError):
    code = "canceled"


class InputGone(JobError):
    code = "input_gone"


class UrlFetchFailed(JobError):
    code = "url_fetch_failed"


class ProviderError(JobError):
    code = "provider_failed"


class ProviderTransient(ProviderError):
    code, retryable = "provider_error", True


class ProviderAmbiguous(ProviderTransient):
    code, retryable = "provider_ambiguous", True


class ProviderRateLimited(ProviderError):
    code, retryable = "provider_busy", True


class ProviderUnusable(ProviderError):
    code = "provider_unusable"


class ProviderRefused(ProviderError):
    code = "provider_refused"


class ProviderModelGone(ProviderError):
    code = "model_gone"


class ProviderModerated(ProviderError):
    code = "moderated"


class ProviderBadOutput(ProviderError):
    code = "bad_output"


BY_CODE: Mapping[str, type[ApiError]] = {
    cls.code: cls
    for cls in (
        RequestError,
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        NotAcceptable,
        Gone,
        RangeNotSatisfiable,
        UnsupportedMediaType,
        InvalidJson,
        InvalidMultipart,
        IncompleteBody,
        BodyTooLarge,
        ValidationFailed,
        UnknownModel,
        UnsupportedParameter,
        NoCapableModel,
        UrlNotAllowed,
        IdempotencyMismatch,
        IdempotencyInFlight,
        BudgetExceeded,
        QuoteExpired,
        QuoteMismatch,
        AlreadyFinished,
        NotFinished,
        EndpointDisabled,
        RateLimited,
        QueueFull,
        PictureError,
        InvalidBase64,
        NotAPicture,
        TruncatedPicture,
        PictureTooLarge,
        AnimatedPicture,
        MaskInvalid,
        MaskEmpty,
        MaskFull,
        ServiceError,
        Overloaded,
        StoreUnavailable,
        StorageUnavailable,
        InternalError,
        StillRunning,
        JobError,
        DeadlineExceeded,
        WorkerCrashed,
        Canceled,
        InputGone,
        UrlFetchFailed,
        ProviderError,
        ProviderTransient,
        ProviderAmbiguous,
        ProviderRateLimited,
        ProviderUnusable,
        ProviderRefused,
        ProviderModelGone,
        ProviderModerated,
        ProviderBadOutput,
    )
}
