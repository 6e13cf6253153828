"""The models of one simulated provider, read from its table: which parameters they take, what they charge, what comes out."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from math import sqrt
from pathlib import Path
from typing import Any

_SIDE_MAX = 8192


class Invalid(ValueError):
    """The body does not fit the model's parameters."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `min` and `max`: of a number, of a side in pixels, of a text or list in entries.

    `max_ratio`: of the longer side of a picture to the shorter one.
    """

    type: str  #: string, integer, number, boolean, size, media, media_list, file
    required: bool = False
    default: str | int | float | bool | None = None
    min: float | None = None
    max: float | None = None
    min_pixels: int = 1
    max_pixels: int = _SIDE_MAX * _SIDE_MAX
    enum: tuple[str, ...] = ()
    max_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """One model. `tiers`: (USD, the values that it holds for); `pixels`: of the output when no size is asked for.

    `scale`: output side by input side, where neither decides; `any_of`: parameters of which one has to be given;
    `cuts_out`: the output is the subject on transparency; `extends`: the picture lies in the middle of a larger canvas;
    `per_megapixel`: `usd` is for a million pixels of the output.
    """

    path: str
    name: str
    usd: float
    parameters: Mapping[str, Parameter]
    tiers: tuple[tuple[float, Mapping[str, str]], ...] = field(default=())
    pixels: int | None = None
    format: str = "jpeg"
    mask_polarity: str = "white"
    scale: int = 1
    any_of: tuple[str, ...] = ()
    cuts_out: bool = False
    extends: bool = False
    per_megapixel: bool = False

    def price_usd(self, body: Mapping[str, Any]) -> float:
        """What one output costs with these parameters."""
        for usd, when in self.tiers:
            if all(self._value(body, name) == wanted for name, wanted in when.items()):
                return usd
        if self.per_megapixel:
            width, height = self.size_for(body, (1, 1))
            return self.usd * width * height / 1_000_000
        return self.usd

    def check(self, body: Mapping[str, Any]) -> None:
        """Raises Invalid for what the server refuses at once: undeclared, missing, of the wrong type, not in the list."""
        for name in body:
            if name not in self.parameters:
                raise Invalid(f"parameter {name!r} is not declared by {self.path}")
        for name, parameter in self.parameters.items():
            if name in body:
                _check_type(name, body[name], parameter)
            elif parameter.required:
                raise Invalid(f"parameter {name!r} is required")

    def check_ranges(self, body: Mapping[str, Any]) -> None:
        """Raises Invalid for what only the running task finds: numbers and sizes out of range."""
        for name, value in body.items():
            parameter = self.parameters[name]
            if parameter.type == "size":
                _check_size(name, value, parameter)
            elif parameter.type in ("integer", "number") and not _within(value, parameter):
                raise Invalid(f"parameter {name!r} is out of range")

    def media(self, body: Mapping[str, Any]) -> tuple[list[str], str | None]:
        """The input pictures and the mask, as they were given."""
        images = body["images"] if "images" in body else [body["image"]]
        return list(images), body.get("mask_image")

    def output_format(self, body: Mapping[str, Any]) -> str:
        """jpeg, png or webp."""
        return str(self._value(body, "output_format") or self.format).replace("jpg", "jpeg")

    def size_for(self, body: Mapping[str, Any], input_size: tuple[int, int]) -> tuple[int, int]:
        """The output's size: as asked for, else with the aspect asked for, else with the input's."""
        asked = str(self._value(body, "size") or "")
        if "*" in asked:
            width, height = asked.split("*")
            return int(width), int(height)
        ratio = self._value(body, "aspect_ratio")
        wide, high = (int(part) for part in ratio.split(":")) if ratio else input_size
        named = self._value(body, "resolution") or self._value(body, "target_resolution")
        resolution = {"2k": 2048, "4k": 4096, "8k": 8192}.get(str(named))
        if resolution:
            scale = resolution / max(wide, high)
        elif self.pixels:
            scale = sqrt(self.pixels / (wide * high))
        else:
            limits = self.parameters.get("size", Parameter("size"))
            scale = self.scale * min(1.0, (limits.max or _SIDE_MAX) / max(wide, high))
        return max(1, round(wide * scale)), max(1, round(high * scale))

    def _value(self, body: Mapping[str, Any], name: str) -> Any:
        parameter = self.parameters.get(name)
        return body.get(name, parameter.default if parameter else None)


@cache
def load_models(provider: str, more: Path | None = None) -> Mapping[str, SimulatedModel]:
    """The models of `<provider>.toml` beside this file, then of the one in the folder `more`, by path. Read once in a process."""
    rows = tomllib.loads((files("deploy.simulator") / f"{provider}.toml").read_text("utf-8"))["models"]
    if more is not None and (own := more / f"{provider}.toml").is_file():
        rows += tomllib.loads(own.read_text("utf-8"))["models"]
    models = {}
    for row in rows:
        parameters = {
            name: Parameter(**{**values, "enum": tuple(values.get("enum", ()))}) for name, values in row.pop("parameters").items()
        }
        tiers = tuple((tier["usd"], tier["when"]) for tier in row.pop("tiers", ()))
        any_of = tuple(row.pop("any_of", ()))
        models[row["path"]] = SimulatedModel(**row, parameters=parameters, tiers=tiers, any_of=any_of)
    return models


def _check_type(name: str, value: Any, parameter: Parameter) -> None:
    """Raises Invalid unless `value` has the parameter's type, is in its list and, if a text or a list, has a length it takes."""
    kinds: dict[str, type | tuple[type, ...]] = {"boolean": bool, "integer": int, "number": (int, float), "media_list": list}
    number_is_wrong = isinstance(value, bool) and parameter.type in ("integer", "number")
    right: bool = isinstance(value, kinds.get(parameter.type, str)) and not number_is_wrong
    if not right:
        raise Invalid(f"parameter {name!r} has the wrong type")
    if parameter.enum and value not in parameter.enum:
        raise Invalid(f"parameter {name!r} must be one of {', '.join(parameter.enum)}")
    if parameter.type == "media_list" and not (
        value and all(isinstance(item, str) for item in value) and _within(len(value), parameter)
    ):
        raise Invalid(f"parameter {name!r} must be a list of 1 to {parameter.max:.0f} addresses")
    if parameter.type == "string" and not _within(len(value), parameter):
        raise Invalid(f"parameter {name!r} is too short")


def _check_size(name: str, value: str, parameter: Parameter) -> None:
    sides = value.split("*")
    if len(sides) != 2 or not all(side.isdecimal() and _within(int(side), parameter) for side in sides):
        raise Invalid(
            f"parameter {name!r} must be W*H with sides from {parameter.min or 1:.0f} to {parameter.max or _SIDE_MAX:.0f}"
        )
    if not parameter.min_pixels <= int(sides[0]) * int(sides[1]) <= parameter.max_pixels:
        raise Invalid(f"parameter {name!r} has too few or too many pixels")


def _within(value: float, parameter: Parameter) -> bool:
    return (parameter.min is None or value >= parameter.min) and (parameter.max is None or value <= parameter.max)
