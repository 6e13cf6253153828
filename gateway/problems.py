"""Errors to problem+json (RFC 9457), in the one place that does it; request ids, common headers and the access log.

Under OpenAI's prefix they have OpenAI's shape instead.
"""

import json
import logging
import math
import os
import re
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web

from gateway.admission import RATE, add_rate_headers
from gateway.auth import CHALLENGE
from gateway.connections import CONNECTIONS
from gateway.openai.errors import openai_document, openai_status, should_retry, speaks_openai
from gateway.openai.headers import add_openai_headers
from gateway.route import JSON, ROUTE
from shared.errors import (
    BodyTooLarge,
    EditStudioError,
    IncompleteBody,
    InternalError,
    MethodNotAllowed,
    NotFound,
    RequestError,
    Unauthorized,
    UnsupportedMediaType,
)
from shared.job import API_PREFIX
from shared.log import log_under_too

PROBLEM_JSON = "application/problem+json"
REQUEST_ID = web.RequestKey("request_id", str)
ERROR_CODE = web.RequestKey("error_code", str)
#: Of `time.perf_counter`.
_STARTED = web.RequestKey("started", float)

_REQUEST_ID = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BY_STATUS: dict[int, type[EditStudioError]] = {
    cls.status: cls for cls in (NotFound, MethodNotAllowed, BodyTooLarge, UnsupportedMediaType)
}
_access = logging.getLogger("gateway.access")
_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever is raised becomes an answer here."""
    request[_STARTED] = started = time.perf_counter()
    metrics = request.app[CONNECTIONS].metrics
    given = request.headers.get("X-Request-Id", "")
    request[REQUEST_ID] = given if _REQUEST_ID.fullmatch(given) else f"req_{os.urandom(12).hex()}"
    log_under_too(request_id=request[REQUEST_ID])
    status = 499  # The client went away; nothing was answered.
    metrics.in_flight += 1
    try:
        response = await _answer(request, handler)
        status = response.status
        return response
    finally:
        metrics.in_flight -= 1
        seconds = time.perf_counter() - started
        route = request.get(ROUTE)
        method = request.method if request.method in _METHODS else "OTHER"
        metrics.count(method, route.path if route else "unmatched", status, seconds)
        if _access.isEnabledFor(logging.INFO):
            _log_access(request, status, seconds)


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except EditStudioError as error:
        problem = error
    except web.HTTPException as error:
        if error.status < 400:
            raise
        problem = _of_http(error, request)
    except ConnectionError:
        # Raised by writes to a client that went away.
        raise
    except Exception:
        _log.exception("request %s to %s failed", request[REQUEST_ID], request.path)
        problem = InternalError("something went wrong here; the request id helps us to find out what")
    current: web.StreamResponse | None = request.get(_RESPONSE)
    if current is not None and current.prepared:
        # Part of an answer is out already: cutting the connection is the only way left to say that it is not whole.
        _log.warning("answer to request %s broken off: %s", request[REQUEST_ID], problem.code)
        if request.transport is not None:
            request.transport.abort()
        return current
    route = request.get(ROUTE)
    if route is not None and type(problem) not in route.all_errors:
        _log.error("undocumented error %s on %s %s", problem.code, route.method, route.path)
    request[ERROR_CODE] = problem.code
    return problem_response(problem, path=request.path, request_id=request[REQUEST_ID])


def problem_response(error: EditStudioError, *, path: str, request_id: str) -> web.Response:
    """The answer for an error."""
    if speaks_openai(path):
        response = _json_response(openai_status(type(error)), openai_document(error), JSON)
        response.headers["x-should-retry"] = "true" if should_retry(error) else "false"
    else:
        response = _json_response(error.status, problem_document(error, path=path, request_id=request_id), PROBLEM_JSON)
    if error.retry_after_s is not None or error.status in (429, 503):
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(error.retry_after_s or 1)))
    if isinstance(error, Unauthorized):
        response.headers[hdrs.WWW_AUTHENTICATE] = CHALLENGE
    if isinstance(error, MethodNotAllowed):
        response.headers[hdrs.ALLOW] = error.detail.rpartition(": ")[2]
    if isinstance(error, (IncompleteBody, BodyTooLarge)):
        response.force_close()
    return response


def _json_response(status: int, document: dict[str, Any], content_type: str) -> web.Response:
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    return web.Response(status=status, body=body, headers={hdrs.CONTENT_TYPE: content_type})


def problem_document(error: EditStudioError, *, path: str, request_id: str) -> dict[str, Any]:
    """The members of the problem."""
    document = {
        "type": f"{API_PREFIX}/errors#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "instance": path,
        "retryable": error.retryable,
        "request_id": request_id,
    }
    if error.errors:
        document["errors"] = [{"pointer": e.pointer, "code": e.code, "message": e.message} for e in error.errors]
    return document


async def set_common_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal: runs before any answer's headers leave, streamed ones too."""
    request[_RESPONSE] = response
    headers = response.headers
    headers["X-Request-Id"] = request[REQUEST_ID]
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault(hdrs.CACHE_CONTROL, "private, no-store")
    rate = request.get(RATE)
    if rate is not None:
        add_rate_headers(headers, *rate)
    if speaks_openai(request.path):
        processing_s = time.perf_counter() - request[_STARTED]
        add_openai_headers(headers, rate[1] if rate else None, processing_s=processing_s)


_RESPONSE = web.RequestKey("response", web.StreamResponse)


def _of_http(error: web.HTTPException, request: web.Request) -> EditStudioError:
    cls = _BY_STATUS.get(error.status)
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodNotAllowed(f"{request.path[:200]} takes only: {', '.join(sorted(error.allowed_methods))}")
    if cls is not None:
        return cls(f"{HTTPStatus(error.status).phrase}: {request.path[:200]}")
    if error.status < 500:
        return RequestError(error.reason)
    return InternalError(error.reason)


def _log_access(request: web.Request, status: int, seconds: float) -> None:
    line: dict[str, Any] = {
        "method": request.method,
        "path": request.path,
        "status": status,
        "ms": round(seconds * 1000, 2),
        "request_id": request[REQUEST_ID],
    }
    if ERROR_CODE in request:
        line["code"] = request[ERROR_CODE]
    _access.info("request", extra=line)
