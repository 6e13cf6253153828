"""`edit-studio watch`: the course of an edit or a batch until it has ended, or everything that happens until Ctrl-C."""

import argparse
import asyncio
from datetime import datetime
from http import HTTPStatus

from rich.console import Console

from deploy.arguments import add_output_options
from deploy.batch_display import BatchDisplay
from deploy.calling import print_json, say
from deploy.exit_codes import Exit
from deploy.service_access import add_access_options
from gateway.client.answers import FeedEntry
from gateway.client.api_error import ApiError
from gateway.client.async_client import AsyncClient
from gateway.client.listen import LATEST
from gateway.client.refusal import failure_of

_WAIT_S = 60
_AGAIN_S = 1.0


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    command = commands.add_parser("watch", help="follow an edit, a batch, or everything", allow_abbrev=False)
    command.add_argument("id", nargs="?", metavar="EDIT_OR_BATCH", help="until it has ended (everything, until Ctrl-C)")
    add_output_options(command)
    add_access_options(command)
    command.set_defaults(verb=watch)


async def watch(options: argparse.Namespace, client: AsyncClient, console: Console) -> Exit:
    """With --json a line for each change. Raises ApiError: of an edit that failed, too."""
    if options.id is None:
        return await _everything(options, client, console)
    if options.id.startswith("batch_"):
        return await _batch(options, client, console)
    async for job in client.stream(options.id):
        progress = job["progress"]
        waiting = f", waiting for {progress['waiting_on'].replace('_', ' ')}" if progress["waiting_on"] else ""
        stage = f" ({progress['stage']}{waiting})" if progress["stage"] not in ("queued", "done") else waiting
        print_json(job, console) if options.json else say(f"{_now()}  {job['status']}{stage}", console)
    if job["output"] is None:
        raise failure_of(job)
    return Exit.DONE


async def _batch(options: argparse.Namespace, client: AsyncClient, console: Console) -> Exit:
    with BatchDisplay(Console(stderr=True) if options.json else console) as display:
        async for batch in client.stream_batch(options.id):
            if options.json:
                print_json(batch, console)
            else:
                display.stands(batch)
    if not options.json:
        counts = batch["counts"]
        say(
            f"{batch['status']}: {counts['succeeded']} succeeded, {counts['failed']} failed, {counts['canceled']} canceled",
            console,
        )
    if batch["status"] == "held":
        return Exit.HELD
    return Exit.DONE if batch["status"] == "completed" else Exit.FAILED


async def _everything(options: argparse.Namespace, client: AsyncClient, console: Console) -> Exit:
    after, is_away = LATEST, False
    while True:
        try:
            page = await client.events(after, wait_s=0 if after == LATEST else _WAIT_S)
        except ApiError as error:
            if not (error.status == 0 or error.is_busy or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR):
                raise
            if not is_away:
                say(f"{error.detail}; trying again until it answers", Console(stderr=True))
            is_away = True
            await asyncio.sleep(_AGAIN_S)
            continue
        after, is_away = page["next_cursor"], False
        for event in page["events"]:
            print_json(event, console) if options.json else say(_line(event), console)


def _line(event: FeedEntry) -> str:
    at = datetime.fromisoformat(event["created_at"]).astimezone().strftime("%H:%M:%S")
    return f"{at}  {event['type']:<15}  {event['edit_id'] or event['batch_id']}"


def _now() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
