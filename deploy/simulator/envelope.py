"""The JSON that goes in and out of a simulated API whose answers are wrapped in `{"code", "message", "data"}`."""

import json
from typing import Any

from aiohttp import web


def enveloped(data: Any) -> web.Response:
    """A success."""
    return web.json_response({"code": 200, "message": "success", "data": data})


def refused(status: int, message: str) -> web.Response:
    """An error in its first shape."""
    return web.json_response({"code": status, "message": message}, status=status)


def refused_bare(status: int, message: str) -> web.Response:
    """An error in its second shape."""
    return web.json_response({"error": message}, status=status)


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body. Raises HTTPBadRequest, in the second error shape, for anything that is not a JSON object."""
    try:
        body = json.loads(await request.read())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text='{"error": "the body is not a JSON object"}', content_type="application/json")
    return body
