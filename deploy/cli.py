"""`edit-studio`: start the system or one of its processes, manage keys and tenants, check the set-up."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from deploy.batch import add_command as add_batch
from deploy.batch import batch
from deploy.listen import ListenFailed, listen
from deploy.listen import add_command as add_listen
from deploy.service_access import NoAccess
from deploy.standalone import environment
from deploy.standalone.data_dir import running_settings
from deploy.standalone.demo import DemoFailed, demo
from deploy.standalone.services import python_module
from deploy.standalone.up import START_ERRORS, plan_from_environment, up

_WORKERS_MAX = 64
# The commands that other modules carry out, and what comes before the user's own arguments.
_MODULES = {
    "gateway": ("gateway",),
    "worker": ("worker",),
    "keys": ("gateway", "keys"),
    "tenants": ("gateway", "tenants"),
    "login": ("gateway", "login"),
    "doctor": ("gateway", "doctor"),
}
# Those that work on the stack that `up` has running, where the settings name no other.
_BESIDE_A_STACK = ("keys", "tenants", "login", "doctor")


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with 0, with 1 when something failed (one message on stderr), with 2 for wrong usage."""
    options, rest = _read(arguments)
    if options.command in _MODULES:
        _become(options.command, rest, getattr(options, "data_dir", None))
    if rest:
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        if options.command == "up":
            plan = plan_from_environment(
                data_dir=options.data_dir,
                host=options.host,
                port=options.port,
                workers=options.workers,
                simulate=options.simulate,
            )
            asyncio.run(up(plan, Console()))
        elif options.command == "listen":
            listen(options, Console())
        elif options.command == "batch":
            sys.exit(batch(options))
        else:
            demo(out=options.out, keep=options.keep, console=Console())
    except (*START_ERRORS, DemoFailed, ListenFailed, NoAccess) as error:
        sys.exit(f"edit-studio: {error}")


def _read(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The options, and what is left over."""
    options, rest = _parser().parse_known_args(arguments)
    if options.command == "batch" and options.prompt is None and len(rest) == 1 and not rest[0].startswith("-"):
        # Python 3.11 takes a word that may be missing only right behind the one before it; here an option stands between them.
        options.prompt = rest.pop()
    return options, rest


def _become(command: str, rest: Sequence[str], data_dir: Path | None) -> None:
    """Turn this process into the one that carries out the command; never returns."""
    variables = environment.inherited()
    if command in _BESIDE_A_STACK and "EDIT_STUDIO_REDIS_URL" not in variables:
        variables |= running_settings(data_dir or environment.default_data_dir()) or {}
    module, *before = _MODULES[command]
    os.execve(sys.executable, python_module(module, *before, *rest), variables)  # noqa: S606 - there is no shell


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edit-studio", description=__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"edit-studio {version('edit-studio')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("up", help="the whole system on this machine", allow_abbrev=False)
    command.add_argument("--port", type=_port, help="port of the gateway (8080); 0 takes a free one")
    command.add_argument("--host", help="address of the gateway (127.0.0.1)")
    command.add_argument("--data-dir", type=Path, help=f"folder for jobs, pictures, keys ({environment.default_data_dir()})")
    command.add_argument("--workers", type=_workers, default=2, help="worker processes (2)")
    command.add_argument("--simulate", action="store_true", help="simulated providers: nothing is real, nothing costs")

    command = commands.add_parser("demo", help="real edits on a photograph, before and after", allow_abbrev=False)
    command.add_argument(
        "--out", type=Path, default=Path("edit-studio-demo"), help="folder for the pictures (./edit-studio-demo)"
    )
    command.add_argument("--keep", action="store_true", help="leave the system running afterwards, until Ctrl-C")

    add_listen(commands)
    add_batch(commands)
    for name, text in (("gateway", "one gateway process"), ("worker", "one worker process")):
        commands.add_parser(name, help=text, add_help=False, allow_abbrev=False)
    beside = {
        "keys": "create, list, revoke API keys",
        "tenants": "list tenants, set their limits",
        "login": "a link that opens Edit Studio once",
        "doctor": "check Redis, S3 and the providers' keys",
    }
    for name, text in beside.items():
        command = commands.add_parser(name, help=text, add_help=False, allow_abbrev=False)
        command.add_argument("--data-dir", type=Path)
    return parser


def _port(text: str) -> int:
    return _whole_number(text, 0, 65_535)


def _workers(text: str) -> int:
    return _whole_number(text, 1, _WORKERS_MAX)


def _whole_number(text: str, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
    return int(text)


if __name__ == "__main__":
    main()
