"""The forms that the simulated Stability takes: read, converted, checked against the operation's table.

Fields that an operation does not know are ignored, as the real service does it; the ledger shows them all the same.
"""

import asyncio
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web
from PIL import Image, UnidentifiedImageError

from deploy.simulator.account import Account
from deploy.simulator.schema import Parameter, SimulatedModel

REQUEST_MAX_BYTES = 10 * 1024 * 1024
_FORMATS = ("JPEG", "PNG", "WEBP")
_SHOWN_CHARS = 200

Value = str | int | float


class FormRefused(Exception):
    """The form is not taken. `errors`: what is wrong, `field: reason` each."""

    def __init__(self, status: int, name: str, errors: list[str]) -> None:
        super().__init__(name)
        self.status, self.name, self.errors = status, name, errors


@dataclass(frozen=True, slots=True)
class Form:
    """What came. `values`, `files`: declared fields only; `parts`: every part, in words for the ledger."""

    values: Mapping[str, Value]
    files: Mapping[str, bytes]
    parts: tuple[str, ...]


async def read_form(request: web.Request, model: SimulatedModel, account: Account) -> Form:
    """The request's form. Raises FormRefused."""
    if request.content_type != "multipart/form-data":
        raise FormRefused(400, "bad_request", ["content-type: must be multipart/form-data"])
    try:
        fields = await request.post()
    except ValueError as error:
        raise FormRefused(400, "bad_request", ["body: is not a form"]) from error
    texts: dict[str, str] = {}
    files: dict[str, bytes] = {}
    parts = []
    for name, field in fields.items():
        if isinstance(field, web.FileField):
            files[name] = field.file.read()
            parts.append(f"{name}=@{field.filename};{field.content_type};{len(files[name])}")
        elif isinstance(field, str):
            texts[name] = field
            parts.append(f"{name}={field[:_SHOWN_CHARS]}")
    if max(request.content_length or 0, sum(map(len, files.values()))) > REQUEST_MAX_BYTES:
        raise FormRefused(413, "payload_too_large", ["body: must not exceed 10 MiB"])
    values, errors = _converted(model, texts)
    files = {name: data for name, data in files.items() if name in model.parameters}
    errors += await asyncio.get_running_loop().run_in_executor(account.painters, _picture_faults, model, files)
    errors += _unmet_rules(model, {**files, **values})
    if errors:
        raise FormRefused(400, "bad_request", errors)
    return Form(values, files, tuple(parts))


def _converted(model: SimulatedModel, texts: Mapping[str, str]) -> tuple[dict[str, Value], list[str]]:
    """The declared fields that are no files, in their types, and what is wrong with them."""
    values: dict[str, Value] = {}
    errors = []
    for name, parameter in model.parameters.items():
        if parameter.type == "file":
            continue
        if name not in texts:
            errors += [f"{name}: is required"] if parameter.required else []
            continue
        try:
            values[name] = _value(texts[name], parameter)
        except ValueError as error:
            errors.append(f"{name}: {error}")
    return values, errors


def _value(text: str, parameter: Parameter) -> Value:
    """The text in the parameter's type. Raises ValueError with the reason."""
    value: Value = text
    measured: float = len(text)
    if parameter.type in ("integer", "number"):
        try:
            measured = float(text)
        except ValueError:
            measured = math.nan
        if not math.isfinite(measured) or (parameter.type == "integer" and not measured.is_integer()):
            raise ValueError(f"must be of type {parameter.type}")
        value = int(measured) if measured.is_integer() else measured
    low, high = (-math.inf if parameter.min is None else parameter.min), (math.inf if parameter.max is None else parameter.max)
    if not low <= measured <= high:
        raise ValueError("is out of range" if value != text else "has a length that is not allowed")
    if parameter.enum and value not in parameter.enum:
        raise ValueError(f"must be one of {', '.join(parameter.enum)}")
    return value


def _picture_faults(model: SimulatedModel, files: Mapping[str, bytes]) -> list[str]:
    """What is wrong with the pictures, each by itself and as a set."""
    errors = []
    for name, parameter in model.parameters.items():
        if parameter.type == "file" and name in files:
            errors += [f"{name}: {fault}" for fault in _faults(files[name], parameter)]
        elif parameter.type == "file" and parameter.required:
            errors.append(f"{name}: is required")
    if not errors and "mask" in model.parameters and "mask" not in files:
        with Image.open(io.BytesIO(files["image"])) as picture:
            if not picture.has_transparency_data:
                errors.append("mask: is required for a picture without transparency")  # Our guess: it is not documented.
    return errors


def _faults(data: bytes, parameter: Parameter) -> list[str]:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            short, long = sorted(picture.size)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return ["must be a jpeg, png or webp"]
    errors = []
    if short < (parameter.min or 1) or long > (parameter.max or math.inf):
        errors.append("has a side that is too short or too long")
    if not parameter.min_pixels <= short * long <= parameter.max_pixels:
        errors.append("has too few or too many pixels")
    if parameter.max_ratio is not None and long > short * parameter.max_ratio:
        errors.append("has an aspect ratio that is not between 1:2.5 and 2.5:1")
    return errors


def _unmet_rules(model: SimulatedModel, given: Mapping[str, Value | bytes]) -> list[str]:
    """What is wrong with the fields taken together."""
    errors = []
    if model.any_of and not any(given.get(name) for name in model.any_of):
        errors.append(f"{', '.join(model.any_of)}: at least one is required")
    if "light_source_strength" in given and not given.keys() & {"light_reference", "light_source_direction"}:
        errors.append("light_source_strength: needs light_reference or light_source_direction")
    return errors
