"""What a caller binds, most of all the model: refused at once where it can never work (pure)."""

from collections.abc import Mapping

from shared.adjustments import parse
from shared.candidates import BESIDE, EXACT, Circumstances, candidates_for, what_keeps_out
from shared.catalog.load import Catalog
from shared.catalog.model import Model
from shared.edit import EditSpec, Operation, Role
from shared.errors import FieldError, NoCapableModel, UnsupportedParameter, ValidationFailed
from shared.geometry import wanted_size
from shared.operations import EXPAND_FIELDS
from shared.parameters import TURNABLE, out_of_range, unsupported

#: What keeps a model out, by its code, to the field that asks for it. A picture goes by its role's name.
_FIELDS = {
    "language": "prompt",
    "mask": "mask",
    "max_cost": "max_cost",
    "prompt": "prompt",
    "resolution": "image",
    "status": "model",
}


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


def check_possible(spec: EditSpec, catalog: Catalog, pointers: Mapping[str, str]) -> None:
    """Refuse at once a whole request, pictures included, that the pinned model, or no model at all, can ever do.

    What no option or bound is asked of passes: that is the worker's to find out, who knows which providers there are.
    `pointers`: of each picture in the request, by its field.

    Raises:
        ValidationFailed: the pinned model cannot; with the field, the model's limit and the models that can.
        NoCapableModel: no model of any provider can; with the field and the limit of each.
    """
    if not _binds(spec):
        return
    info = spec.image.info if spec.mask is None else None  # With a mask a part may be all that is shown.
    now = Circumstances(configured=catalog.providers.keys(), upright_size=info.upright_size if info else None)
    if info is None and (spec.model is None or _price_varies(catalog.models[spec.model])):
        spec = spec.model_copy(update={"max_cost": None})
    if spec.model is not None:
        model = catalog.models[spec.model]
        if (found := what_keeps_out(spec, model, now)) is not None:
            code, why = found
            unpinned = spec.model_copy(update={"model": None, "provider": None})
            can = [candidate.model.id for candidate in candidates_for(unpinned, catalog, now)[0]]
            message = f"{model.id} {why}; {'models that can: ' + ', '.join(can) if can else 'no model can'}"
            raise ValidationFailed(message, errors=[FieldError(_pointer(spec, model, code, pointers), "invalid_value", message)])
        return
    # Most often the first one that does the operation can: whoever looks at all of them does so to say what is wrong.
    doing = [model for model in catalog.models.values() if spec.operation in model.operations]
    if any(what_keeps_out(spec, model, now) is None for model in doing):
        return
    errors = [
        FieldError(_pointer(spec, catalog.models[one.model_id], one.code, pointers), one.code, f"{one.model_id} {one.why}")
        for one in candidates_for(spec, catalog, now)[1]
        if one.code not in ("operation", "not_pinned")
    ]
    said = "; ".join(error.message for error in errors)
    raise NoCapableModel(f"No model can do this {spec.operation}: {said or 'none does this operation'}", errors=errors)


def _binds(spec: EditSpec) -> bool:
    """Whether more is asked than that the edit be done."""
    bound = (spec.model, spec.provider, spec.max_cost, wanted_size(spec), *(getattr(spec, name) for name in TURNABLE))
    return bool(spec.options) or bool(spec.inputs_of(Role.REFERENCE)) or any(value is not None for value in bound)


def _price_varies(model: Model) -> bool:
    """Whether the price is only known with the size of the picture."""
    return bool(model.price.tiers) or model.price.unit == "megapixel"


def _pointer(spec: EditSpec, model: Model, code: str, pointers: Mapping[str, str]) -> str:
    """Where in the request that is asked for which the model was left out."""
    if code == "parameter":
        faulty = [*unsupported(spec, model), *(fault.pointer for fault in out_of_range(spec, model))]
        return faulty[0] if faulty else "/options"
    if code == "images":
        beside = next((ref.role for ref in spec.inputs if ref.role in BESIDE and ref.role not in model.beside), None)
        return pointers.get(beside, f"/{beside}") if beside else "/reference_images"
    if code == "canvas":
        return f"/{next(field for field in EXPAND_FIELDS if getattr(spec, field))}"
    if code == "size" and spec.operation is Operation.UPSCALE and "factor" in spec.options:
        return "/options/factor"
    field = "image" if code == "size" and wanted_size(spec) is None else _FIELDS.get(code, code)
    return pointers.get(field, f"/{field}")


def _refuse(pointer: str, message: str) -> None:
    raise ValidationFailed(message, errors=[FieldError(pointer, "invalid_value", message)])


def _who_can(spec: EditSpec, catalog: Catalog, pointer: str) -> str:
    can = [m.id for m in catalog.models.values() if spec.operation in m.operations and pointer not in unsupported(spec, m)]
    return f"models that can: {', '.join(can)}" if can else "no model for this operation can"
