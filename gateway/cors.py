"""Browsers on other origins: let in only where EDIT_STUDIO_CORS_ORIGINS names them. Source: WHATWG Fetch, CORS protocol."""

from collections.abc import Collection

from aiohttp import hdrs, web

_METHODS = "GET, POST, PUT, DELETE"
_ASKED = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Prefer, Range, X-Request-Id"
_SHOWN = "ETag, Idempotent-Replayed, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
_REMEMBER_S = "600"


def allow_origins(app: web.Application, origins: Collection[str]) -> None:
    """Answer preflight requests and mark answers for these origins; `*` lets every origin in (keys are never sent unasked)."""
    allowed = frozenset(origins)

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get(hdrs.ORIGIN, "")
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if origin in allowed or (origin and "*" in allowed):
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _SHOWN

    async def preflight(_: web.Request) -> web.Response:
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: _METHODS,
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _ASKED,
            hdrs.ACCESS_CONTROL_MAX_AGE: _REMEMBER_S,
        }
        return web.Response(status=204, headers=headers)

    app.on_response_prepare.append(mark)
    for resource in app.router.resources():
        if isinstance(resource, web.Resource):
            resource.add_route(hdrs.METH_OPTIONS, preflight)
