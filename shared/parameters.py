"""What a caller may turn, in a model's own names: which wishes a model can honour, and the values it is sent (pure)."""

from collections.abc import Mapping
from typing import Any

from shared.catalog.model import Model, Parameter
from shared.edit import EditSpec
from shared.errors import FieldError
from shared.geometry import GeometryPlan

ParameterValue = str | int | float | bool

#: Options of ours that only some models have. Everything else is ours to do (sizes, formats, masks) or tied to an operation.
TURNABLE = ("negative_prompt", "guidance_scale", "steps", "seed", "style_preset")

#: Options of ours that belong to one operation: a model that does it declares the parameter, unless it goes without.
_OPERATIONS_OWN = ("search_prompt", "select_prompt", "expand_left", "expand_right", "expand_up", "expand_down")


def _wishes(spec: EditSpec) -> dict[str, ParameterValue]:
    """What the caller set of it, by pointer into the request."""
    own = {f"/{name}": value for name in TURNABLE if (value := getattr(spec, name)) is not None}
    return {**own, **{f"/options/{name}": value for name, value in spec.options.items()}}


def _declared_for(model: Model, pointer: str) -> tuple[str, Parameter] | None:
    """The model's parameter that honours the wish at `pointer`."""
    own, option = pointer.removeprefix("/"), pointer.removeprefix("/options/")
    for key, parameter in model.parameters.items():
        if parameter.field == own if option == pointer else parameter.field is None and key == option:
            return key, parameter
    return None


def unsupported(spec: EditSpec, model: Model) -> list[str]:
    """Pointers of the wishes that this model has no parameter for."""
    return [pointer for pointer in _wishes(spec) if _declared_for(model, pointer) is None]


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
    """The wishes in the model's names, and what the model declares of the operation's own fields and of `made`, which wins.

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
        if parameter.field is not None and parameter.field in given:
            values[key] = given[parameter.field]
    return values


def made_parameters(model: Model, plan: GeometryPlan, output_format: str | None) -> dict[str, str]:
    """Size and format in the model's own terms."""
    made: dict[str, str] = {}
    if model.size.control == "WxH":
        made["size"] = f"{plan.sent[0]}*{plan.sent[1]}"
    elif model.size.control == "aspect_ratio":
        made["size"] = min(model.size.aspects, key=lambda text: abs(_ratio(text) - plan.sent[0] / plan.sent[1]))
    if (tiers := _declared(model, "resolution")) is not None:
        # The smallest that holds the picture: 4k is 4096 pixels a side, and each larger one costs more.
        made["resolution"] = min(tiers.enum, key=lambda text: (_side(text) < max(plan.sent), abs(_side(text) - max(plan.sent))))
    declared = _declared(model, "output_format")
    if declared is not None:
        # Lossless on the way back, unless the caller's own format can be passed through as it comes.
        wanted = output_format if plan.method == "identity" and output_format in declared.enum else "png"
        if wanted in declared.enum:
            made["output_format"] = wanted
    return made


def _ratio(text: str) -> float:
    across, down = text.split(":")
    return int(across) / int(down)


def _declared(model: Model, field: str) -> Parameter | None:
    """The model's parameter that is filled by this field of ours."""
    return next((parameter for parameter in model.parameters.values() if parameter.field == field), None)


def _side(tier: str) -> int:
    """Pixels a side of a tier like `4k`."""
    return int(tier.removesuffix("k")) * 1024
