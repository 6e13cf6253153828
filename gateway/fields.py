"""What is wrong with which field (pure): pydantic's findings in our words, and text parts as JSON values."""

import difflib
import functools
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from shared.errors import FieldError, InvalidJson, RequestError, UrlNotAllowed, ValidationFailed

_FAULTS_MAX = 50
#: A request with every field, reference, option and piece of metadata has some 150.
_VALUES_MAX = 500
_URL_NOT_ALLOWED = "only http and https URLs are allowed"
_Model = TypeVar("_Model", bound=BaseModel)


class Faults:
    """Everything wrong with one request, to be reported at once."""

    def __init__(self) -> None:
        self._found: list[tuple[type[RequestError], FieldError]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, pointer: str, code: str, message: str) -> None:
        """A fault of a field that has no error class of its own."""
        self._found.append((ValidationFailed, FieldError(pointer, code, message)))

    def add_error(self, pointer: str, error: RequestError) -> None:
        """An error that has its own class, at one field."""
        self._found.append((type(error), FieldError(pointer, error.code, error.detail)))

    def absorb(self, error: RequestError) -> None:
        """An error that names its fields itself."""
        self._found.extend((type(error), fault) for fault in error.errors)

    def extend(self, errors: Iterable[FieldError]) -> None:
        """Faults that `field_errors` found."""
        for error in errors:
            self._found.append((UrlNotAllowed if error.code == UrlNotAllowed.code else ValidationFailed, error))

    def raise_any(self) -> None:
        """Raise what was found as one error: of the common class if there is one, else ValidationFailed."""
        if not self._found:
            return
        classes = {cls for cls, _ in self._found}
        errors = [error for _, error in self._found][:_FAULTS_MAX]
        more = f" (and {len(self._found) - 1} more)" if len(self._found) > 1 else ""
        cls = classes.pop() if len(classes) == 1 else ValidationFailed
        raise cls(errors[0].message + more, errors=errors)


def refusal(pointer: str, code: str, message: str) -> ValidationFailed:
    """The error for one fault."""
    return ValidationFailed(message, errors=[FieldError(pointer, code, message)])


def pointer_to(*path: str | int) -> str:
    """A JSON pointer. Source: RFC 6901 section 3 for the escapes."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def nearest(name: str, known: Iterable[str], *, count: int = 1) -> list[str]:
    """The names that `name` may have meant, best first; unlike ones are left out."""
    return difflib.get_close_matches(name[:100], list(known), n=count, cutoff=0.5)


def did_you_mean(name: str, known: Iterable[str], *, count: int = 1) -> str:
    """`; did you mean …?` for the end of a message, or nothing."""
    names = nearest(name, known, count=count)
    return f"; did you mean {' or '.join(names)}?" if names else ""


def parse_json(model: type[_Model], data: bytes) -> _Model:
    """`data` as a `model`; no type is bent to fit. Raises InvalidJson, ValidationFailed, UrlNotAllowed."""
    _check_count(data, "")
    try:
        return model.model_validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise InvalidJson.at("", first["msg"]) from None
        faults = Faults()
        faults.extend(field_errors(error, model))
        faults.raise_any()
        raise


def json_value(text: str, pointer: str) -> Any:
    """The value of a text that is JSON. Raises ValidationFailed at `pointer` for too many values, ValueError for no JSON."""
    _check_count(text.encode(), pointer)
    # Python's own reader would let through what cannot be written again: lone surrogates, arrays a thousand deep.
    return from_json(text)


def _check_count(data: bytes, pointer: str) -> None:
    """Refuse JSON of more values than any request has, before a parser sees it.

    Measured with pydantic 2.14: it judges every value of an array, however few may be there, and holds the interpreter
    meanwhile; 32 MiB of wrong ones took a minute and 8 GB. Each value but the first needs a comma, outside of strings.
    """
    if data.count(b",") <= _VALUES_MAX:
        return
    bare = data.replace(rb"\\", b"").replace(rb"\"", b"")
    has_many = bare.count(b'"') > 4 * _VALUES_MAX
    if has_many or sum(between.count(b",") for between in bare.split(b'"')[::2]) > _VALUES_MAX:
        raise refusal(pointer, "invalid_value", f"this has more than {_VALUES_MAX} values; no request has so many")


def field_errors(error: ValidationError, model: type[BaseModel]) -> list[FieldError]:
    """pydantic's findings as field errors, one a pointer."""
    found: dict[str, FieldError] = {}
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        path, owner = _place(item["loc"], model)
        pointer = pointer_to(*path)
        if pointer not in found:
            # Looking for near names is dear; no more faults are shown.
            known = owner.model_fields if owner and len(found) < _FAULTS_MAX else {}
            found[pointer] = _field_error(item["type"], item["msg"], pointer, path, known)
    return list(found.values())


