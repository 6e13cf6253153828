"""`edit-studio up`: the whole system on one machine, until it is told to stop."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console

from deploy.standalone import environment
from deploy.standalone.data_dir import DataDirUnusable
from deploy.standalone.display import Display
from deploy.standalone.ports import PortUnusable
from deploy.standalone.services import ServerMissing
from deploy.standalone.stack import Plan, Stack
from deploy.standalone.supervisor import StartFailed
from shared.settings import SettingsInvalid, load_settings

#: What a stack may fail with; each message is one that people can act on.
START_ERRORS = (DataDirUnusable, PortUnusable, ServerMissing, SettingsInvalid, StartFailed)

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_S3_FIELDS = {"s3_endpoint_url", "s3_access_key", "s3_secret_key", "s3_bucket", "s3_region"}


def plan_from_environment(*, data_dir: Path | None, host: str | None, port: int | None, workers: int, simulate: bool) -> Plan:
    """The user's options over the user's settings; servers that the settings name are used, not started.

    Raises SettingsInvalid.
    """
    secret = environment.secret_given()
    # The secret is checked like every other setting, but may still be missing: the data folder will have one.
    settings = load_settings(secret=secret or "0" * 32)
    return Plan(
        data_dir=data_dir or environment.default_data_dir(),
        host=settings.host if host is None else host,
        port=settings.port if port is None else port,
        workers=workers,
        simulate=simulate,
        own_redis="redis_url" not in settings.model_fields_set,
        own_s3=not _S3_FIELDS & settings.model_fields_set,
        secret=secret,
        variables=environment.inherited(),
        catalog_dir=settings.catalog_dir,
    )


async def up(plan: Plan, console: Console, ready: Callable[[Mapping[str, str | int]], None] | None = None) -> None:
    """Start, say where it is, keep it running until SIGINT, SIGTERM or SIGHUP, stop. `ready` is told where it is.

    Raises START_ERRORS.
    """
    display = Display(console)
    began = time.monotonic()
    async with running(plan, display) as (stack, stopped):
        if stopped.is_set():
            return
        display.say("")
        display.say(f"Edit Studio is running; it took {time.monotonic() - began:.1f} s.")
        display.say(f"  address  {stack.address}")
        display.say(f"  page     {stack.data.login_link.read_text().strip()}")
        display.say("           (this link works once; `edit-studio login` prints another)")
        display.say(f"  API key  {stack.data.api_key}")
        display.say(f"  logs     {stack.data.logs}")
        display.say(f"  stop     Ctrl-C, or: kill {os.getpid()}")
        display.say("")
        if ready is not None:
            page = stack.data.login_link.read_text().strip()
            files = {"key_file": str(stack.data.api_key), "logs": str(stack.data.logs)}
            ready({"address": stack.address, "page": page, **files, "pid": os.getpid()})
        await stopped.wait()


@asynccontextmanager
async def running(plan: Plan, display: Display) -> AsyncIterator[tuple[Stack, asyncio.Event]]:
    """A started stack, and the event that a signal to stop sets; set already if it came while starting.

    Raises START_ERRORS.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    # nohup ignores SIGHUP for us, and that is to stay so.
    numbers = [number for number in _STOP_SIGNALS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]
    for number in numbers:
        loop.add_signal_handler(number, stopped.set)
    stack = Stack(plan, display)
    starting = asyncio.create_task(stack.start())
    waiting = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        yield stack, stopped
    finally:
        display.say("stopping")
        for task in (starting, waiting):
            task.cancel()
        await asyncio.wait({starting, waiting})
        await stack.stop()
        for number in numbers:
            loop.remove_signal_handler(number)
