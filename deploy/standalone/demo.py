"""`edit-studio demo`: a throw-away stack, some real edits on a photograph, their pictures in a folder."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

from deploy.standalone import environment
from deploy.standalone.demo_pictures import PHOTOGRAPH, overview, spoon_mask
from deploy.standalone.display import Display
from deploy.standalone.stack import Plan, Stack
from deploy.standalone.up import running
from gateway.client.answers import Job
from gateway.client.api_error import ApiError
from gateway.client.async_client import AsyncClient
from gateway.client.pictures import ending_of

_EDIT_S = 60.0


class DemoFailed(Exception):
    """Some edits did not succeed, or the pictures cannot be saved; the message says which and why."""


@dataclass(slots=True)
class _Edit:
    """One edit of the demo and its course. `name`: of its file."""

    name: str
    title: str
    request: Mapping[str, Any]
    course: list[str] = field(default_factory=list)
    seconds: float = 0.0
    usd: float = 0.0
    file: Path | None = None
    fault: str = ""


def _edits() -> list[_Edit]:
    return [
        _Edit("black-and-white", "“make it black and white”", {"prompt": "make it black and white"}),
        _Edit("rotated", "“rotate 90 degrees clockwise”", {"prompt": "rotate 90 degrees clockwise"}),
        _Edit("brighter", "“亮度增加10%，饱和度增加20%”", {"prompt": "亮度增加10%，饱和度增加20%"}),
        _Edit("no-background", "remove the background", {"operation": "remove_background"}),
        _Edit("no-spoon", "erase the spoon (mask)", {"operation": "erase", "mask": spoon_mask()}),
    ]


def demo(*, out: Path, keep: bool, console: Console) -> list[Mapping[str, Any]]:
    """Run it all; takes well under a minute. `keep`: leave the stack running afterwards, until a signal. Answers what was done.

    Raises DemoFailed, and what a stack may fail with (`up.START_ERRORS`).
    """
    began = time.monotonic()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoFailed(f"cannot save pictures in {out}: {error.strerror}") from error
    display = Display(console)
    with tempfile.TemporaryDirectory(prefix="edit-studio-demo-") as folder:
        edits = asyncio.run(_demo(Path(folder), out.resolve(), keep, console, display))
    display.say(f"done in {time.monotonic() - began:.0f} s")
    faults = [f"{edit.title}: {edit.fault}" for edit in edits if edit.fault]
    if faults:
        raise DemoFailed("\n  ".join(["not every edit succeeded", *faults]))
    told = ("name", "title", "seconds", "usd")
    return [{**{name: getattr(edit, name) for name in told}, "file": str(edit.file)} for edit in edits]


async def _demo(data_dir: Path, out: Path, keep: bool, console: Console, display: Display) -> list[_Edit]:
    plan = Plan(
        data_dir=data_dir,
        host="127.0.0.1",
        port=0,
        workers=1,
        simulate=False,
        own_redis=True,
        own_s3=True,
        secret=None,
        variables=environment.inherited_without_settings(),
    )
    async with running(plan, display) as (stack, stopped):
        working = asyncio.create_task(_run_edits(stack, out, console))
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
            raise DemoFailed("stopped before all edits were done")
        edits = working.result()
        display.say(f"{len(edits)} edits cost {sum(edit.usd for edit in edits):.2f} USD")
        display.say(f"before and after: {out}")
        if keep:
            display.say(f"the stack stays at {stack.address}, API key {stack.data.api_key}; Ctrl-C stops it")
            await waiting
        waiting.cancel()
    return edits


async def _run_edits(stack: Stack, out: Path, console: Console) -> list[_Edit]:
    edits = await asyncio.to_thread(_edits)
    api_key = (await asyncio.to_thread(stack.data.api_key.read_text)).strip()
    with Live(console=console, auto_refresh=False) if console.is_terminal else nullcontext() as live:

        def changed(edit: _Edit) -> None:
            if live:
                live.update(_table(edits), refresh=True)
            else:
                console.print(f"{edit.title}: {edit.course[-1]}", soft_wrap=True, highlight=False, markup=False)

        async with AsyncClient(stack.address, api_key) as client, asyncio.TaskGroup() as group:
            for number, edit in enumerate(edits, start=1):
                group.create_task(_run_edit(client, edit, out / f"{number}-{edit.name}", changed))
        if live:
            live.update(_table(edits), refresh=True)
        else:
            console.print(_table(edits))
    shown = [(edit.name, edit.file) for edit in edits if edit.file]
    await asyncio.to_thread(overview, [("original", PHOTOGRAPH), *shown], out / "before-after.jpg")
    return edits


async def _run_edit(client: AsyncClient, edit: _Edit, stem: Path, changed: Callable[[_Edit], None]) -> None:
    began = time.monotonic()

    def follow(job: Job) -> None:
        edit.seconds = time.monotonic() - began
        if edit.course[-1:] != [job["status"]]:
            edit.course.append(job["status"])
            changed(edit)

    try:
        job = await client.submit(PHOTOGRAPH, **edit.request)
        follow(job)
        job = await client.wait(job["id"], timeout_s=_EDIT_S, on_change=follow)
        edit.usd = job["cost"]["actual"] or 0.0
        if job["output"] is not None:
            edit.file = await client.save_result(job, stem.with_suffix(f".{ending_of(job['output'])}"))
        else:
            edit.fault = job["error"]["message"] if job["error"] else job["status"]
    except (ApiError, TimeoutError, OSError) as error:
        edit.fault = str(error) or f"not done within {_EDIT_S:.0f} s"
        edit.course.append("failed")
        changed(edit)


def _table(edits: list[_Edit]) -> Table:
    columns = (Column("edit", overflow="fold"), Column("course", no_wrap=True), "time", Column("file", no_wrap=True))
    table = Table(*columns, box=None, pad_edge=False)
    for edit in edits:
        colour = "red" if edit.fault else "green" if edit.file else "yellow"
        name = edit.file.name if edit.file else ""
        course = f"[{colour}]{' → '.join(edit.course)}[/]"
        table.add_row(edit.title, course, f"{edit.seconds:.1f} s", name)
    return table
