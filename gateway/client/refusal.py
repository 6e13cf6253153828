"""Answers of the service that are no success, as errors of their own class."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from gateway.client.api_error import ApiError, NotAProblem
from gateway.client.errors import BY_CODE, Canceled


def refusal_of(status: int, problem: Any, *, retry_after_s: float | None) -> ApiError:
    """The error for an answer that is no success. `problem`: its document, or whatever came instead of one."""
    try:
        code, detail = str(problem["code"]), str(problem["detail"])
        errors = tuple(
            {"pointer": one["pointer"], "code": one["code"], "message": one["message"]} for one in problem.get("errors", ())
        )
        request_id = str(problem.get("request_id", ""))
    except (TypeError, KeyError, AttributeError):
        detail = f"the service answered {status} without saying why"
        return NotAProblem(status, NotAProblem.code, detail, retry_after_s=retry_after_s)
    if errors and errors[0]["pointer"] and detail.startswith(errors[0]["message"]):
        # The detail tells only the first of them.
        detail = "; ".join(f"{one['pointer']}: {one['message']}" for one in errors)
    cls = BY_CODE.get(code, ApiError)
    return cls(status, code, detail, errors=errors, request_id=request_id, retry_after_s=retry_after_s)


def failure_of(job: Mapping[str, Any]) -> ApiError:
    """The error for an edit that has ended without a result."""
    if job["error"] is None:
        return Canceled(
            HTTPStatus.OK,
            Canceled.code,
            f"{job['id']} was canceled",
            request_id=job["request_id"],
            job=job,
        )
    code, message = job["error"]["code"], job["error"]["message"]
    cls = BY_CODE.get(code, ApiError)
    return cls(
        HTTPStatus.OK,
        code,
        f"{job['id']} failed: {message}",
        request_id=job["request_id"],
        job=job,
    )
