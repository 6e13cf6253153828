"""A command that calls the service: it gets an open client and a place to print; whatever goes wrong is one line on stderr."""

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from rich.console import Console

from deploy.exit_codes import Exit
from deploy.service_access import access
from gateway.client.async_client import AsyncClient

#: A service that is not there is told soon: somebody is waiting.
_AWAY_S, _BUSY_S = 2.0, 60.0

#: Prints on the console; the exit code. Raises what `exit_codes.exit_of` knows.
Verb: TypeAlias = Callable[[argparse.Namespace, AsyncClient, Console], Awaitable[Exit]]


def call(options: argparse.Namespace, console: Console) -> Exit:
    """Carry out `options.verb`. Raises what it raises, and NoAccess."""
    return asyncio.run(call_async(options, console))


async def call_async(options: argparse.Namespace, console: Console) -> Exit:
    """The same on a loop that runs already."""
    address, key = access(options)
    verb: Verb = options.verb
    async with AsyncClient(address, key, busy_s=_BUSY_S, away_s=_AWAY_S) as client:
        return await verb(options, client, console)


def print_json(document: Any, console: Console) -> None:
    """One document on one line, as it is."""
    console.file.write(json.dumps(document, ensure_ascii=False) + "\n")
    console.file.flush()


def say(text: str, console: Console) -> None:
    """One line, never cut or wrapped, so that paths and ids can be copied."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def usd(amount: float | None) -> str:
    """Money as people read it."""
    return "" if amount is None else f"{amount:.6f}".rstrip("0").rstrip(".") + " USD"
