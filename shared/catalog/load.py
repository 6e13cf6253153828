"""Reading the catalogue: the TOML files beside this one, then those of the operator's own folder.

A file is named after its provider: `acme.toml`. In the operator's folder (`EDIT_STUDIO_CATALOG_DIR`) a file of the same name
changes what ships: its top-level values replace ours, a model with a known id replaces the values that it names, a model
with a new id is added. Order, where it decides a tie: files by name, models as written, added ones last.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from shared.catalog.model import Model, ProviderEntry

_PROVIDER_NAME = re.compile(r"[a-z][a-z0-9_]*")


class CatalogInvalid(Exception):
    """A catalogue file cannot be used. `line`: where, counted from 1, or None if it cannot be told; `field`: dotted, or None."""

    def __init__(self, file: str, message: str, *, line: int | None = None, field: str | None = None) -> None:
        place = file if line is None else f"{file}, line {line}"
        super().__init__(f"{place}: {message}" if field is None else f"{place}: {field}: {message}")
        self.file = file
        self.line = line
        self.field = field


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models by id and all providers by name, in catalogue order."""

    models: Mapping[str, Model]
    providers: Mapping[str, ProviderEntry]


@dataclass(frozen=True, slots=True)
class _File:
    """One file as read. `models`: its model tables by id."""

    path: str
    provider: str
    text: str
    top: dict[str, Any]
    models: dict[str, dict[str, Any]]


def load_catalog(extra_dir: Path | None = None) -> Catalog:
    """The shipped catalogue with the operator's folder over it.

    Raises:
        CatalogInvalid: a file is not TOML, breaks the shape of `shared.catalog.model`, or two models share an id.
    """
    shipped = _shipped()
    found = {file.provider: _entry(file) for file in sorted(shipped, key=lambda file: file.provider)}
    base = {file.provider: file for file in shipped}
    if extra_dir is not None:
        for path in _overlay_paths(extra_dir):
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise CatalogInvalid(str(path), "the file cannot be read as UTF-8 text") from error
            file = _read(str(path), text)
            found[file.provider] = _entry(file, over=base.get(file.provider))
    providers = {name: found[name] for name in sorted(found)}
    models: dict[str, Model] = {}
    for entry in providers.values():
        for model in entry.models:
            if model.id in models:
                raise CatalogInvalid(
                    f"{model.provider}.toml", f"provider {models[model.id].provider} has this id too", field=f"models.{model.id}"
                )
            models[model.id] = model
    return Catalog(MappingProxyType(models), MappingProxyType(providers))


@cache
def _shipped() -> tuple[_File, ...]:
    """The files beside this one, read once in a process."""
    return tuple(
        _read(entry.name, entry.read_text("utf-8")) for entry in files("shared.catalog").iterdir() if _is_toml(entry.name)
    )


def _is_toml(name: str) -> bool:
    return name.endswith(".toml")


def _overlay_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CatalogInvalid(str(folder), "there is no such folder")
    return sorted(path for path in folder.iterdir() if _is_toml(path.name))


def _read(path: str, text: str) -> _File:
    """The file's tables by model id. Raises CatalogInvalid."""
    provider = Path(path).stem
    if not _PROVIDER_NAME.fullmatch(provider):
        raise CatalogInvalid(path, "the file's name has to be the provider's: small letters, digits, underscores")
    try:
        top = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+)", str(error))
        raise CatalogInvalid(path, f"not TOML: {error}", line=int(at[1]) if at else None) from error
    if top.pop("provider", provider) != provider:
        raise CatalogInvalid(
            path, f"has to be {provider!r}, like the file, or absent", line=_line(text, "provider"), field="provider"
        )
    tables = top.pop("models", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise CatalogInvalid(path, "has to be a list of tables: [[models]]", line=_line(text, "models"), field="models")
    models: dict[str, dict[str, Any]] = {}
    for number, table in enumerate(tables, start=1):
        identifier = table.get("id")
        if not isinstance(identifier, str) or not identifier:
            raise CatalogInvalid(path, f"[[models]] number {number} has no id", field="models.id")
        if identifier in models:
            line = _line(text, "id", after=_line(text, "id", value=identifier), value=identifier)
            raise CatalogInvalid(path, "two models have this id", line=line, field=f"models.{identifier}")
        models[identifier] = {**table, "provider": provider}
    return _File(path, provider, text, top, models)


def _entry(file: _File, *, over: _File | None = None) -> ProviderEntry:
    """The validated entry of `file`, laid over `over`. Raises CatalogInvalid, which names `file`."""
    top, models = file.top, dict(file.models)
    if over is not None:
        top = {**over.top, **file.top}
        models = {**over.models, **{name: {**over.models.get(name, {}), **table} for name, table in file.models.items()}}
    try:
        return ProviderEntry.model_validate({**top, "provider": file.provider, "models": list(models.values())})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = [str(part) for part in first["loc"]]
        after = None
        if where[0] == "models" and len(where) > 1:
            where[1] = list(models)[int(where[1])]
            after = _line(file.text, "id", value=where[1])
        key = next(str(part) for part in reversed(first["loc"]) if isinstance(part, str))
        line = _line(file.text, key, after=after) or after
        raise CatalogInvalid(file.path, first["msg"], line=line, field=".".join(where)) from error


def _line(text: str, key: str, *, after: int | None = None, value: str | None = None) -> int | None:
    """The line that sets `key` (to `value`), below line `after` and above the next model, or None."""
    wanted = re.compile(rf"(^|[\s{{,.\[])\"?{re.escape(key)}\"?\s*(\]|=" + (rf"\s*\"{re.escape(value)}\")" if value else ")"))
    lines = text.splitlines()
    for number in range((after or 0) + 1, len(lines) + 1):
        line = lines[number - 1]
        if wanted.search(line):
            return number
        if after is not None and value is None and line.strip() == "[[models]]":
            return None
    return None
