"""Faults on demand: `[[sim: 429*2, slow=3s, truncated]]` at the end of a prompt, or the same list in the `X-Sim` header.

A fault is `name`, `name=SECONDSs` or either with `*COUNT`. With a count it strikes that often per key (prompt, with its tail, and
picture), without one it strikes always. Names:

    401 402 403 404 429 503 …  the submit is answered with this status; `429=2s` adds `Retry-After: 2`
    5xx                        the same as 503
    hang                       the submit is never answered and nothing is accepted
    lost-answer                the submit is accepted and billed, the connection breaks before the answer
    slow=3s  stuck             the task takes 3 s; the task never ends
    1200 1401 1402 5000 …      the task fails with this code; `moderated` is 1200
    nsfw                       the task completes, its output flagged
    cancelled timeout deleted  the task ends with this status
    odd-status                 the task has a status that nobody documents until it completes
    objects  no-outputs        the outputs are objects instead of texts; there are none
    truncated html blank       the output is cut off; a page instead of a picture; one colour
    placeholder  echo          the same picture for every input; the input itself
    poll-503  output-404  …    polls of the task, downloads of its output are answered with this status
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

_TAIL = re.compile(r"\s*\[\[sim:([^\]]*)\]\]\s*$")
_ITEM = re.compile(r"(?P<name>[a-z0-9-]+)(?:=(?P<seconds>\d+(?:\.\d+)?)s?)?(?:\*(?P<count>\d+))?")
_STATUS = re.compile(r"[45]\d\d")
_CODE = re.compile(r"[1-9]\d{3}")
_LATER = re.compile(r"(poll|output)-[45]\d\d")
_ANSWERS_AND_TASKS = ("hang", "lost-answer", "slow", "stuck", "nsfw", "cancelled", "timeout", "deleted", "odd-status")
_OUTPUTS = ("objects", "no-outputs", "truncated", "html", "blank", "placeholder", "echo")
_WORDS = frozenset((*_ANSWERS_AND_TASKS, *_OUTPUTS))
_SAME = {"5xx": "503", "moderated": "1200"}
_KEYS_MAX = 10_000


class FaultUnknown(ValueError):
    """The list of faults holds something that is not a fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `seconds`: what stands after `=`; `count`: how often it strikes, None for always."""

    name: str
    seconds: float | None = None
    count: int | None = None

    @property
    def is_answer(self) -> bool:
        """Whether the submit is refused or left unanswered instead of being accepted."""
        return self.name == "hang" or bool(_STATUS.fullmatch(self.name))

    @property
    def code(self) -> int | None:
        """The code that the task fails with, if that is what this fault does."""
        return int(self.name) if _CODE.fullmatch(self.name) else None


def parse(text: str) -> tuple[Fault, ...]:
    """The faults in a list such as `429*2, slow=3s`. Raises FaultUnknown."""
    faults = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        found = _ITEM.fullmatch(item)
        name = _SAME.get(found["name"], found["name"]) if found else ""
        if not found or not (name in _WORDS or any(kind.fullmatch(name) for kind in (_STATUS, _CODE, _LATER))):
            raise FaultUnknown(f"the simulator knows no fault {item!r}")
        seconds, count = found["seconds"], found["count"]
        faults.append(Fault(name, float(seconds) if seconds else None, int(count) if count else None))
    return tuple(faults)


def split_prompt(prompt: str) -> tuple[str, tuple[Fault, ...]]:
    """The prompt without its tail, and the faults of the tail. Raises FaultUnknown."""
    tail = _TAIL.search(prompt)
    return (prompt[: tail.start()], parse(tail[1])) if tail else (prompt, ())


class FaultCounts:
    """How often each counted fault has struck, per key; the longest unused keys are forgotten."""

    def __init__(self) -> None:
        self._struck: OrderedDict[tuple[str, Fault], int] = OrderedDict()

    def strike(self, faults: Iterable[Fault], key: str) -> tuple[Fault, ...]:
        """The faults that strike this submit: the first one that answers it, alone, or else all others that are left."""
        key = hashlib.sha256(key.encode(errors="replace")).hexdigest()
        left = [fault for fault in faults if fault.count is None or self._struck.get((key, fault), 0) < fault.count]
        answer = next((fault for fault in left if fault.is_answer), None)
        struck = [answer] if answer else left
        for fault in struck:
            if fault.count is not None:
                self._struck[key, fault] = self._struck.pop((key, fault), 0) + 1
        while len(self._struck) > _KEYS_MAX:
            self._struck.popitem(last=False)
        return tuple(struck)

    def clear(self) -> None:
        """Forget all of them."""
        self._struck.clear()
