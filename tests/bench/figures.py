"""What the bench finds out: figures, each beside its baseline, with the goal that it is held to."""

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound. `of`: the ratio of ours to the baseline, our figure itself, or ours less the baseline."""

    bound: float
    kind: Literal["at least", "at most"] = "at least"
    of: Literal["ratio", "ours", "added"] = "ratio"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the answer. `baseline`: None where the goal is absolute; `notes`: what else was seen."""

    path: str
    what: str
    unit: str
    ours: float
    baseline: float | None = None
    goal: Goal | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours to the baseline."""
        return self.ours / self.baseline if self.baseline else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        compared = {"ours": self.ours, "ratio": self.ratio, "added": self.ours - (self.baseline or 0.0)}[self.goal.of]
        if compared is None:
            return None
        return compared >= self.goal.bound if self.goal.kind == "at least" else compared <= self.goal.bound

    def as_json(self) -> dict[str, Any]:
        """The figure with what follows from it."""
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


@dataclass(frozen=True, slots=True)
class Rounds:
    """How long to measure: `count` rounds, each `scale` of its full length."""

    count: int
    scale: float

    def some(self, full: int) -> int:
        """So many operations instead of `full`."""
        return max(4, int(full * self.scale))


Measure = Callable[[], Awaitable[Mapping[str, float]]]


async def interleaved(rounds: Rounds, **contestants: Measure) -> dict[str, dict[str, float]]:
    """Each contestant once a round, in turn; of everything that it reports the median.

    A first round that is not counted warms up caches, connections and the processor's clock.
    """
    seen: dict[str, list[Mapping[str, float]]] = {name: [] for name in contestants}
    for number in range(rounds.count + 1):
        for name, measure in contestants.items():
            reported = await measure()
            if number:
                seen[name].append(reported)
    return {name: medians(reports) for name, reports in seen.items()}


def medians(reports: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds."""
    return {name: statistics.median(report[name] for report in reports) for name in reports[0]}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def table(figures: Sequence[Figure]) -> str:
    """All figures as text, the notes of each below it."""
    lines = [f"{'path':<14}{'what':<46}{'baseline':>11}{'ours':>11} {'unit':<9}{'ratio':>7}  {'goal':<22}met"]
    for one in figures:
        baseline = "" if one.baseline is None else number(one.baseline)
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
        goal = "" if one.goal is None else f"{one.goal.of} {one.goal.kind} {one.goal.bound:g}"
        met = {True: "yes", False: "NO", None: ""}[one.met]
        lines.append(f"{one.path:<14}{one.what:<46}{baseline:>11}{number(one.ours):>11} {one.unit:<9}{ratio:>7}  {goal:<22}{met}")
        if one.notes:
            lines.append(" " * 14 + ", ".join(f"{name} {_shown(value)}" for name, value in one.notes.items()))
    return "\n".join(lines)


def number(value: float) -> str:
    """Three figures, more where there are more before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)
