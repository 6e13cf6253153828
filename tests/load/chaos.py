"""Many edits, single and in batches, through many kill -9 of workers, gateway and Redis."""

import argparse
import random
import time
from pathlib import Path

from tests.end_to_end.caller import calling
from tests.end_to_end.chaos import Chaos
from tests.end_to_end.chaos_judge import judge
from tests.end_to_end.stack import Stack
from tests.load.report import Report


def arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--edits", type=int, default=5_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--edits-a-second", type=float, default=25.0, help="as long as fewer than 400 are unfinished")


async def run(asked: argparse.Namespace, folder: Path) -> int:
    """The whole run."""
    report = Report(f"chaos: {asked.edits:,} edits, {asked.kills} kills, {asked.workers} workers, seed {asked.seed}")
    with Stack(folder) as stack:
        async with calling(stack) as caller:
            started = time.monotonic()
            chaos = Chaos(
                caller,
                asked.seed,
                edits=asked.edits,
                kills=asked.kills,
                edits_a_second=asked.edits_a_second,
                workers=asked.workers,
            )
            await chaos.run()
            report.tell("all ended after, s", time.monotonic() - started)
            judgement = await judge(chaos)
            for what, fact in judgement.facts.items():
                report.tell(what, fact)
            for finding in judgement.findings:
                report.nothing_wrong(finding.what, finding.wrong, of=finding.of)
            report.promise("audit of Redis", "nothing wrong", "nothing wrong", is_kept=True)
    return report.finish()
