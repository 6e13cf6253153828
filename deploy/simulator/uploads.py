"""Uploads to a simulated provider: by ticket and PUT, like S3's presigned addresses, or as a form in one step."""

import secrets
from typing import Any

from aiohttp import web

from deploy.simulator.account import Account
from deploy.simulator.envelope import enveloped, read_object, refused

_MAX_BYTES = 20 * 1024 * 1024
_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff", "application/octet-stream")
_TICKETS_MAX = 10_000
_NOT_ALLOWED = "uploads are not allowed for this account"


class Uploads:
    """Open tickets, and the files that came."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._tickets: dict[str, tuple[int, str]] = {}  # Name to announced size and content type.

    async def ticket(self, request: web.Request) -> web.StreamResponse:
        """Where and how to PUT a file that has been announced."""
        if self._account.refuse_uploads:
            return refused(403, _NOT_ALLOWED)
        body = await read_object(request)
        size, filename = body.get("size"), body.get("filename")
        content_type = body.get("content_type", "application/octet-stream")
        if not isinstance(size, int) or size < 1 or not isinstance(filename, str) or not filename or "/" in filename:
            return refused(400, "filename and size are required")
        if content_type not in _TYPES:
            return refused(400, "unsupported media type")
        if size > _MAX_BYTES:
            return refused(413, "the file is too large")
        name = secrets.token_hex(16)
        self._tickets[name] = size, content_type
        while len(self._tickets) > _TICKETS_MAX:
            self._tickets.pop(next(iter(self._tickets)))
        instruction = {
            "method": "PUT",
            "url": f"{request.url.origin()}/storage/{name}",
            "headers": {"Content-Type": content_type},
        }
        return enveloped({**_uploaded(request, name, filename, size), "upload": instruction})

    async def put(self, request: web.Request) -> web.StreamResponse:
        """The file itself. As at S3, a second way of authentication is refused, and so is what was not announced."""
        name = request.match_info["name"]
        if "Authorization" in request.headers:
            return _storage_refused(400, "InvalidArgument")
        if name not in self._tickets:
            return _storage_refused(403, "AccessDenied")
        data = await request.read()
        if (len(data), request.content_type) != self._tickets[name]:
            return _storage_refused(403, "SignatureDoesNotMatch")
        del self._tickets[name]
        await self._account.files.put(name, data, request.content_type)
        return web.Response()

    async def form(self, request: web.Request) -> web.StreamResponse:
        """The older way: the file as a part of a form."""
        if self._account.refuse_uploads:
            return refused(403, _NOT_ALLOWED)
        part = (await request.post()).get("file") if request.content_type == "multipart/form-data" else None
        if not isinstance(part, web.FileField):
            return refused(400, "a file part named file is required")
        data = part.file.read()
        if len(data) > _MAX_BYTES:
            return refused(413, "the file is too large")
        name = secrets.token_hex(16)
        await self._account.files.put(name, data, part.content_type)
        return enveloped(_uploaded(request, name, part.filename.replace("/", "_"), len(data)))

    async def download(self, request: web.Request) -> web.StreamResponse:
        """An uploaded file."""
        return serve(self._account, request, request.match_info["name"])


def serve(account: Account, request: web.Request, name: str | None) -> web.StreamResponse:
    """The kept file of this name. API keys have no business here and are refused."""
    if "Authorization" in request.headers:
        return web.Response(status=400, text="no key belongs here")
    found = account.files.get(name) if name else None
    return web.FileResponse(found[0], headers={"Content-Type": found[1]}) if found else web.Response(status=404)


def _storage_refused(status: int, code: str) -> web.Response:
    return web.Response(status=status, text=f"<Error><Code>{code}</Code></Error>", content_type="application/xml")


def _uploaded(request: web.Request, name: str, filename: str, size: int) -> dict[str, Any]:
    return {
        "type": "image",
        "download_url": f"{request.url.origin()}/storage/{name}/{filename}",
        "filename": filename,
        "size": size,
    }
