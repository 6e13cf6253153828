"""`GET /sim/env`: the variables that lead a program to this simulator instead of the real providers."""

from collections.abc import Iterable

from aiohttp import web


def environment_route(providers: Iterable[str], key: str | None) -> web.RouteDef:
    """`<NAME>_API_KEY` and `<NAME>_BASE_URL` of each provider. `key`: the only one that is taken, None: any."""
    names = tuple(providers)

    async def handle(request: web.Request) -> web.Response:
        address = str(request.url.origin())
        variables = {}
        for name in names:
            variables[f"{name.upper()}_API_KEY"] = key or "simulated"
            variables[f"{name.upper()}_BASE_URL"] = address
        return web.json_response(variables)

    return web.get("/sim/env", handle)
