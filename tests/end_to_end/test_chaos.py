"""A minute of chaos; `python -m tests.load chaos` makes a longer one. TEST_CHAOS_SEED: the same choices again."""

import os
import random
from pathlib import Path

from tests.end_to_end.caller import calling
from tests.end_to_end.chaos import Chaos
from tests.end_to_end.chaos_judge import judge
from tests.end_to_end.stack import Stack

_SEED = int(os.environ.get("TEST_CHAOS_SEED", random.SystemRandom().randrange(10**6)))
_EDITS, _KILLS, _EDITS_A_SECOND = 200, 30, 4.0


async def test_nothing_is_lost_or_doubled_in_chaos(tmp_path: Path) -> None:
    print(f"seed {_SEED}")
    with Stack(tmp_path / "stack") as stack:
        async with calling(stack) as caller:
            chaos = Chaos(caller, _SEED, edits=_EDITS, kills=_KILLS, edits_a_second=_EDITS_A_SECOND)
            await chaos.run()
            judgement = await judge(chaos)
            print(judgement.facts)
            wrong = [finding for finding in judgement.findings if finding.wrong]
            assert not wrong, wrong
            assert chaos.killed.total() == _KILLS
