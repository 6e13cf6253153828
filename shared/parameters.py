"""What a caller may turn, in a model's own names: which wishes a model can honour, and the values it is sent (pure)."""

import math
from collections.abc import Mapping
from typing import Any

from shared.catalog.model import Model, Parameter
from shared.edit import EditSpec, Operation
from shared.errors import FieldError
from shared.geometry import GeometryPlan

ParameterValue = str | int | float | bool

#: Options of ours that only some models have. Everything else is ours to do (sizes, formats, masks) or tied to an operation.
TURNABLE = ("negative_prompt", "guidance_scale", "steps", "seed", "style_preset")

#: Options of ours that belong to one operation: a model that does it declares the parameter, unless it goes without.
_OPERATIONS_OWN = ("search_prompt", "select_prompt", "expand_left", "expand_right", "expand_up", "expand_down")

#: What `made_parameters` fills, and what of it a caller may also set by the model's own name.
_MADE = ("size", "resolution", "factor", "output_format")
_OPEN = (None, "resolution", "factor")


def _wishes(spec: EditSpec) -> dict[str, ParameterValue]:
    """What the caller set of it, by pointer into the request. How far to enlarge is no turn of a model's: all can be told it."""
    own = {f"/{name}": value for name in TURNABLE if (value := getattr(spec, name)) is not None}
    ours = {"factor"} if spec.operation is Operation.UPSCALE else set()
    return {**own, **{f"/options/{name}": value for name, value in spec.options.items() if name not in ours}}


def _declared_for(model: Model, pointer: str) -> tuple[str, Parameter] | None:
    """The model's parameter that honours the wish at `pointer`."""
    own, option = pointer.removeprefix("/"), pointer.removeprefix("/options/")
    for key, parameter in model.parameters.items():
        if parameter.field == own if option == pointer else parameter.field in _OPEN and key == option:
            return key, parameter
    return None


def unsupported(spec: EditSpec, model: Model) -> list[str]:
    """Pointers of the wishes that this model has no parameter for."""
    return [pointer for pointer in _wishes(spec) if _declared_for(model, pointer) is None]


def lacking(spec: EditSpec, model: Model) -> list[str]:
    """Names in the request of what the model cannot do without and is not given; its prompt is not looked at."""
    found, wishes = [], _wishes(spec)
    for key, parameter in model.parameters.items():
        field = parameter.field
        if not parameter.required or parameter.default is not None or field == "prompt" or field in _MADE:
            continue
        pointer = f"/options/{key}" if field is None else f"/{field}"
        if pointer not in wishes and not (field in _OPERATIONS_OWN and getattr(spec, str(field))):
            found.append(pointer[1:].replace("/", "."))
    return found


def out_of_range(spec: EditSpec, model: Model) -> list[FieldError]:
    """The wishes whose values the model does not take."""
    found = []
    for pointer, value in _wishes(spec).items():
        declared = _declared_for(model, pointer)
        if declared is not None and (fault := _fault(declared[1], value)):
            found.append(FieldError(pointer, "invalid_value", f"{model.id} takes {fault}"))
    return found


def _fault(parameter: Parameter, value: ParameterValue) -> str | None:
    """What the parameter takes, if it does not take `value`."""
    if parameter.type == "boolean":
        return None if isinstance(value, bool) else "true or false"
    if parameter.type == "string":
        if not isinstance(value, str):
            return "a text"
        return f"one of {', '.join(parameter.enum)}" if parameter.enum and value not in parameter.enum else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (parameter.type == "integer" and value != int(value)):
        return "an integer" if parameter.type == "integer" else "a number"
    low, high = parameter.min, parameter.max
    if (low is not None and value < low) or (high is not None and value > high):
        return f"{low if low is not None else '…'} to {high if high is not None else '…'}"
    return None


def parameters_for(spec: EditSpec, model: Model, made: Mapping[str, Any]) -> dict[str, ParameterValue]:
    """The wishes in the model's names, and what the model declares of the operation's own fields and of `made`.

    `made`: our field to value: size, output_format … Nothing undeclared is ever in the answer; prompt and pictures are not.
    """
    values: dict[str, ParameterValue] = {}
    wishes = _wishes(spec)
    for pointer, value in wishes.items():
        declared = _declared_for(model, pointer)
        if declared is not None:
            # `out_of_range` lets 2.0 pass for an integer; providers do not.
            is_whole = declared[1].type == "integer" and isinstance(value, float) and value.is_integer()
            values[declared[0]] = int(value) if is_whole else value
    given = {**{name: value for name in _OPERATIONS_OWN if (value := getattr(spec, name))}, **made}
    for key, parameter in model.parameters.items():
        if parameter.field in given and not (parameter.field in _OPEN and key in values):
            values[key] = given[parameter.field]
    return values


def made_parameters(
    model: Model, plan: GeometryPlan, output_format: str | None, *, enlarged: tuple[int, int] | None = None
) -> dict[str, str | int]:
    """Size and format in the model's own terms. `plan`: of what comes back; `enlarged`: what an upscale has to come to."""
    made: dict[str, str | int] = {}
    if model.size.control == "WxH":
        made["size"] = f"{plan.sent[0]}*{plan.sent[1]}"
    elif model.size.control == "aspect_ratio":
        made["size"] = min(model.size.aspects, key=lambda text: abs(_ratio(text) - plan.sent[0] / plan.sent[1]))
    if (tiers := _declared(model, "resolution")) is not None:
        # The smallest that holds the result: 4k is 4096 pixels a side, and each larger one costs more.
        side = max(enlarged or plan.sent)
        if enlarged is None and Operation.UPSCALE in model.operations:
            side = max(side + 1, _side(str(tiers.default or tiers.enum[0])))
        made["resolution"] = min(tiers.enum, key=lambda text: (_side(text) < side, abs(_side(text) - side)))
    if enlarged is not None and (times := _declared(model, "factor")) is not None:
        asked = max(enlarged[0] / plan.upright[0], enlarged[1] / plan.upright[1])
        made["factor"] = max(math.ceil(asked), math.ceil(times.min or 1))
    declared = _declared(model, "output_format")
    if declared is not None:
        # Lossless on the way back, unless the caller's own format can be passed through as it comes.
        wanted = output_format if plan.method == "identity" and output_format in declared.enum else "png"
        if wanted in declared.enum:
            made["output_format"] = wanted
    return made


def enlarges_times(model: Model, upright: tuple[int, int]) -> float:
    """How many times its size an upscaler makes of a picture at most."""
    most = [math.inf]
    if (limit := model.enlarges) is not None:
        if limit.times is not None:
            most.append(limit.times)
        if limit.max_side is not None:
            most.append(limit.max_side / max(upright))
        if limit.max_pixels is not None:
            most.append(math.sqrt(limit.max_pixels / (upright[0] * upright[1])))
    return min(most)


def _ratio(text: str) -> float:
    across, down = text.split(":")
    return int(across) / int(down)


def _declared(model: Model, field: str) -> Parameter | None:
    """The model's parameter that is filled by this field of ours."""
    return next((parameter for parameter in model.parameters.values() if parameter.field == field), None)


def _side(tier: str) -> int:
    """Pixels a side of a tier like `4k`."""
    return int(tier.removesuffix("k")) * 1024
