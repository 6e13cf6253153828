"""What a caller pins: refused at once where it can never work (pure)."""

from shared.adjustments import parse
from shared.candidates import EXACT
from shared.catalog.load import Catalog
from shared.edit import EditSpec, Operation
from shared.errors import FieldError, UnsupportedParameter, ValidationFailed
from shared.parameters import out_of_range, unsupported


def check_pinned(spec: EditSpec, catalog: Catalog) -> None:
    """Refuse at once what can never work: a pinned model or provider that cannot do this operation or honour these options.

    Raises:
        UnsupportedParameter: with the field, and the models that can honour it.
        ValidationFailed: a value out of the model's range, or an operation that it does not do.
    """
    if spec.provider is not None and spec.provider not in catalog.providers:
        _refuse("/provider", f"unknown provider; there are {', '.join(catalog.providers)}")
    if spec.model is None:
        return
    model = catalog.models[spec.model]
    if spec.provider is not None and model.provider != spec.provider:
        _refuse("/provider", f"{model.id} is a model of {model.provider}")
    if spec.operation not in model.operations:
        can = ", ".join(other.id for other in catalog.models.values() if spec.operation in other.operations)
        _refuse("/operation", f"{model.id} cannot {spec.operation}; models that can: {can or 'none'}")
    if EXACT in model.capabilities and spec.operation is Operation.GENERAL_EDIT and parse(spec.prompt or "") is None:
        _refuse(
            "/prompt",
            f"{model.id} does exact adjustments only, such as 'make it black and white' or 'rotate 90 degrees clockwise'",
        )
    if spec.strict and (pointers := unsupported(spec, model)):
        errors = [FieldError(pointer, "unsupported_parameter", _who_can(spec, catalog, pointer)) for pointer in pointers]
        raise UnsupportedParameter(f"{model.id} cannot honour {', '.join(pointers)}", errors=errors)
    if faults := out_of_range(spec, model):
        raise ValidationFailed(f"{faults[0].message}: {faults[0].pointer}", errors=faults)


def _refuse(pointer: str, message: str) -> None:
    raise ValidationFailed(message, errors=[FieldError(pointer, "invalid_value", message)])


def _who_can(spec: EditSpec, catalog: Catalog, pointer: str) -> str:
    can = [m.id for m in catalog.models.values() if spec.operation in m.operations and pointer not in unsupported(spec, m)]
    return f"models that can: {', '.join(can)}" if can else "no model for this operation can"
