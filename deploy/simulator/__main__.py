"""The simulator as a process: prints `simulator http://HOST:PORT` when ready, ends on SIGTERM, SIGINT or with its parent."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

from deploy.simulator.account import Options
from deploy.simulator.app import create_app

_PARENT_CHECK_S = 0.5
_SHUTDOWN_S = 1.0


def main() -> None:
    """Read the command line, serve until told to end."""
    parser = argparse.ArgumentParser(prog="python -m deploy.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--latency-s", type=float, default=2.0, help="how long a task takes, seconds")
    parser.add_argument(
        "--history-inputs", action=argparse.BooleanOptionalAction, default=True, help="show inputs in the history"
    )
    parser.add_argument("--key", help="the only API key that is taken")
    parser.add_argument("--max-concurrent", type=int, help="tasks at once, beyond which submits get 429")
    parser.add_argument("--per-minute", type=int, help="submits per minute, beyond which they get 429")
    parser.add_argument("--poll-pause-s", type=float, default=10.0, help="seconds between polls where a provider asks for some")
    parser.add_argument("--models-dir", type=Path, help="folder with tables of more models, PROVIDER.toml")
    parser.add_argument("--parent-pid", type=int, default=0, help="end when this process is gone; 0: never")
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    host, port, parent_pid = (arguments.pop(name) for name in ("host", "port", "parent_pid"))
    asyncio.run(_serve(Options(**arguments), host=host, port=port, parent_pid=parent_pid))


async def _serve(options: Options, *, host: str, port: int, parent_pid: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = web.AppRunner(create_app(options), access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        print(f"simulator http://{host}:{runner.addresses[0][1]}", flush=True)
        while not ended.is_set() and _is_alive(parent_pid):
            try:
                await asyncio.wait_for(ended.wait(), _PARENT_CHECK_S)
            except TimeoutError:
                continue
    finally:
        await runner.cleanup()


def _is_alive(pid: int) -> bool:
    """Whether the process exists; 0 stands for none that matters."""
    if not pid:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # It is there, and not ours to signal.
        return True
    return True


if __name__ == "__main__":
    main()
