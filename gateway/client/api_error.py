"""The root of what the client raises, and what no answer of the service says."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class PictureUnusable(ValueError):
    """What was given as a picture is none; the message says for what it was given and what would do."""


class AccessUnusable(ValueError):
    """What was given as address or key of the service cannot be one; the message says which."""


class ApiError(Exception):
    """The service refused, or did not answer (`status` 0), or the edit failed (`job` is the edit, `status` 200).

    `code`: stable, see `GET …/errors`; `errors`: the faulty fields, each with `pointer`, `code` and `message`;
    `retry_after_s`: when it wants to be asked again, None if it did not say; `request_id`: what its operator can look for.
    """

    code: ClassVar[str] = ""
    #: Whether the same call may succeed later.
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        request_id: str = "",
        retry_after_s: float | None = None,
        job: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code  # type: ignore[misc] # of a code that has no class yet
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.job = job

    @property
    def is_busy(self) -> bool:
        """Whether the same call may succeed later, as the service itself says."""
        return self.status in _BUSY or self.code == "idempotency_in_flight"


class Unreachable(ApiError):
    """The service did not answer, or the connection broke before its answer was whole."""

    code, retryable = "unreachable", True


class Damaged(ApiError):
    """Other bytes came than the service has stored."""

    code, retryable = "damaged", True


class NotAProblem(ApiError):
    """Something else than the service answered, such as a proxy before it."""

    code = "not_a_problem"
