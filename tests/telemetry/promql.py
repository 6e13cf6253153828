"""What an expression says of some scrapes: as much of PromQL as our alerts and panels use, computed as Prometheus does it.

Parsed by `promql-parser`, the grammar of Prometheus itself; nothing on PyPI evaluates. What is not known here is refused.
"""

import itertools
import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import promql_parser as parser
from prometheus_client.parser import text_string_to_metric_families

_LOOK_BACK_S = 300.0
Labels = frozenset[tuple[str, str]]
Vector = Mapping[Labels, float]
_COMPARE = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne}
_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b if b else math.nan,
}
_AGGREGATE: Mapping[str, Callable[[list[float]], float]] = {"sum": sum, "max": max, "min": min, "count": len}


class NotUnderstood(Exception):
    """The expression uses a part of PromQL that nobody needed here so far."""


@dataclass
class Scrapes:
    """What was scraped, by series: times in seconds, ascending, and values."""

    series: dict[str, dict[Labels, list[tuple[float, float]]]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, text: str, at_s: float, instance: str = "gateway-1") -> None:
        """One scrape of one gateway, as Prometheus labels it."""
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = frozenset({**sample.labels, "instance": instance, "job": "edit-studio"}.items())
                self.series[sample.name].setdefault(labels, []).append((at_s, sample.value))

    def labels_of(self, name: str) -> set[str]:
        """The names of all labels that a metric has."""
        return {label for labels in self.series.get(name, {}) for label, _ in labels}


def parse(expression: str) -> Any:
    """The expression's tree. Raises ValueError where it is not PromQL."""
    return parser.parse(expression)


def selectors(tree: Any) -> Iterator[Any]:
    """Every selector of a metric in the tree."""
    if isinstance(tree, parser.VectorSelector):
        yield tree
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if (child := getattr(tree, name, None)) is not None:
            yield from selectors(child)
    for child in getattr(tree, "args", None) or ():
        yield from selectors(child)


def evaluate(expression: str, scrapes: Scrapes, *, at_s: float) -> Vector:
    """The vector that the expression has at this time; a scalar as one without labels."""
    found = _value(parse(expression), scrapes, at_s)
    return {frozenset(): found} if isinstance(found, float) else found


def _value(tree: Any, scrapes: Scrapes, at_s: float) -> "Vector | float":
    match tree:
        case parser.NumberLiteral():
            return float(tree.val)
        case parser.ParenExpr():
            return _value(tree.expr, scrapes, at_s)
        case parser.VectorSelector():
            return {labels: samples[-1][1] for labels, samples in _selected(tree, scrapes, at_s, _LOOK_BACK_S)}
        case parser.AggregateExpr():
            return _aggregated(tree, _vector(tree.expr, scrapes, at_s))
        case parser.Call():
            return _called(tree, scrapes, at_s)
        case parser.BinaryExpr():
            return _binary(tree, scrapes, at_s)
    raise NotUnderstood(type(tree).__name__)


def _vector(tree: Any, scrapes: Scrapes, at_s: float) -> Vector:
    found = _value(tree, scrapes, at_s)
    assert not isinstance(found, float)
    return found


def _selected(tree: Any, scrapes: Scrapes, at_s: float, back_s: float) -> Iterator[tuple[Labels, list[tuple[float, float]]]]:
    end_s = at_s - (tree.offset.total_seconds() if tree.offset else 0.0)
    for labels, samples in scrapes.series.get(tree.name, {}).items():
        within = [(at, value) for at, value in samples if end_s - back_s < at <= end_s]
        if within and all(_matches(one, dict(labels).get(one.name, "")) for one in tree.matchers.matchers):
            yield labels, within


def _matches(matcher: Any, value: str) -> bool:
    name, wanted = str(matcher.op).rpartition(".")[2], matcher.value
    is_found = re.fullmatch(wanted, value) is not None if name in ("Re", "NotRe") else value == wanted
    return is_found == (name in ("Equal", "Re"))


