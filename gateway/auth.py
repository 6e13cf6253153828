"""Who is asking: the API key of a request, and whether it may do what it asks for."""

import re

from aiohttp import hdrs, web

from gateway.route import Scope
from shared.errors import Forbidden, Unauthorized
from shared.store.tenants import ApiKey

#: Source: RFC 6750 section 2.1; the length is ours.
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]{1,200}) *", re.IGNORECASE)
CHALLENGE = 'Bearer realm="edit-studio"'


def bearer_key(request: web.Request) -> str:
    """The key in the Authorization header. Raises Unauthorized."""
    header = request.headers.get(hdrs.AUTHORIZATION)
    if header is None:
        raise Unauthorized("send your API key as: Authorization: Bearer <key>")
    found = _BEARER.fullmatch(header)
    if found is None:
        raise Unauthorized("the Authorization header has to be: Bearer <key>")
    return found[1]


def check_scope(key: ApiKey, scope: Scope) -> None:
    """Raises Forbidden unless the key has `scope`."""
    if scope not in key.scopes:
        raise Forbidden(f"this API key lacks the scope {scope!r}; it has: {', '.join(sorted(key.scopes)) or 'none'}")
