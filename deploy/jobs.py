"""`edit-studio jobs`: list edits, show one, stop it, fetch its result, rate it."""

import argparse
import asyncio
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from deploy.arguments import add_output_options, count, rating
from deploy.calling import print_json, say, usd
from deploy.exit_codes import Exit
from deploy.service_access import add_access_options
from deploy.standalone import environment
from deploy.terminal_picture import show
from gateway.client.answers import Job
from gateway.client.async_client import AsyncClient
from gateway.client.errors import NotFinished

_STATUSES = ("queued", "running", "succeeded", "failed", "canceled")
_COLOURS = {"succeeded": "green", "failed": "red", "canceled": "yellow"}
_PAGE = 100


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    command = commands.add_parser("jobs", help="list edits, or look at one", allow_abbrev=False)
    command.add_argument("id", nargs="?", metavar="EDIT", help="show this one")
    then = command.add_mutually_exclusive_group()
    then.add_argument("--cancel", action="store_true", help="stop it")
    then.add_argument("--save", metavar="FILE", help="write its result to a file, or into a folder")
    then.add_argument("--rate", type=rating, metavar="1-5", help="say how good its result is; 5 is best")
    command.add_argument("--status", choices=_STATUSES)
    command.add_argument("--model")
    command.add_argument("--batch", metavar="BATCH", help="only those of a batch")
    command.add_argument("--limit", type=count, default=20, metavar="N", help="the newest so many (20)")
    add_output_options(command)
    add_access_options(command)
    command.set_defaults(verb=jobs)


async def jobs(options: argparse.Namespace, client: AsyncClient, console: Console) -> Exit:
    """With --json a line for each. Raises ApiError, OSError."""
    if options.id is not None:
        return await _one(options, client, console)
    found, cursor = list[Job](), None
    while len(found) < options.limit:
        limit = min(_PAGE, options.limit - len(found))
        page = await client.jobs(status=options.status, model=options.model, batch_id=options.batch, limit=limit, cursor=cursor)
        found += page["jobs"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if options.json:
        for job in found:
            print_json(job, console)
        return Exit.DONE
    columns = [Column(name, no_wrap=True) for name in ("edit", "status", "model", "cost", "created")]
    table = Table(*columns, Column("wish", overflow="ellipsis", no_wrap=True), box=None)
    for job in found:
        error = f" ({job['error']['code']})" if job["error"] else ""
        status = f"[{_COLOURS.get(job['status'], 'cyan')}]{job['status']}{error}[/]"
        wish = escape(job["prompt"] or job["operation"])
        table.add_row(job["id"], status, job["model"] or "", usd(job["cost"]["actual"]), _local(job["created_at"])[5:16], wish)
    console.print(table)
    return Exit.DONE


async def _one(options: argparse.Namespace, client: AsyncClient, console: Console) -> Exit:
    if options.cancel:
        job = await client.cancel(options.id)
    else:
        job = await client.job(options.id)
    if options.rate is not None:
        await client.feedback(options.id, options.rate)
    if options.save is not None:
        if job["output"] is None:
            raise NotFinished(409, NotFinished.code, f"{job['id']} is {job['status']} and has no result")
        file = await client.save_result(job, options.save)
        print_json({**job, "file": str(file)}, console) if options.json else say(str(file), console)
        if not options.json:
            await asyncio.to_thread(show, file, console, environment.terminal())
        return Exit.DONE
    print_json(job, console) if options.json else _show(job, console)
    return Exit.DONE


def _show(job: Job, console: Console) -> None:
    table = Table("", "", box=None, show_header=False)
    selection, output, error = job["selection"], job["output"], job["error"]
    waiting = job["progress"]["waiting_on"]
    rows = {
        "edit": job["id"],
        "status": job["status"] + (f", waiting for {waiting.replace('_', ' ')}" if waiting else ""),
        "wish": job["prompt"] or job["operation"],
        "model": " · ".join(part for part in (job["model"], selection and selection["reason"]) if part),
        "result": f"{output['width']}×{output['height']} {output['format']}, {output['bytes']:,} bytes" if output else "",
        "error": f"{error['code']}: {error['message']}" if error else "",
        "cost": usd(job["cost"]["actual"]) or f"about {usd(job['cost']['estimated'])}",
        "attempts": "\n".join(f"{one['model']}: {one['outcome'] or 'running'}" for one in job["attempts"]),
        "adaptations": "\n".join(job["adaptations"]),
        "created": _local(job["created_at"]),
        "finished": _local(job["finished_at"]) if job["finished_at"] else "",
        "batch": job["batch_id"] or "",
        "request": job["request_id"],
    }
    for name, text in rows.items():
        if text:
            table.add_row(name, escape(text))
    console.print(table)


def _local(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
