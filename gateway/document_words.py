"""What the OpenAPI document says of fields and parameters, from `document_words.toml`, and its worked examples.

A name means the same wherever it stands, so it is said once; `Model.name` says what it means in one model only. The examples,
`document_examples.json`, were recorded from a running system by `python -m tests.record_examples`.
"""

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


@cache
def _words() -> dict[str, dict[str, str]]:
    return tomllib.loads((_FOLDER / "document_words.toml").read_text())


@cache
def _examples() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((_FOLDER / "document_examples.json").read_text())
    return found


def example_of(method: str, path: str) -> dict[str, Any]:
    """A recorded call: `status`, and where there was a body that can be shown, `request` and `answer`."""
    return _examples().get(f"{method} {path}", {})


def field_words(model: str, name: str) -> str | None:
    """Of a field of a body."""
    words = _words()["fields"]
    return words.get(f"{model}.{name}", words.get(name))


def parameter_words(path: str, name: str) -> str | None:
    """Of a parameter in the path or the query. One in the path is named by what stands before it: `jobs.id`."""
    words = _words()["parameters"]
    before, found, _ = path.partition(f"/{{{name}}}")
    return words.get(f"{before.rpartition('/')[2]}.{name}" if found else name)


def described(model: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a model, each field that says nothing of itself with its words."""
    properties = schema.get("properties", {})
    told = {name: field_words(model, name) for name, entry in properties.items() if "description" not in entry}
    new = {name: {**entry, "description": told[name]} if told.get(name) else entry for name, entry in properties.items()}
    return {**schema, "properties": new} if properties else schema
