"""`edit-studio listen`: events of the service, delivered as signed webhooks to an address that only this machine reaches."""

import argparse
import asyncio
import contextlib
import hashlib
import signal
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from yarl import URL

from deploy.arguments import add_output_options
from deploy.calling import print_json
from deploy.service_access import access, add_access_options
from deploy.standalone import environment
from deploy.standalone.data_dir import write_private
from gateway.client.async_client import AsyncClient
from gateway.client.listen import KINDS, LATEST, Forwarded, Listener

_COMMAND = "listen"


class ListenFailed(Exception):
    """The cursor cannot be kept; the message says why."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    command = commands.add_parser(_COMMAND, help="deliver webhooks to an address on this machine", allow_abbrev=False)
    command.add_argument("--forward-to", type=_address, required=True, metavar="URL", help="where the webhooks go")
    command.add_argument("--events", type=_kinds, default=KINDS, metavar="KIND,KIND", help=f"of {', '.join(KINDS)} (all)")
    command.add_argument("--cursor-file", type=Path, help="where to keep how far it got (in the data folder)")
    add_output_options(command)
    add_access_options(command)


def listen(options: argparse.Namespace, console: Console) -> None:
    """Run until SIGINT or SIGTERM; the next run goes on where this one ended. Raises ListenFailed, NoAccess, ApiError."""
    address, key = access(options)
    file: Path = options.cursor_file or _cursor_file(
        options.data_dir or environment.default_data_dir(), address, options.forward_to
    )
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        after = file.read_text().strip() if file.exists() else LATEST
        asyncio.run(_listen(AsyncClient(address, key), options, after or LATEST, file, console))
    except OSError as error:
        raise ListenFailed(f"cannot use the cursor file {file}: {error.strerror}") from error


async def _listen(client: AsyncClient, options: argparse.Namespace, after: str, file: Path, console: Console) -> None:
    notes = Console(stderr=True) if options.json else console

    async def reached(cursor: str) -> None:
        await asyncio.to_thread(write_private, file, cursor)

    def forwarded(one: Forwarded) -> None:
        if options.json:
            print_json(asdict(one), console)
        else:
            console.print(_line(one), soft_wrap=True, highlight=False)

    def trouble(text: str) -> None:
        notes.print(f"[yellow]{escape(text)}[/]", soft_wrap=True, highlight=False)

    async with client:
        listener = Listener(client, options.forward_to, options.events, forwarded, trouble, reached)
        running = asyncio.create_task(listener.run(after))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        told = f"forwarding {', '.join(options.events)} to {options.forward_to}; Ctrl-C stops it"
        notes.print(told, soft_wrap=True, highlight=False, markup=False)
        with contextlib.suppress(asyncio.CancelledError):
            await running


def _line(one: Forwarded) -> str:
    at = datetime.fromisoformat(one.event["created_at"]).astimezone().strftime("%H:%M:%S")
    good = one.status is not None and 200 <= one.status < 300
    outcome = str(one.status) if one.status is not None else escape(one.fault)
    what = one.event["edit_id"] or one.event["batch_id"]
    return f"{at}  {one.event['type']:<15}  {what}  [{'green' if good else 'red'}]{outcome}[/]  {one.took_s * 1000:.0f} ms"


def _cursor_file(data_dir: Path, address: str, forward_to: str) -> Path:
    """Each pair of service and receiver has its own."""
    digest = hashlib.sha256(f"{address} {forward_to}".encode()).hexdigest()
    return data_dir / "listen" / f"{digest[:16]}.cursor"


def _address(text: str) -> str:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise argparse.ArgumentTypeError(f"{text!r} is not an http or https address")
    return text


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if unknown := set(kinds) - set(KINDS):
        raise argparse.ArgumentTypeError(f"there are no events {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    return kinds
