"""What the vendors declare, copied from the facts into tests/data, and what a request has that they do not."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parent / "data"
_TASKS_AT = "/api/v3/"
_PICTURE = re.compile(r"(png|jpeg|webp) \w+ \d+×\d+ [0-9a-f]{16}")
_PICTURES = re.compile(r"(input_|subject_|mask_)?images?(_urls?)?|mask|(background|light)_reference")
_SIDE_MAX = 8_192


def declared_paths() -> dict[str, str]:
    """Where each paid call goes, to the id of its model."""
    return {declaration["path"]: model for model, declaration in _declarations().items()}


def faults_of(model: str, body: Mapping[str, Any]) -> list[str]:
    """What is wrong with a body whose pictures are described in words (`tests.simulated_run.described`)."""
    parameters: Mapping[str, Mapping[str, Any]] = _declarations()[model]["parameters"]
    found = [f"{name} is not declared" for name in body.keys() - parameters.keys()]
    found += [f"{name} is missing" for name, declared in parameters.items() if declared.get("required") and name not in body]
    is_form = any(declared["type"] == "file" for declared in parameters.values())
    for name, value in body.items():
        if is_form and name in parameters and parameters[name]["type"] in ("integer", "number"):
            value = _as_number(value)
        if name in parameters and not _is_taken(value, parameters[name], _PICTURES.fullmatch(name) is not None):
            found.append(f"{name} is {value!r}, declared as {dict(parameters[name])}")
    return found + list(_broken_rules(_declarations()[model].get("rules", ()), body))


def _declarations() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for vendor in ("wavespeed", "stability", "huggingface"):
        for model, declaration in json.loads((_DATA / f"{vendor}_parameters.json").read_text())["models"].items():
            path = declaration["path"]
            found[model] = {**declaration, "path": path if path.startswith("/") else f"{_TASKS_AT}{path}"}
    return found


def _is_taken(value: Any, declared: Mapping[str, Any], is_picture: bool) -> bool:
    """Whether the value has the declared type and lies within list and range."""
    kind = declared["type"]
    if is_picture:
        pictures = value if kind.startswith("array") else [value]
        is_list = isinstance(pictures, list) and 1 <= len(pictures) <= declared.get("max_items", 1)
        return is_list and all(isinstance(picture, str) and _PICTURE.fullmatch(picture) for picture in pictures)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in ("integer", "number"):
        return _is_number(value, declared)
    if kind == "width and height":
        sides = list(value.values()) if isinstance(value, dict) and value.keys() == {"width", "height"} else [0]
        return all(isinstance(side, int) and 0 < side <= _SIDE_MAX for side in sides)
    if not isinstance(value, str):
        return False
    if kind == "W*H":
        return _is_size(value, declared)
    fits = declared.get("min_length", 0) <= len(value) <= declared.get("max_length", 100_000)
    return fits and ("enum" not in declared or value in declared["enum"])


def _is_number(value: Any, declared: Mapping[str, Any]) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_whole = declared["type"] == "number" or isinstance(value, int)
    return is_number and is_whole and declared.get("min", value) <= value <= declared.get("max", value)


def _as_number(text: str) -> int | float | str:
    """The number that a form's field holds, or the text if it holds none."""
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def _is_size(value: str, declared: Mapping[str, Any]) -> bool:
    match = re.fullmatch(r"([1-9]\d*)\*([1-9]\d*)", value)
    if match is None:
        return False
    width, height = int(match[1]), int(match[2])
    sides_fit = declared.get("min", 1) <= min(width, height) <= max(width, height) <= declared.get("max", _SIDE_MAX)
    pixels_fit = declared.get("min_total_pixels", 1) <= width * height <= declared.get("max_total_pixels", _SIDE_MAX**2)
    return sides_fit and pixels_fit and _ratio(declared, "min_aspect", 0) <= width / height <= _ratio(declared, "max_aspect", 1e9)


def _ratio(declared: Mapping[str, Any], name: str, default: float) -> float:
    across, _, down = str(declared.get(name, "")).partition(":")
    return int(across) / int(down) if down else default


def _broken_rules(rules: Any, body: Mapping[str, Any]) -> Iterator[str]:
    """Those about several fields taken together."""
    for rule in rules:
        match rule:
            case {"at_least_one_nonzero": names}:
                is_kept = any(int(body.get(name, 0)) for name in names)
            case {"at_least_one_of": names}:
                is_kept = any(name in body for name in names)
            case {"if_present": name, "then_one_of": others}:
                is_kept = name not in body or any(other in body for other in others)
            case {"exclusive": names}:
                is_kept = sum(name in body for name in names) <= 1
            case _:
                raise ValueError(f"an unknown rule: {rule}")
        if not is_kept:
            yield f"against the rule {rule}"
