"""`python -m tests.bench [path …] [--quick] [--json]`: ratios against baselines that are measured in the same run."""

import argparse
import json
import sys
import time
from collections.abc import Sequence

import uvloop

from tests.bench import (
    batch,
    body,
    drain,
    fan_out,
    in_flight,
    many_workers,
    memory,
    one_edit,
    pickup,
    provider_call,
    status,
    submit,
    webhooks,
)
from tests.bench.figures import Figure, Rounds, table
from tests.bench.machine import facts

_PATHS = {
    module.NAME: module.run
    for module in (
        submit,
        status,
        pickup,
        drain,
        body,
        many_workers,
        memory,
        fan_out,
        batch,
        provider_call,
        in_flight,
        one_edit,
        webhooks,
    )
}


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("paths", nargs="*", metavar="path", help=f"of {', '.join(_PATHS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: under 90 s instead of 5 minutes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.paths) - set(_PATHS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(_PATHS)}")
    rounds = Rounds(1, 0.3) if asked.quick else Rounds(5, 0.7)
    machine, started, figures = facts(), time.monotonic(), []
    for name in asked.paths or _PATHS:
        sys.stderr.write(f"{name} …\n")
        figures += uvloop.run(_PATHS[name](rounds))
    seconds = round(time.monotonic() - started)
    if asked.json:
        document = {"machine": machine, "seconds": seconds, "figures": [one.as_json() for one in figures]}
        print(json.dumps(document, indent=2))
        return 0
    print(_said(machine, figures, seconds))
    return 0


def _said(machine: dict[str, object], figures: Sequence[Figure], seconds: int) -> str:
    missed = sum(figure.met is False for figure in figures)
    about = ", ".join(f"{name} {value}" for name, value in machine.items())
    return f"{about}\n\n{table(figures)}\n\n{len(figures)} figures in {seconds} s, {missed} goals missed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
