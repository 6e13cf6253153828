"""`edit-studio batch`: the pictures of a folder, or the rows of a CSV file, edited as one batch, their results in a folder."""

import argparse
import asyncio
import contextlib
import json
import shlex
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy.arguments import add_output_options, amount, assignment, count, rate
from deploy.batch_display import BatchDisplay
from deploy.exit_codes import Exit, exit_of
from deploy.service_access import access, add_access_options
from gateway.client.answers import Batch
from gateway.client.api_error import ApiError
from gateway.client.async_client import AsyncClient
from gateway.client.batch_journal import NAME, Item, Journal, JournalUnusable
from gateway.client.batch_manifest import JSON, Row, manifest_rows, write_manifests
from gateway.client.batch_run import BatchRun
from gateway.client.batch_source import SourceUnusable, Wanted, read_source, request_fields

_COMMAND = "batch"
_CONCURRENCY, _CONCURRENCY_MAX = 8, 64
_FAILURES_SHOWN = 10
_STATUSES = ("succeeded", "failed", "canceled", "gone", "unfinished")
_NAME_MAX_CHARS = 200
_Wishes = tuple[list[Wanted], dict[str, Any]]  # the edits, and the fields of their batch
_EPILOG = """\
A CSV file has the column image (path or URL), and may have prompt, custom_id and any field of a request; columns mask,
background_image and lighting_image take paths and URLs, too. The same command again goes on where it was cut off."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    command = commands.add_parser(
        _COMMAND,
        help="edit a folder of pictures, or the rows of a CSV file",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("source", type=Path, metavar="FOLDER_OR_CSV")
    command.add_argument("prompt", nargs="?", metavar="PROMPT", help="what is to be done, where a row says nothing else")
    command.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (FOLDER-edited)")
    command.add_argument("--recursive", action="store_true", help="also the pictures in folders of the folder")
    command.add_argument("--model", help="the model that is to be used (chosen by cost)")
    command.add_argument("--operation", help="what is to be done (general_edit)")
    command.add_argument("--set", action="append", default=[], type=assignment, metavar="FIELD=VALUE", help="any other field")
    command.add_argument("--max-cost", type=amount, metavar="USD", help="hold the batch before it costs more")
    command.add_argument("--canary", type=count, metavar="N", help="hold the batch after so many edits, to look at them")
    command.add_argument("--stop-on-failure-rate", type=rate, metavar="RATE", help="hold the batch above it; 0.1 is 10 %%")
    command.add_argument("--dedupe", action="store_true", default=None, help="do equal edits once")
    command.add_argument(
        "--concurrency", type=_concurrency, default=_CONCURRENCY, metavar="N", help=f"uploads, downloads at once ({_CONCURRENCY})"
    )
    then = command.add_mutually_exclusive_group()
    then.add_argument("--release", action="store_true", help="let the held batch go on, with a new --max-cost if one is given")
    then.add_argument("--cancel", action="store_true", help="stop the batch; what has ended is kept")
    add_output_options(command)
    add_access_options(command)


def batch(options: argparse.Namespace) -> int:
    """Run until the batch has ended or is held; the exit code. SIGINT and SIGTERM leave the batch running. Raises NoAccess."""
    return asyncio.run(_until_a_signal(options))


async def _until_a_signal(options: argparse.Namespace) -> int:
    console = Console(stderr=options.json)
    running = asyncio.create_task(run(options, console))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        return await running
    return Exit.INTERRUPTED


async def run(options: argparse.Namespace, console: Console) -> int:
    """The exit code. Canceled, it says how to go on and leaves the batch running. Raises NoAccess."""
    address, key = access(options)
    try:
        out, wishes = await asyncio.to_thread(_wishes, options)
        display = BatchDisplay(console)
        with await asyncio.to_thread(Journal, out) as journal:
            async with AsyncClient(address, key) as client:
                work = BatchRun(client, journal, options.concurrency, display.step, display.stands)
                return await _run(options, work, wishes, display)
    except (SourceUnusable, JournalUnusable) as error:
        _complain(str(error))
        return Exit.WRONG_USAGE
    except OSError as error:
        _complain(f"{error}; the same command goes on from here")
        return Exit.FAILED


def _wishes(options: argparse.Namespace) -> tuple[Path, _Wishes | None]:
    """The folder for the results, and what is asked for unless a batch is only to be steered. Raises SourceUnusable."""
    source: Path = options.source.resolve()
    out: Path = options.out or source.with_name(f"{source.stem if source.suffix.lower() == '.csv' else source.name}-edited")
    if options.release or options.cancel:
        if not (out / NAME).exists():
            raise SourceUnusable(f"there is no batch in {out}")
        return out, None
    own = {"operation": options.operation, "model": options.model, "prompt": options.prompt}
    texts = {name: text for name, text in own.items() if text is not None} | dict(options.set)
    defaults = request_fields(texts)
    wanted = read_source(source, recursive=options.recursive, out=out, defaults=defaults)
    # A batch has one priority for all of its edits.
    fields: dict[str, Any] = {"priority": defaults.pop("priority", "bulk"), "defaults": defaults}
    given = {name: getattr(options, name) for name in ("max_cost", "canary", "stop_on_failure_rate", "dedupe")}
    fields |= {name: value for name, value in given.items() if value is not None}
    return out, (wanted, fields | {"name": source.name[:_NAME_MAX_CHARS]})


async def _run(options: argparse.Namespace, work: BatchRun, wishes: _Wishes | None, display: BatchDisplay) -> int:
    """From the beginning, or from where the last run ended, to the manifest."""
    journal, found = work.journal, None
    items: Sequence[Item] = ()
    try:
        with display:
            if wishes is not None:
                items = await work.begin(*wishes)
            elif journal.submitted is None:
                raise SourceUnusable(f"no batch was submitted with results for {journal.folder} yet")
            else:
                await _steer(options, work.client, journal.submitted.batch_id)
            if journal.submitted is not None:
                found = await work.follow()
    except ApiError as error:
        code = exit_of(error)
        _complain(f"{error}; the same command goes on from here" if code is Exit.UNREACHABLE else str(error))
        return code
    except asyncio.CancelledError:
        _say_how_to_go_on(options, journal, display)
        raise
    finally:
        items = journal.submitted.items if journal.submitted is not None else items
        rows, batch_id = manifest_rows(items, journal.outcomes), journal.submitted.batch_id if journal.submitted else None
        if rows:
            await asyncio.to_thread(write_manifests, journal.folder, batch_id, rows)
    return _report(options, journal, rows, found, display)


async def _steer(options: argparse.Namespace, client: AsyncClient, batch_id: str) -> None:
    try:
        if options.cancel:
            await client.cancel_batch(batch_id)
        else:
            await client.release_batch(batch_id, max_cost=options.max_cost)
    except ApiError as error:
        # There is nothing left to be steered, but results may be left to be saved.
        if error.code != "already_finished":
            raise


def _report(
    options: argparse.Namespace, journal: Journal, rows: Sequence[Row], found: Batch | None, display: BatchDisplay
) -> int:
    counts = Counter(row.status for row in rows)
    failed = [row for row in rows if row.status in ("failed", "gone") or (row.status == "succeeded" and row.result is None)]
    for row in failed[:_FAILURES_SHOWN]:
        display.say(f"failed: {row.source}: {row.error}")
    if len(failed) > _FAILURES_SHOWN:
        display.say(f"and {len(failed) - _FAILURES_SHOWN} more, see {JSON}")
    usd = found["cost"]["actual"] if found else 0.0
    told = ", ".join(f"{counts[status]} {status}" for status in _STATUSES if counts[status])
    display.say(f"{told}; {usd:.4g} USD; results and manifest in {journal.folder}")
    is_held = found is not None and found["status"] == "held"
    if found is not None and is_held:
        display.say(f"held ({found['held_reason']}); look at the results, then let it go on or stop it:")
        more = " --max-cost USD" if found["held_reason"] == "max_cost" else ""
        display.say(f"  {_command(options, '--release')}{more}\n  {_command(options, '--cancel')}")
    if options.json:
        document = {
            "batch_id": found and found["id"],
            "status": found["status"] if found else "failed",
            "held_reason": found and found["held_reason"],
            "counts": counts,
            "cost": usd,
            "manifest": str(journal.folder / JSON),
        }
        print(json.dumps(document))
    if is_held:
        return Exit.HELD
    return Exit.DONE if counts["succeeded"] == len(rows) and not failed else Exit.FAILED


def _say_how_to_go_on(options: argparse.Namespace, journal: Journal, display: BatchDisplay) -> None:
    if journal.submitted is None:
        display.say("nothing was submitted; the same command goes on with what is uploaded")
        return
    display.say(f"{journal.submitted.batch_id} goes on; the same command saves its results, this one stops it:")
    display.say(f"  {_command(options, '--cancel')}")


def _complain(text: str) -> None:
    Console(stderr=True).print(f"edit-studio: {text}", soft_wrap=True, highlight=False, markup=False)


def _command(options: argparse.Namespace, action: str) -> str:
    """The command that does this to the batch of these options."""
    words = ["edit-studio", _COMMAND, str(options.source), action]
    given: Mapping[str, Any] = {"--out": options.out, "--api": options.api, "--key-file": options.key_file}
    for name, value in {**given, "--data-dir": options.data_dir}.items():
        words += [name, str(value)] if value is not None else []
    return shlex.join(words)


def _concurrency(text: str) -> int:
    if (number := count(text)) > _CONCURRENCY_MAX:
        raise argparse.ArgumentTypeError(f"{text} are more than {_CONCURRENCY_MAX}")
    return number
