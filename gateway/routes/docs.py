"""`GET /docs`: the OpenAPI document, rendered by Swagger UI from the `fastapi-swagger` package, so without any other host.

That package is wanted for its two files alone; nothing of it is imported.
"""

import importlib.util
from pathlib import Path

from aiohttp import hdrs, web

from gateway.body import no_early_leave

#: Swagger UI sets styles on elements and shows icons from `data:` addresses; scripts come from here only.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer", hdrs.CACHE_CONTROL: "no-cache"}
_FILES = ("swagger-ui.css", "swagger-ui-bundle.js")
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Edit Studio: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="api">Loading the document …</div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
_START = """SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#api", deepLinking: true, docExpansion: "list", defaultModelsExpandDepth: 0, validatorUrl: null,
});
"""


def mount(app: web.Application) -> None:
    """Add the page to an application. It is no part of the API, so it is not in its document."""
    folder = _swagger_ui()

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html", headers=_HEADERS)

    async def start(_: web.Request) -> web.Response:
        return web.Response(text=_START, content_type="text/javascript", headers=_HEADERS)

    async def file(request: web.Request) -> web.FileResponse:
        return web.FileResponse(folder / request.path.rpartition("/")[2], headers=_HEADERS)

    app.router.add_route("GET", "/docs", page, expect_handler=no_early_leave)
    app.router.add_route("GET", "/docs/start.js", start, expect_handler=no_early_leave)
    for name in _FILES:
        app.router.add_route("GET", f"/docs/{name}", file, expect_handler=no_early_leave)


def _swagger_ui() -> Path:
    """Where the files of Swagger UI lie."""
    found = importlib.util.find_spec("fastapi_swagger")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("fastapi-swagger is not installed: install edit-studio with its requirements")
    return Path(found.submodule_search_locations[0]) / "resources"
