"""`edit-studio usage`: what was done and what it cost."""

import argparse

from rich.console import Console
from rich.table import Column, Table

from deploy.arguments import add_output_options, day
from deploy.calling import print_json, say, usd
from deploy.exit_codes import Exit
from deploy.service_access import add_access_options
from gateway.client.async_client import AsyncClient

_COUNTS = ("succeeded", "failed", "canceled")


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    command = commands.add_parser("usage", help="what was done, and what it cost", allow_abbrev=False)
    command.add_argument("--from", dest="first", type=day, metavar="DAY", help="YYYY-MM-DD, UTC (29 days before --to)")
    command.add_argument("--to", dest="last", type=day, metavar="DAY", help="YYYY-MM-DD, UTC (today)")
    command.add_argument("--by", default="day", metavar="COLUMNS", help="comma-separated: day, model, key (day)")
    add_output_options(command)
    add_access_options(command)
    command.set_defaults(verb=usage)


async def usage(options: argparse.Namespace, client: AsyncClient, console: Console) -> Exit:
    """A table with its sums, and what is left of the limits. Raises ApiError."""
    found = await client.usage(first=options.first, last=options.last, group_by=options.by)
    if options.json:
        print_json(found, console)
        return Exit.DONE
    groups = options.by.split(",")
    right = [Column(name, justify="right") for name in (*_COUNTS, "USD")]
    table = Table(*groups, *right, box=None, show_footer=False)
    for row in (*found["rows"], found["total"]):
        values = {**row}
        is_total = row is found["total"]
        named = [str(values[name] or "") for name in groups]
        table.add_row(
            *(["total", *named[1:]] if is_total else named),
            *(str(values[name]) for name in _COUNTS),
            usd(row["usd"]).removesuffix(" USD"),
            style="bold" if is_total else None,
        )
    console.print(table)
    for name, period in (("today", found["spending"]["daily"]), ("this month", found["spending"]["monthly"])):
        if period["limit"] is not None:
            spent = f"{usd(period['spent'])} spent, {usd(period['reserved'])} reserved"
            say(f"{name}: {usd(period['left'])} left of {usd(period['limit'])} ({spent})", console)
    return Exit.DONE
