"""What must hold after chaos: nothing lost, nothing twice, one event each, nothing paid for without need, everything right."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from shared.job import Course
from tests.audit import audit
from tests.end_to_end.bulk import feed_of, one_event_each, records_of, stored_results
from tests.end_to_end.caller import PICTURE, SIZE, TERMINAL, Caller, until
from tests.end_to_end.chaos import Chaos, Load
from tests.end_to_end.known_edits import Judge
from tests.pictures import opened

_TOLD_S = 120.0  #: a webhook whose sender was killed is due again after a minute


@dataclass(frozen=True)
class Finding:
    """One promise: where it does not hold, and how often it was looked at."""

    what: str
    wrong: list[object]
    of: int


@dataclass(frozen=True)
class _Ended:
    id: str
    state: str
    kills: int
    error_code: str
    micro_usd: int
    course: Course


@dataclass
class Judgement:
    """`facts`: what is worth telling beside."""

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)


async def judge(chaos: Chaos) -> Judgement:
    """Look at everything. Raises AssertionError where Redis is out of order."""
    caller, load = chaos.caller, chaos.load
    edits = load.edits
    rows = await records_of(caller, edits, "state", "kills", "error_code", "cost_micro_usd", "course")
    ended = [_ended(edit, row) for edit, row in zip(edits, rows, strict=True)]
    billed = Counter(submit["prompt"] for submit in await asyncio.to_thread(caller.stack.ledger))
    unpromised = await _unpromised(caller)
    seen = {key.removeprefix("job:") for key in await caller.store.keys("job:*")} - unpromised
    ghosts = [*(seen - set(edits)), *(edit for edit, count in Counter(edits).items() if count > 1)]
    good = [one for one in ended if one.state == "succeeded"]
    looks = sum(watch.looks + watch.compared for watch in chaos.watches)
    told, waiting = await _told(caller, load, {one.id: one.state for one in ended})
    findings = [
        Finding("edits lost, or not ended", [one for one in ended if one.state not in TERMINAL], len(ended)),
        Finding("edits that nobody submitted, or twice", ghosts, len(seen)),
        # Three workers were killed under it, which only chaos does to an innocent edit.
        Finding(
            "edits that failed for another reason than 3 killed workers",
            [one for one in ended if not _as_promised(one)],
            len(ended),
        ),
        Finding("results of the wrong pixels", await _wrong_results(caller, load, [one.id for one in good]), len(good)),
        Finding(
            "ends that are not exactly one event",
            one_event_each(await feed_of(caller), edits, load.batches),
            len(edits) + len(load.batches),
        ),
        Finding("told otherwise than once under one webhook-id", told, len(caller.receiver.ids)),
        Finding("paid calls without need", [one for one in ended if _overpaid(one, load, billed)], len(load.paid)),
        Finding("batches' counts that do not add up", [wrong for watch in chaos.watches for wrong in watch.wrong], looks),
        Finding("charges that are not the tenant's spending", await _wrong_money(caller, ended), len(ended)),
    ]
    await audit(caller.store)
    facts: dict[str, object] = {
        "killed": dict(chaos.killed),
        "states": dict(Counter(one.state for one in ended)),
        "edits by workers lost": dict(sorted(Counter(one.kills for one in ended).items())),
        "batches": len(load.batches),
        "items of batches that were cut off before they were promised": len(unpromised),
        "paid calls, twice while in doubt": f"{sum(billed.values()):,}, {sum(count > 1 for count in billed.values())}",
        "webhooks still on their way": waiting,
    }
    return Judgement(findings, facts)


def _ended(edit: str, row: list[str | None]) -> _Ended:
    state, kills, error_code, micro_usd, course = row
    return _Ended(
        edit, state or "", int(kills or 0), error_code or "", int(micro_usd or 0), Course.model_validate_json(course or "{}")
    )


def _as_promised(one: _Ended) -> bool:
    return one.state == "succeeded" or (one.state, one.error_code, one.kills) == ("failed", "worker_crashed", 3)


def _overpaid(one: _Ended, load: Load, billed: "Counter[str]") -> bool:
    """Whether it was paid for more often than could not be known, or never although it succeeded."""
    if one.id not in load.paid:
        return False
    times, crashed = billed[load.paid[one.id]], one.state == "failed"
    in_doubt = sum(line.billed is None for line in one.course.lines) + crashed
    return times > 1 + in_doubt or (times < 1 and not crashed)


async def _unpromised(caller: Caller) -> set[str]:
    """Items of batches whose gateway was killed while it read them."""
    found: set[str] = set()
    for key in await caller.store.keys("batch:*"):
        if await caller.store.type(key) == "hash" and await caller.store.hget(key, "state") in ("expanding", "abandoned"):  # type: ignore[misc]
            found.update(await caller.store.zrange(f"{key}:items", 0, -1))
    return found


async def _wrong_results(caller: Caller, load: Load, edits: list[str]) -> list[object]:
    files, judged, source = await stored_results(caller, edits), Judge(), opened(PICTURE).convert("RGB").tobytes()

    def is_right(edit: str, file: Path) -> bool:
        if edit in load.known:
            return judged.is_right(file.read_bytes(), *load.known[edit])
        with Image.open(file) as result:
            return result.size == SIZE and result.convert("RGB").tobytes() != source

    return await asyncio.to_thread(lambda: [edit for edit, file in zip(edits, files, strict=True) if not is_right(edit, file)])


async def _told(caller: Caller, load: Load, states: dict[str, str]) -> tuple[list[object], int]:
    """What is wrong with the webhooks that were taken, and how many still wait in the outbox."""
    store, heard = caller.store, caller.receiver.ids
    hooks = await records_of(caller, load.edits, "hook")
    wanted = {edit for edit, (hook,) in zip(load.edits, hooks, strict=True) if hook} | set(load.batches)
    for batch in load.batches:
        states[batch] = str(await store.hget(f"batch:{batch}", "state"))  # type: ignore[misc]
    missing: set[str] = set()
    in_outbox: set[str] = set()

    async def so() -> bool:
        nonlocal missing, in_outbox
        lines = await store.keys("outbox:*")
        in_outbox = {name.split("_")[1] for line in lines for name in await store.zrange(line, 0, -1)}
        missing = {one for one in wanted - heard.keys() if one.partition("_")[2] not in in_outbox}
        return not missing

    await until(so, lambda: f"neither told nor in the outbox: {sorted(missing)[:5]}", deadline_s=_TOLD_S)
    wrong: list[object] = [f"{one} was told under {dict(ids)}" for one, ids in heard.items() if len(ids) != 1]
    wrong += [f"{one} is nobody's" for one in heard.keys() - wanted]
    told = caller.receiver.states
    wrong += [f"{one} was told as {told[one]}, is {states[one]}" for one in heard.keys() & wanted if told[one] != states[one]]
    return wrong, len(in_outbox)


async def _wrong_money(caller: Caller, ended: list[_Ended]) -> list[object]:
    rows = [await caller.store.hget(key, "spent") for key in await caller.store.keys("spend:default:d*")]  # type: ignore[misc]
    spent, charged = sum(int(row or 0) for row in rows), sum(one.micro_usd for one in ended)
    return [] if spent == charged else [f"charged {charged}, spent {spent}"]
