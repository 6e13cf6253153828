"""`python -m tests.model_table`: every model with every operation of it on the simulator, as the table of a page.

Starts its own redis-server, S3 server and simulator in a temporary folder and ends them. Exits with 1 when a pair fails, returns
another size than it should, costs another amount than was said, or was sent a parameter that its vendor does not declare.
`--record`: also writes the request bodies to tests/data/request_bodies.json, which a test compares with.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from shared.catalog.load import load_catalog
from tests.model_pairs import all_pairs
from tests.readme_tables import ROOT, placed
from tests.servers import RedisServer, S3Server
from tests.simulated_run import Ran, run_pairs

BODIES = Path(__file__).parent / "data/request_bodies.json"
PAGE = ROOT / "shared/catalog/EVERY_MODEL.md"
COMMAND = "python -m tests.model_table"


def table(found: Sequence[Ran]) -> str:
    """One row a pair."""
    lines = ["| model | operation | sent → came back → delivered | USD | parameters | |", "|---|---|---|---|---|---|"]
    for ran in found:
        pair, geometry = ran.pair, ran.record.course.geometry
        sizes = (geometry.sent, geometry.received, geometry.delivered) if geometry else ()
        way = " → ".join(f"{width}×{height}" for width, height in sizes)
        sent = len(ran.requests[0].body) if ran.requests else ""
        verdict = "; ".join(ran.faults()) or "✓"
        lines.append(f"| `{pair.model.id}` | {pair.operation} | {way} | {ran.price_usd:f} | {sent} | {verdict} |")
    return "\n".join(lines)


def bodies(found: Sequence[Ran]) -> dict[str, Any]:
    """What each pair's provider was sent."""
    return {ran.pair.name: [{"path": request.path, **request.body} for request in ran.requests] for ran in found if ran.requests}


def main() -> int:
    """Run all, print the table, put it into the page."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {BODIES.name} too")
    record = parser.parse_args().record
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edit-studio-table-")))
        redis, s3 = stack.enter_context(RedisServer(folder / "redis")), stack.enter_context(S3Server(folder / "s3"))
        found = asyncio.run(run_pairs(all_pairs(load_catalog()), {**redis.settings, **s3.settings}))
    sys.stdout.write(f"{table(found)}\n")
    if any(ran.faults() for ran in found):
        return 1
    PAGE.write_text(placed(PAGE.read_text(), "pairs", COMMAND, table(found)))
    if record:
        BODIES.write_text(f"{json.dumps(bodies(found), indent=1, ensure_ascii=False)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
