"""Edit Studio, the page: `GET /studio`, its files, and the exchange of a one-time login code for a key that ends."""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, StringConstraints

from gateway.body import no_early_leave
from gateway.fields import parse_json
from gateway.intake import read_small_json
from gateway.route import JSON, Body, Call, Reply, Route
from shared.errors import StoreUnavailable, Unauthorized
from shared.job import API_PREFIX, Time, time_of

_FOLDER = Path(__file__).parents[1] / "studio"
_DIGEST_CHARS = 12
#: Source: studio_ui.md section 9. Pictures are shown from object URLs, so `blob:`.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; font-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_FOREVER = "public, max-age=31536000, immutable"
# `mimetypes` reads the machine's own tables, which may say otherwise.
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page in memory. `digest` is of all files and part of their addresses: versions are never mixed."""

    digest: str
    index: _File
    files: dict[str, _File]


def load_page(folder: Path = _FOLDER) -> Page:
    """Read the page's files. `index.html` gets the digest, and a line for each script, so that all load at once."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    bodies = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    whole = hashlib.sha256()
    for name, body in bodies.items():
        whole.update(f"{name}\0{len(body)}\0".encode() + body)
    digest = whole.hexdigest()[:_DIGEST_CHARS]
    scripts = [name for name in bodies if name.endswith(".js") and not name.startswith("js/later/")]
    preloads = "\n".join(f'<link rel="modulepreload" href="/studio/static/{digest}/{name}">' for name in scripts)
    index = bodies.pop("index.html").decode().replace("{modulepreload}", preloads).replace("{digest}", digest)
    files = {name: _file(name, body) for name, body in bodies.items()}
    return Page(digest, _file("index.html", index.encode()), files)


def _file(name: str, body: bytes) -> _File:
    kind = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _File(body, kind, f'"{hashlib.sha256(body).hexdigest()[:16]}"')


def mount(app: web.Application) -> None:
    """Add the page to an application. Its files are no part of the API, so they are not in its document."""
    page = load_page()

    async def show(request: web.Request) -> web.Response:
        return _answer(request, page.index, cache="no-cache")

    async def asset(request: web.Request) -> web.Response:
        file = page.files.get(request.match_info["name"])
        if file is None or request.match_info["digest"] != page.digest:
            raise web.HTTPNotFound
        return _answer(request, file, cache=_FOREVER)

    app.router.add_route("GET", "/studio", show, expect_handler=no_early_leave)
    app.router.add_route("GET", r"/studio/static/{digest}/{name:.+}", asset, expect_handler=no_early_leave)


def _answer(request: web.Request, file: _File, *, cache: str) -> web.Response:
    headers = {**_PAGE_HEADERS, hdrs.CACHE_CONTROL: cache, hdrs.ETAG: file.etag}
    if file.etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers=headers)
    charset = "utf-8" if file.content_type.startswith("text/") else None
    return web.Response(body=file.body, content_type=file.content_type, charset=charset, headers=headers)


class LoginRequest(BaseModel):
    """A code from a login link. It is good once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: Annotated[str, StringConstraints(min_length=1, max_length=100)]


class LoginAnswer(BaseModel):
    """A new key, which is shown this once, and when it stops working."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_key: str
    expires_at: Time


async def login(call: Call) -> web.Response:
    """A key for a code."""
    asked = parse_json(LoginRequest, await read_small_json(call.request))
    found = await call.connections.login_codes.redeem(asked.code)
    if found is None:
        raise Unauthorized("this login link was used already, or is too old; `edit-studio login` prints a new one")
    text, key = found
    answer = LoginAnswer(api_key=text, expires_at=time_of(key.ends_ms or key.created_ms))
    return web.Response(text=answer.model_dump_json(), headers={hdrs.CONTENT_TYPE: JSON})


async def logout(call: Call) -> web.Response:
    """End the caller's key, if it is one that a login made; other keys belong to whoever made them."""
    if call.key.ends_ms is not None:
        await call.connections.tenants.revoke_key(call.key.id)
    return web.Response(status=204)


ROUTES = (
    Route(
        "POST",
        f"{API_PREFIX}/login",
        "Exchange a login code for a key",
        login,
        description="Login links, which `edit-studio up` and `edit-studio login` print, carry such a code. It is good once.",
        scope=None,
        tag="access",
        body=Body(LoginRequest),
        replies=(Reply(200, "a new key", LoginAnswer),),
        errors=(Unauthorized, StoreUnavailable),
    ),
    Route(
        "POST",
        f"{API_PREFIX}/logout",
        "End the key of a login",
        logout,
        description="The key that the request is made with is refused within a second. A key that was not made by a login stays.",
        tag="access",
        replies=(Reply(204, "ended, or not made by a login"),),
    ),
)