def _aggregated(tree: Any, vector: Vector) -> Vector:
    groups: defaultdict[Labels, list[float]] = defaultdict(list)
    kept = tree.modifier.labels if tree.modifier is not None else ()
    assert tree.modifier is None or tree.modifier.type == parser.AggModifierType.By
    for labels, value in vector.items():
        groups[frozenset(pair for pair in labels if pair[0] in kept)].append(value)
    return {labels: float(_AGGREGATE[str(tree.op)](values)) for labels, values in groups.items()}


def _called(tree: Any, scrapes: Scrapes, at_s: float) -> Vector:
    match tree.func.name:
        case "rate" | "increase" as name:
            (window,) = tree.args
            back_s = window.range.total_seconds()
            found = _selected(window.vector_selector, scrapes, at_s, back_s)
            grown = {labels: _increase(samples, at_s - back_s, at_s) for labels, samples in found if len(samples) > 1}
            return {labels: value / (back_s if name == "rate" else 1.0) for labels, value in grown.items()}
        case "absent":
            return {} if _vector(tree.args[0], scrapes, at_s) else {frozenset(): 1.0}
        case "histogram_quantile":
            share, buckets = tree.args
            return _quantiles(float(share.val), _vector(buckets, scrapes, at_s))
    raise NotUnderstood(tree.func.name)


def _increase(samples: list[tuple[float, float]], start_s: float, end_s: float) -> float:
    """What a counter grew by, stretched to the ends of the window where the samples reach nearly so far.

    Source: Prometheus, promql/functions.go, `extrapolatedRate`.
    """
    grown = sum(b - a if b >= a else b for (_, a), (_, b) in itertools.pairwise(samples))
    (first_s, first), (last_s, _) = samples[0], samples[-1]
    seen_s = last_s - first_s
    step_s = seen_s / (len(samples) - 1)
    before_s, after_s = (gap_s if gap_s < 1.1 * step_s else step_s / 2 for gap_s in (first_s - start_s, end_s - last_s))
    if grown > 0:
        # A counter was not below zero before.
        before_s = min(before_s, seen_s * first / grown)
    return grown * (seen_s + before_s + after_s) / seen_s


def _quantiles(share: float, vector: Vector) -> Vector:
    groups: defaultdict[Labels, list[tuple[float, float]]] = defaultdict(list)
    for labels, count in vector.items():
        bound = float(dict(labels)["le"])
        groups[frozenset(pair for pair in labels if pair[0] != "le")].append((bound, count))
    found = {}
    for labels, buckets in groups.items():
        buckets.sort()
        rank, below, start = share * buckets[-1][1], 0.0, 0.0
        for bound, count in buckets:
            if count >= rank:
                is_last = math.isinf(bound)
                found[labels] = start if is_last or count == below else start + (bound - start) * (rank - below) / (count - below)
                break
            below, start = count, bound
    return found


def _binary(tree: Any, scrapes: Scrapes, at_s: float) -> "Vector | float":
    name, left, right = str(tree.op), _value(tree.lhs, scrapes, at_s), _value(tree.rhs, scrapes, at_s)
    if name == "and":
        assert not isinstance(left, float)
        assert not isinstance(right, float)
        return {labels: value for labels, value in left.items() if labels in right}
    if name not in _COMPARE and name not in _ARITHMETIC:
        raise NotUnderstood(name)
    if isinstance(left, float) and isinstance(right, float):
        return float(_ARITHMETIC[name](left, right))
    if isinstance(left, float):
        assert not isinstance(right, float)
        return _joined(name, dict.fromkeys(right, left), right, keep=right)
    if isinstance(right, float):
        return _joined(name, left, dict.fromkeys(left, right), keep=left)
    return _joined(name, left, right, keep=left)


def _joined(name: str, left: Vector, right: Vector, *, keep: Vector) -> Vector:
    pairs = [(labels, left[labels], right[labels]) for labels in left if labels in right]
    if name in _COMPARE:
        return {labels: keep[labels] for labels, a, b in pairs if _COMPARE[name](a, b)}
    return {labels: _ARITHMETIC[name](a, b) for labels, a, b in pairs}
