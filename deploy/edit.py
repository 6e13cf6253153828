"""`edit-studio edit`: one picture, one wish, the edited picture in a file."""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from rich.console import Console

from deploy.arguments import add_output_options, amount, assignment, seconds
from deploy.calling import print_json, say, usd
from deploy.exit_codes import Exit
from deploy.service_access import add_access_options
from deploy.standalone import environment
from deploy.terminal_picture import show
from gateway.client.answers import Job
from gateway.client.api_error import PictureUnusable
from gateway.client.async_client import AsyncClient
from gateway.client.batch_source import request_fields
from gateway.client.pictures import Picture, ending_of
from gateway.client.refusal import failure_of

_TIMEOUT_S = 900.0
_STANDARD = "-"
_EPILOG = """\
A picture is a path, a URL, the id of an upload or of an earlier edit, or - for standard input. The result goes beside the
picture, as NAME-edited, unless --out says where; --out - writes it to standard output. A command that was cut off and has
an --idempotency-key goes on with the same edit when it is given again."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    command = commands.add_parser(
        "edit",
        help="edit one picture",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("image", metavar="PICTURE")
    command.add_argument("prompt", nargs="?", metavar="PROMPT", help="what is to be done")
    command.add_argument("--out", metavar="FILE", help="file or folder for the result")
    command.add_argument("--operation", help="what is to be done (general_edit)")
    command.add_argument("--model", help="the model that is to be used (chosen by cost)")
    command.add_argument("--mask", metavar="PICTURE", help="where it is to be done: white, or transparent")
    command.add_argument("--background-image", metavar="PICTURE", help="relight: the new background")
    command.add_argument("--lighting-image", metavar="PICTURE", help="relight: where the light comes from")
    command.add_argument("--reference", metavar="PICTURE", action="append", default=[], help="one more picture; may be repeated")
    command.add_argument("--max-cost", type=amount, metavar="USD", help="the most that it may cost")
    command.add_argument("--set", action="append", default=[], type=assignment, metavar="FIELD=VALUE", help="any other field")
    command.add_argument("--idempotency-key", metavar="KEY", help="the same key and request again are the same edit")
    command.add_argument("--timeout", type=seconds, default=_TIMEOUT_S, metavar="S", help=f"wait so long ({_TIMEOUT_S:.0f})")
    command.add_argument("--no-wait", action="store_true", help="submit it and print its id")
    add_output_options(command)
    add_access_options(command)
    command.set_defaults(verb=edit)


async def edit(options: argparse.Namespace, client: AsyncClient, console: Console) -> Exit:
    """Submit, wait, save. Raises ApiError, PictureUnusable, SourceUnusable, TimeoutError, OSError."""
    if options.out == _STANDARD and (options.json or sys.stdout.isatty()):
        raise PictureUnusable("--out -: a picture is not written to a terminal, nor together with --json")
    own = {"operation": options.operation, "model": options.model, "prompt": options.prompt}
    given = {name: text for name, text in own.items() if text is not None}
    fields = request_fields(given | dict(options.set)) | ({} if options.max_cost is None else {"max_cost": options.max_cost})
    image: Picture = await asyncio.to_thread(sys.stdin.buffer.read) if options.image == _STANDARD else options.image
    job = await client.submit(
        image,
        fields.pop("prompt", None),
        mask=options.mask,
        background_image=options.background_image,
        lighting_image=options.lighting_image,
        references=options.reference,
        idempotency_key=options.idempotency_key,
        **fields,
    )
    if options.no_wait:
        print_json(job, console) if options.json else say(job["id"], console)
        return Exit.DONE
    job = await follow(job, client, timeout_s=options.timeout)
    if job["output"] is None:
        if options.json:
            print_json(job, console)
        raise failure_of(job)
    if options.out == _STANDARD:
        content = await client.result(job["id"])
        await asyncio.to_thread(_write, content)
        return Exit.DONE
    file = await client.save_result(job, options.out or _free_name(options.image, job))
    if options.json:
        print_json({**job, "file": str(file)}, console)
        return Exit.DONE
    size = f"{job['output']['width']}×{job['output']['height']} {job['output']['format']}"
    say(f"{file}  {size}  {job['model']}  {usd(job['cost']['actual'])}", console)
    await asyncio.to_thread(show, file, console, environment.terminal())
    return Exit.DONE


async def follow(job: Job, client: AsyncClient, *, timeout_s: float) -> Job:
    """The edit once it has ended; a terminal sees how far it is. Canceled, it says how to go on. Raises like `wait`."""
    notes, began = Console(stderr=True), time.monotonic()
    with notes.status("queued") as status:

        def changed(now: Job) -> None:
            progress, waiting = now["progress"], now["progress"]["waiting_on"]
            told = f"{progress['stage']}, waiting for {waiting.replace('_', ' ')}" if waiting else progress["stage"]
            status.update(f"{told} · {now['model'] or now['requested_model'] or ''} · {time.monotonic() - began:.0f} s")

        try:
            return await client.wait(job["id"], timeout_s=timeout_s, on_change=changed)
        except asyncio.CancelledError:
            say(f"{job['id']} goes on: `edit-studio watch` follows it, `edit-studio jobs {job['id']} --cancel` stops it", notes)
            raise


def _free_name(source: str, job: Job) -> Path:
    """Beside the picture, and not in the place of another file."""
    assert job["output"] is not None
    path, ending = Path(source), ending_of(job["output"])
    if not path.is_file():
        return Path(f"{job['id']}.{ending}")
    number, file = 1, path.with_name(f"{path.stem}-edited.{ending}")
    while file.exists():
        number += 1
        file = path.with_name(f"{path.stem}-edited-{number}.{ending}")
    return file


def _write(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
