"""Wishes that no single field gives away as wrong: fields that the operation needs or refuses, models, sizes, addresses."""

from collections.abc import Mapping, Sequence

from gateway.connections import Connections
from gateway.fields import Faults, did_you_mean, pointer_to
from shared.edit import EditOptions, EditSpec, InputRef, Operation
from shared.errors import UnknownModel, UnsupportedParameter, UrlNotAllowed, ValidationFailed
from shared.operations import EXPAND_FIELDS, OPERATIONS, SPECIFIC_FIELDS, OperationRules
from shared.pinned import check_pinned
from shared.url_rules import check_url

FACTOR_MAX = 16  #: times each side, of an upscale
_NO_WISHES = EditSpec()
#: Pictures are not looked up by field: they are given in several.
_SPECIFIC_NAMES = frozenset(SPECIFIC_FIELDS) & frozenset(EditOptions.model_fields)


def check_wishes(options: EditOptions, pictures: Mapping[str, str], connections: Connections, faults: Faults) -> None:
    """Find what is wrong with the request as a whole. `pictures`: which ones are given, with the pointer of each."""
    _check_operation(options, pictures, OPERATIONS[options.operation], faults)
    _check_model(options, connections, faults)
    _check_size(options, connections, faults)
    if options.webhook_url is not None:
        check_address(options.webhook_url, pointer_to("webhook_url"), connections, faults)


def check_address(url: str, pointer: str, connections: Connections, faults: Faults) -> None:
    """Whether the address can be allowed, as far as it can be told without resolving it."""
    settings = connections.settings
    try:
        check_url(
            url, ports=None if settings.allow_private_urls else settings.url_ports, allow_private=settings.allow_private_urls
        )
    except UrlNotAllowed as error:
        faults.add_error(pointer, error)


def spec_of(options: EditOptions, inputs: Sequence[InputRef], *, user_tier: str = "free") -> EditSpec:
    """What a worker gets. The options were validated before, so they are not again."""
    given = {name: getattr(options, name) for name in options.model_fields_set if name in EditOptions.model_fields}
    return _NO_WISHES.model_copy(update={**given, "inputs": tuple(inputs), "user_tier": user_tier})


def _check_operation(options: EditOptions, pictures: Mapping[str, str], rules: OperationRules, faults: Faults) -> None:
    given = {*pictures, *(name for name in options.model_fields_set & _SPECIFIC_NAMES if _is_given(options, name))}
    for name in rules.missing(given):
        if name in ("image", "mask"):
            message = f"{rules.operation.value} needs this picture: {name}_base64, {name}_url, {name}_id or a file part {name}"
            faults.add(pointer_to(f"{name}_base64"), "missing_field", message)
        else:
            faults.add(pointer_to(name), "missing_field", f"{rules.operation.value} needs {name}")
    if rules.lacks_choice(given):
        message = f"{rules.operation.value} needs at least one of {', '.join(rules.one_of)}"
        faults.add(pointer_to(rules.one_of[0]), "missing_field", message)
    for name in rules.refused:
        if name in given:
            pointer = pictures.get(name) or pointer_to(name)
            faults.add(pointer, "unsupported_field", f"{rules.operation.value} does not take {name}")


def _is_given(options: EditOptions, name: str) -> bool:
    """Whether a field was given a meaning: blank words, no pixels and the default mask mode say nothing."""
    value = getattr(options, name)
    if name in EXPAND_FIELDS:
        return bool(value)
    if name == "mask_mode":
        return bool(value != "auto")
    return isinstance(value, str) and bool(value.strip())


def _check_model(options: EditOptions, connections: Connections, faults: Faults) -> None:
    catalog = connections.catalog
    if options.model is not None and options.model not in catalog.models:
        hint = did_you_mean(options.model, catalog.models, count=3)
        faults.add_error(pointer_to("model"), UnknownModel(f"there is no model {options.model!r}{hint}"))
        return
    if options.model is None and options.provider is None:
        return
    try:
        check_pinned(spec_of(options, ()), catalog)
    except (ValidationFailed, UnsupportedParameter) as error:
        faults.absorb(error)


def _check_size(options: EditOptions, connections: Connections, faults: Faults) -> None:
    factor = options.options.get("factor")
    if options.operation is Operation.UPSCALE and factor is not None:
        if isinstance(factor, (bool, str)) or not 1 < factor <= FACTOR_MAX:
            faults.add(pointer_to("options", "factor"), "invalid_value", f"a number over 1, {FACTOR_MAX} at most")
        elif "x" in options.size:
            faults.add(pointer_to("options", "factor"), "invalid_value", "give size or options.factor, not both")
    if "x" not in options.size:
        return
    width, height = (int(side) for side in options.size.split("x"))
    side, pixels = connections.settings.image_max_side, connections.settings.image_max_pixels
    if max(width, height) > side or width * height > pixels:
        faults.add(pointer_to("size"), "invalid_value", f"at most {side} pixels a side and {pixels} pixels in all")
