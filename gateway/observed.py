"""Every request under its ids, for all that is logged of it, and in its span, where traces are asked for."""

from aiohttp import web

from gateway.problems import Handler
from gateway.route import ROUTE
from shared.log import logged_ids, logging_under
from shared.telemetry import is_tracing, note, rename, span

_TRACEPARENT = "traceparent"
#: Asked for every few seconds by those who run the service: nobody wants their traces.
_NOT_TRACED = frozenset({"/healthz", "/readyz", "/metrics"})


@web.middleware
async def observed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost: whatever is raised has become an answer when it comes back here."""
    with logging_under():
        if not is_tracing() or request.path in _NOT_TRACED:
            return await handler(request)
        with span("request", kind="server", parent=request.headers.get(_TRACEPARENT, "")):
            response = await handler(request)
            _describe(request, response)
            return response


def _describe(request: web.Request, response: web.StreamResponse) -> None:
    if (route := request.get(ROUTE)) is not None:
        rename(f"{route.method} {route.path}")
        note("http.request.method", route.method)
        note("http.route", route.path)
    note("http.response.status_code", response.status)
    for name, value in logged_ids().items():
        note(name, value)
