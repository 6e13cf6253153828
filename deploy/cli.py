"""`edit-studio`: edit pictures, start the system or one of its processes, manage keys and tenants, check the set-up."""

import argparse
import asyncio
import os
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import shtab
from rich.console import Console

from deploy import batch, calling, edit, jobs, listen, models, top, usage, watch
from deploy.arguments import add_output_options
from deploy.exit_codes import Exit, exit_of
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
_SHELLS = ("bash", "zsh")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Exits with an Exit, after one message on stderr if that is none of the good ones."""
    parser = _parser()
    options, rest = _read(parser, arguments)
    if options.command in _MODULES:
        _become(options.command, rest, getattr(options, "data_dir", None))
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        sys.exit(_carry_out(options, parser))
    except BrokenPipeError:
        # The reader of a pipe has enough. Source: Python's documentation of SIGPIPE.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.FAILED)
    except (Exception, KeyboardInterrupt) as error:
        if getattr(options, "debug", False):
            traceback.print_exc()
        code = Exit.FAILED if isinstance(error, (*START_ERRORS, DemoFailed, listen.ListenFailed)) else exit_of(error)
        if code is not Exit.INTERRUPTED:
            fault = f"{type(error).__name__}: " if code is Exit.FAULT else ""
            sys.stderr.write(f"edit-studio: {fault}{str(error) or 'no reason is known'}\n")
        sys.exit(code)


def _carry_out(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    console = Console(stderr=getattr(options, "json", False))
    match options.command:
        case "up":
            plan = plan_from_environment(
                data_dir=options.data_dir,
                host=options.host,
                port=options.port,
                workers=options.workers,
                simulate=options.simulate,
            )
            ready = partial(calling.print_json, console=Console()) if options.json else None
            asyncio.run(up(plan, console, ready))
        case "demo":
            done = demo(out=options.out, keep=options.keep, console=console)
            if options.json:
                calling.print_json({"edits": done, "folder": str(options.out)}, Console())
        case "listen":
            listen.listen(options, Console())
        case "batch":
            return batch.batch(options)
        case "completion":
            _complete_files(parser)
            print(shtab.complete(parser, options.shell))
        case _:
            return calling.call(options, Console())
    return Exit.DONE


def _read(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The options, and what is left over."""
    options, rest = parser.parse_known_args(arguments)
    if options.command == "batch" and options.prompt is None and len(rest) == 1 and not rest[0].startswith("-"):
        # Python 3.11 takes a word that may be missing only right behind the one before it; here an option stands between them.
        options.prompt = rest.pop()
    return options, rest


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Say of each argument that names a file or a picture that it does."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command)
        elif action.type is Path or action.metavar in ("PICTURE", "FILE"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]


def _become(command: str, rest: Sequence[str], data_dir: Path | None) -> NoReturn:
    """Turn this process into the one that carries out the command."""
    variables = environment.inherited()
    if command in _BESIDE_A_STACK and "EDIT_STUDIO_REDIS_URL" not in variables:
        variables |= running_settings(data_dir or environment.default_data_dir()) or {}
    module, *before = _MODULES[command]
    os.execve(sys.executable, python_module(module, *before, *rest), variables)  # noqa: S606 - there is no shell


def _parser() -> argparse.ArgumentParser:
    endings = "\n".join(f"  {code.value:>3}  {code.meaning}" for code in Exit)
    parser = argparse.ArgumentParser(
        prog="edit-studio",
        description=__doc__,
        epilog=f"exit codes:\n{endings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"edit-studio {version('edit-studio')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    edit.add_command(commands)
    batch.add_command(commands)
    models.add_models(commands)
    models.add_recommend(commands)
    jobs.add_command(commands)
    watch.add_command(commands)
    top.add_command(commands)
    usage.add_command(commands)
    listen.add_command(commands)
    _add_up(commands)
    _add_demo(commands)
    beside = {
        "keys": "create, list, revoke API keys",
        "tenants": "list tenants, set their limits",
        "login": "a link that opens Edit Studio once",
        "doctor": "check Redis, S3 and the providers' keys",
    }
    for name, text in beside.items():
        command = commands.add_parser(name, help=text, add_help=False, allow_abbrev=False)
        command.add_argument("--data-dir", type=Path)
    for name, text in (("gateway", "one gateway process"), ("worker", "one worker process")):
        commands.add_parser(name, help=text, add_help=False, allow_abbrev=False)
    command = commands.add_parser("completion", help="print what completes these commands in a shell", allow_abbrev=False)
    command.add_argument("shell", choices=_SHELLS)
    return parser


def _add_up(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = commands.add_parser("up", help="the whole system on this machine", allow_abbrev=False)
    command.add_argument("--port", type=_port, help="port of the gateway (8080); 0 takes a free one")
    command.add_argument("--host", help="address of the gateway (127.0.0.1)")
    command.add_argument("--data-dir", type=Path, help=f"folder for jobs, pictures, keys ({environment.default_data_dir()})")
    command.add_argument("--workers", type=_workers, default=2, help="worker processes (2)")
    command.add_argument("--simulate", action="store_true", help="simulated providers: nothing is real, nothing costs")
    add_output_options(command)


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = commands.add_parser("demo", help="real edits on a photograph, before and after", allow_abbrev=False)
    command.add_argument(
        "--out", type=Path, default=Path("edit-studio-demo"), help="folder for the pictures (./edit-studio-demo)"
    )
    command.add_argument("--keep", action="store_true", help="leave the system running afterwards, until Ctrl-C")
    add_output_options(command)


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
