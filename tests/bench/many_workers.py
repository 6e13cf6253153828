"""One queue of 50 ms jobs: what four worker processes do that one does not. Stock arq's fight over the head of the queue."""

from tests.bench.drain import drain_arq, drain_ours
from tests.bench.figures import Figure, Goal, Rounds, interleaved

NAME = "workers"
_SLOTS = 32
_SECONDS = 0.05
_JOBS = 1_000


async def run(rounds: Rounds) -> list[Figure]:
    """Fewer rounds than elsewhere: each begins and ends ten processes. Slots are what a worker has by default."""
    count = rounds.some(_JOBS)
    fewer = Rounds(max(1, rounds.count // 2), rounds.scale)
    work = f"sleep:{_SECONDS}"
    found = await interleaved(
        fewer,
        arq_one=lambda: drain_arq(count, workers=1, slots=_SLOTS, seconds=_SECONDS),
        arq_four=lambda: drain_arq(count * 2, workers=4, slots=_SLOTS, seconds=_SECONDS),
        one=lambda: drain_ours(count, workers=1, slots=_SLOTS, work=work),
        four=lambda: drain_ours(count * 4, workers=4, slots=_SLOTS, work=work),
    )
    one, four = found["one"], found["four"]
    notes = {
        "arq one": found["arq_one"]["per_s"],
        "arq four": found["arq_four"]["per_s"],
        "cpu_us": four["cpu_us workers"],
        "redis cpu_us": four["cpu_us redis"],
        "ideal of four": 4 * _SLOTS / _SECONDS,
    }
    calls = {"with those in scripts": four["commands"], "one worker": one["calls"], "arq four": found["arq_four"]["commands"]}
    return [
        Figure(NAME, f"4 against 1, {_SLOTS} slots, 50 ms jobs", "jobs/s", four["per_s"], one["per_s"], Goal(3.2), notes),
        Figure(NAME, "Redis calls a job, 4 workers", "calls", four["calls"], None, Goal(10, "at most", "ours"), calls),
    ]
