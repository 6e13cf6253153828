"""`python -m tests.load SCENARIO [options]`: real processes under load and faults. Exit code 1: a promise is broken."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.load import budget, chaos, hundred_thousand, outages, soak, ten_thousand

_SCENARIOS = {
    module.__name__.rpartition(".")[2]: module for module in (ten_thousand, hundred_thousand, budget, chaos, outages, soak)
}


def main(arguments: Sequence[str]) -> int:
    """One scenario."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    scenarios = parser.add_subparsers(dest="scenario", required=True)
    for name, module in _SCENARIOS.items():
        module.arguments(scenarios.add_parser(name, help=module.__doc__, description=module.__doc__))
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="edit-studio-load-") as folder:
        return asyncio.run(_SCENARIOS[asked.scenario].run(asked, Path(folder) / "stack"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