def _field_error(kind: str, message: str, pointer: str, path: Sequence[str | int], known: Iterable[str]) -> FieldError:
    if kind == "extra_forbidden":
        hint = did_you_mean(str(path[-1]), known)
        return FieldError(pointer, "unknown_field", f"there is no field {str(path[-1])[:100]!r} here{hint}")
    if kind == "missing":
        return FieldError(pointer, "missing_field", "this field is required")
    if kind.endswith(("_type", "_parsing")) or kind in ("int_from_float", "union_tag_invalid"):
        return FieldError(pointer, "wrong_type", message)
    if kind == "string_pattern_mismatch" and str(path[-1]).endswith("url"):
        return FieldError(pointer, UrlNotAllowed.code, _URL_NOT_ALLOWED)
    return FieldError(pointer, "invalid_value", message.removeprefix("Value error, "))


def _place(loc: Sequence[str | int], model: type[BaseModel]) -> tuple[tuple[str | int, ...], type[BaseModel] | None]:
    """The path within the body, and the model that owns its last step.

    pydantic adds steps of its own after the path: the members of a union, `[key]` for a bad key.
    """
    path: list[str | int] = []
    owner: type[BaseModel] | None = model
    annotation: Any = model
    for step in loc:
        members = _members(annotation)
        models = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
        if models and isinstance(step, str):
            owner = models[0]
            field = owner.model_fields.get(step)
            annotation = field.annotation if field else Any
        elif any(typing.get_origin(member) is dict for member in members):
            annotation = next(typing.get_args(member)[1] for member in members if typing.get_origin(member) is dict)
            owner = None
        elif any(typing.get_origin(member) in (tuple, list) for member in members) and isinstance(step, int):
            annotation = next(typing.get_args(member)[0] for member in members if typing.get_origin(member) in (tuple, list))
        else:
            break
        path.append(step)
    return tuple(path), owner


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of an annotation, without what only constrains it."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(annotation) for member in _members(part))
    return (annotation,)


def fields_of_texts(texts: Sequence[tuple[str, str]], model: type[BaseModel]) -> dict[str, Any]:
    """Text parts of a form as JSON values of the types that `model` declares; what does not fit stays text.

    Numbers, booleans, arrays and objects are written as in JSON. An array may also come as one part for each item.
    Raises ValidationFailed when a part comes twice that may come once, or has more values than any request.
    """
    kinds = json_kinds(model)
    fields: dict[str, Any] = {}
    for name, text in texts:
        kind = kinds.get(name, "string")
        if kind == "array" and not text.lstrip().startswith("["):
            fields.setdefault(name, []).append(text)
        elif name in fields:
            raise refusal(pointer_to(name), "invalid_value", "this part comes twice")
        else:
            fields[name] = text if kind == "string" else _json_or_text(text, pointer_to(name))
    return fields


def _json_or_text(text: str, pointer: str) -> Any:
    try:
        return json_value(text, pointer)
    except ValueError:
        return text


@functools.cache
def json_kinds(model: type[BaseModel]) -> dict[str, str]:
    """The JSON type of each field of `model`. The first time it takes a quarter of a second."""
    schema = model.model_json_schema()

    def kind(entry: dict[str, Any]) -> str:
        if "$ref" in entry:
            return kind(schema["$defs"][entry["$ref"].rsplit("/", 1)[1]])
        if "anyOf" in entry:
            return next(found for found in map(kind, entry["anyOf"]) if found != "null")
        return str(entry.get("type", "string"))

    return {name: kind(entry) for name, entry in schema["properties"].items()}
