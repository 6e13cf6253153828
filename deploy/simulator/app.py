"""The simulator: every provider that has a table in this folder, on one server. It shares no code with the rest of the service.

`GET /sim/env` tells the variables that lead the service here instead of to the providers, `GET /sim/ledger` lists the billed
submits. `POST /sim/faults` sets faults for all of them, for instance `{"faults": "429*3", "down_s": 5, "refuse_uploads": true}`;
what is left out is off.
"""

import json
from collections.abc import AsyncIterator
from importlib import import_module
from importlib.resources import files
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from deploy.simulator.account import Account, Options
from deploy.simulator.environment import environment_route
from deploy.simulator.faults import FaultUnknown

_BODY_MAX_BYTES = 40 * 1024 * 1024


class Api(Protocol):
    """One provider's API: class `Api` in the file that is named like its table, made with the account."""

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        ...

    async def close(self) -> None:
        """Stop what it has started."""
        ...


def create_app(options: Options | None = None) -> web.Application:
    """The server, ready to be run. Connections, threads and files are opened when it starts and closed when it stops."""
    account = Account(options or Options())
    apis: list[Api] = [import_module(f"deploy.simulator.{name}").Api(account) for name in _providers()]
    app = web.Application(client_max_size=_BODY_MAX_BYTES)

    async def opened(_: web.Application) -> AsyncIterator[None]:
        account.open()
        yield
        for api in apis:
            await api.close()
        await account.close()

    async def stopping(_: web.Application) -> None:
        account.stopping.set()

    app.cleanup_ctx.append(opened)
    app.on_shutdown.append(stopping)
    app.add_routes([web.get("/sim/ledger", _ledger(account)), web.post("/sim/faults", _faults(account))])
    app.add_routes([environment_route(_providers(), account.options.key)])
    for api in apis:
        app.add_routes(api.routes())
    return app


def _providers() -> list[str]:
    return sorted(
        entry.name.removesuffix(".toml") for entry in files("deploy.simulator").iterdir() if entry.name.endswith(".toml")
    )


def _ledger(account: Account) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(account.ledger.as_json())

    return handle


def _faults(account: Account) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            account.set_faults(**json.loads(await request.read()))
        except (TypeError, ValueError, FaultUnknown) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({})

    return handle
