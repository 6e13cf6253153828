"""`python -m tests.client_sources`: writes what of the client follows from the service; a test fails when it is out of date.

Its types of requests and answers come from the routes' models, its classes of errors from the table in `shared/errors.py`.
"""

import keyword
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.route import Query
from gateway.routes.feed import FeedPage
from gateway.routes.jobs import JobPage, JobsQuery
from gateway.routes.models import ModelList, ModelsQuery, RecommendAnswer, RecommendRequest
from gateway.routes.quotes import QuoteAnswer
from gateway.routes.reference import Limits
from gateway.routes.uploads import UploadedPicture, UploadTicket
from gateway.routes.usage import UsageAnswer
from shared.batch import Batch, BatchFields
from shared.edit import EditOptions
from shared.errors import EditStudioError, error_classes
from shared.job import Job
from shared.model_view import ModelDetail
from shared.receipt import FeedbackView

CLIENT = Path(__file__).parents[1] / "gateway" / "client"
_COMMAND = "python -m tests.client_sources"
_ANSWERS: Mapping[str, tuple[str, Sequence[type[BaseModel]]]] = {
    "answers": (
        "Edits, batches and all that is about them",
        (Job, JobPage, FeedbackView, QuoteAnswer, Batch, UploadTicket, UploadedPicture, FeedPage),
    ),
    "reference_answers": (
        "Models, limits and what was used",
        (ModelList, ModelDetail, RecommendAnswer, UsageAnswer, Limits),
    ),
}
# What callers give by name, and what of it has a place of its own in the client's calls.
_WISHES: Mapping[str, tuple[type[BaseModel], tuple[str, ...]]] = {
    "EditWishes": (EditOptions, ("operation", "prompt", "response_format")),
    "BatchWishes": (BatchFields, ()),
    "ModelFilters": (ModelsQuery, ()),
    "JobFilters": (JobsQuery, ("metadata",)),
    "RecommendWishes": (RecommendRequest, ()),
}
#: Told by name in a call of one edit; there is no need to tell them again.
_LOOSE = "BatchDefaults"
_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def sources() -> dict[Path, str]:
    """Each file of the client that follows from the service, as it should be."""
    answers = {CLIENT / f"{name}.py": _answers(said, models) for name, (said, models) in _ANSWERS.items()}
    texts = {**answers, CLIENT / "wishes.py": _wishes(), CLIENT / "errors.py": _errors()}
    return {file: _formatted(file, text) for file, text in texts.items()}


def _answers(said: str, models: Sequence[type[BaseModel]]) -> str:
    definitions = models_json_schema([(model, "serialization") for model in models])[1]["$defs"]
    lines = _types((model.__name__ for model in models), definitions)
    return _module(f"{said}, as plain dictionaries", lines)


def _wishes() -> str:
    known: dict[str, Any] = {}
    for name, (model, taken) in _WISHES.items():
        schema = model.model_json_schema()
        inner = schema.pop("$defs", {})
        schema["properties"] = {field: one for field, one in schema["properties"].items() if field not in taken}
        if issubclass(model, Query):
            schema["description"] = "Filters; those that are given have to hold all together."
        known |= {key: one for key, one in inner.items() if key not in known} | {name: schema}
    return _module("What callers may ask for, by name", _types(_WISHES, known, total=False))


def _module(said: str, lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    names = [name for name in ("Any", "Literal", "TypedDict") if re.search(rf"\b{name}\b", text)]
    return f'"""{said}. Written by `{_COMMAND}`."""\n\nfrom typing import {", ".join(names)}\n\n{text}'


def _types(wanted: Iterable[str], definitions: Mapping[str, Any], *, total: bool = True) -> list[str]:
    """A TypedDict for each object, the ones that others need first."""
    lines: list[str] = []
    for name in _ordered(wanted, definitions):
        schema = definitions[name]
        if "properties" not in schema:
            lines += [f"{name} = {_type(schema, definitions)}", ""]
            continue
        fields = {field: _type(one, definitions) for field, one in schema["properties"].items()}
        said = schema["description"].split("\n\n")[0].replace("\n", " ")
        if any(keyword.iskeyword(field) for field in fields):
            entries = ", ".join(f'"{field}": {kind}' for field, kind in fields.items())
            lines += [f'{name} = TypedDict("{name}", {{{entries}}})', ""]
            continue
        lines += [f"class {name}(TypedDict{'' if total else ', total=False'}):", f'    """{_wrapped(said)}"""', ""]
        lines += [*(f"    {field}: {kind}" for field, kind in fields.items()), ""]
    return lines


def _ordered(wanted: Iterable[str], definitions: Mapping[str, Any]) -> list[str]:
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        for needed in re.findall(r"'#/\$defs/(\w+)'", str(definitions[name])):
            if needed not in found and needed != _LOOSE:
                visit(needed)
        found[name] = None

    for name in wanted:
        visit(name)
    return list(found)


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What a value of this JSON schema is in Python."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return name if name != _LOOSE else "dict[str, Any]"
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(one, definitions) for one in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        values = schema.get("enum") or [schema["const"]]
        return f"Literal[{', '.join(repr(value) for value in values)}]"
    if schema.get("type") == "array":
        return f"list[{_type(schema['items'] if 'items' in schema else schema['prefixItems'][0], definitions)}]"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"dict[str, {_type(values, definitions) if isinstance(values, dict) else 'Any'}]"
    return _PLAIN.get(schema.get("type", ""), "Any")


def _errors() -> str:
    lines = [
        f'"""A class for each code of the service, under the service\'s own names. Written by `{_COMMAND}`.',
        "",
        "A code that is newer than this client comes as ApiError itself.",
        '"""',
        "",
        "from collections.abc import Mapping",
        "",
        "from gateway.client.api_error import ApiError",
    ]
    for code, cls in error_classes().items():
        base = "ApiError" if cls.__base__ is EditStudioError else cls.__base__.__name__  # type: ignore[union-attr]
        told = f'code, retryable = "{code}", True' if cls.retryable else f'code = "{code}"'
        lines += ["", "", f"class {cls.__name__}({base}):", f"    {told}"]
    names = ", ".join(cls.__name__ for cls in error_classes().values())
    lines += ["", "", "BY_CODE: Mapping[str, type[ApiError]] = {", f"    cls.code: cls for cls in ({names},)", "}", ""]
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    """Within the length of a line."""
    words, line = [], "    " + '"""'
    for word in text.split(" "):
        if len(line) + len(word) > 124:
            words.append("\n   ")
            line = "    "
        words.append(word)
        line += f"{word} "
    return " ".join(words)


def _formatted(file: Path, text: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(file), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=True).stdout


if __name__ == "__main__":
    for file, text in sources().items():
        file.write_text(text)
