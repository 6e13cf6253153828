"""What a batch is made of: the pictures of a folder, or the rows of a CSV file, read and checked before anything is sent."""

import csv
import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from shared.edit import CustomId, EditRequest, Operation, Role

#: Endings of the formats that the service takes.
PICTURE_ENDINGS = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
#: Columns that name a picture: a path, or a URL.
PICTURES = tuple(role.value for role in Role if role is not Role.REFERENCE)
_FIELDS = frozenset(EditRequest.model_fields) - {"quote_id"}
#: Texts of the caller's, which may look like JSON.
_PROMPTS = ("prompt", "negative_prompt", "search_prompt", "select_prompt")
_CUSTOM_ID = TypeAdapter[str](CustomId)
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_NAME_MAX_BYTES = 200
_FAULTS_SHOWN = 10


class SourceUnusable(Exception):
    """The folder, the file or the wishes cannot become a batch; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One edit to be. `source`: its picture as the user named it; `stem`: where its result goes, without the ending.

    `pictures`: path or URL by purpose; `fields`: the rest of its request.
    """

    custom_id: str
    source: str
    stem: str
    pictures: Mapping[str, Path | str]
    fields: Mapping[str, Any]


def request_fields(texts: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a request from texts: numbers as numbers, lists and objects from JSON. Raises SourceUnusable."""
    for name in texts:
        if name not in _FIELDS:
            near = difflib.get_close_matches(name, [*_FIELDS, *PICTURES], n=1)
            raise SourceUnusable(f"there is no field {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        request = EditRequest.model_validate({name: _value(name, text) for name, text in texts.items()})
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise SourceUnusable(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    return request.model_dump(mode="json", exclude_unset=True)


def read_source(source: Path, *, recursive: bool, out: Path, defaults: Mapping[str, Any]) -> list[Wanted]:
    """The edits that a folder or a CSV file asks for, in a fixed order. `out`: a folder that is passed over.

    Raises SourceUnusable, with the first faults of a CSV file.
    """
    if source.is_dir():
        named = [(path.relative_to(source).as_posix(), path) for path in _pictures(source, recursive, out.resolve())]
        if not named:
            deeper = "" if recursive else "; --recursive looks into its folders, too"
            raise SourceUnusable(f"there are no pictures in {source} ({', '.join(PICTURE_ENDINGS)}){deeper}")
        stems = _unique(str(PurePosixPath(name).with_suffix("")) for name, _ in named)
        wanted = [
            Wanted(_custom_id(name), _shown(name), stem, {"image": path}, {})
            for (name, path), stem in zip(named, stems, strict=True)
        ]
    elif source.suffix.lower() == ".csv" and source.is_file():
        wanted = _read_csv(source)
    else:
        raise SourceUnusable(f"{source} is neither a folder nor a CSV file")
    for one in wanted:
        wish = {"operation": Operation.GENERAL_EDIT, **defaults, **one.fields}
        if wish["operation"] == Operation.GENERAL_EDIT and not wish.get("prompt"):
            raise SourceUnusable(f"{one.source} has no prompt: say behind the folder or file what is to be done, in quotes")
    return wanted


def _pictures(folder: Path, recursive: bool, out: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise SourceUnusable(f"cannot read {error.filename}: {error.strerror}")

    for root, folders, files in os.walk(folder, onerror=fail):
        inner = sorted(name for name in folders if not name.startswith(".") and Path(root, name).resolve() != out)
        folders[:] = inner if recursive else []
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(PICTURE_ENDINGS):
                yield Path(root, name)


def _shown(name: str) -> str:
    """A file's name as text, also if it is none."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _custom_id(name: str) -> str:
    """The name itself where it may be one."""
    try:
        return _CUSTOM_ID.validate_python(name)
    except ValidationError:
        return hashlib.sha256(os.fsencode(name)).hexdigest()[:32]


def _read_csv(file: Path) -> list[Wanted]:
    wanted: list[Wanted] = []
    faults: list[str] = []
    lines: dict[str, int] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened, restval="", strict=True)
            columns = [name.strip() for name in rows.fieldnames or ()]
            if "image" not in columns or len(set(columns)) < len(columns):
                raise SourceUnusable(f"{file}: the first line has to name the columns, each once, and one of them is image")
            rows.fieldnames = columns
            for number, row in enumerate(rows, start=1):
                try:
                    one = _row(row, number, file.parent)
                    if one.custom_id in lines:
                        raise SourceUnusable(f"line {lines[one.custom_id]} has the custom_id {one.custom_id!r}, too")
                    lines[one.custom_id] = rows.line_num
                    wanted.append(one)
                except SourceUnusable as error:
                    faults.append(f"line {rows.line_num}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceUnusable(f"cannot read {file} as CSV in UTF-8: {error}") from error
    if faults:
        more = [f"and {len(faults) - _FAULTS_SHOWN} more"] if len(faults) > _FAULTS_SHOWN else []
        raise SourceUnusable("\n  ".join([f"nothing was sent, {file} has faults:", *faults[:_FAULTS_SHOWN], *more]))
    if not wanted:
        raise SourceUnusable(f"{file} has no rows")
    stems = _unique(_UNSAFE.sub("_", one.custom_id) for one in wanted)
    return [Wanted(one.custom_id, one.source, stem, one.pictures, one.fields) for one, stem in zip(wanted, stems, strict=True)]


def _row(row: dict[str | Any, Any], number: int, folder: Path) -> Wanted:
    """One row of a CSV file; pictures are looked for beside it."""
    if None in row:
        raise SourceUnusable("there are more cells than columns")
    cells = {name: text.strip() for name, text in row.items() if text.strip()}
    if "image" not in cells:
        raise SourceUnusable("there is no image")
    custom_id = cells.pop("custom_id", f"row-{number}")
    try:
        _CUSTOM_ID.validate_python(custom_id)
    except ValidationError:
        raise SourceUnusable("a custom_id has 1 to 64 printable ASCII characters") from None
    named = {name: cells.pop(name) for name in PICTURES if name in cells}
    pictures = {name: text if text.startswith(("http://", "https://")) else folder / text for name, text in named.items()}
    return Wanted(custom_id, named["image"], "", pictures, request_fields(cells))


def _value(name: str, text: str) -> Any:
    if not text.startswith(("{", "[")) or name in _PROMPTS:
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise SourceUnusable(f"{name}: {text!r} is not JSON") from None


def _unique(names: Iterable[str]) -> list[str]:
    """The names, each once, also where upper and lower case are the same; short enough for an ending."""
    taken: set[str] = set()
    found = []
    for name in names:
        path = PurePosixPath(name)
        first = str(path.with_name(os.fsencode(path.name)[:_NAME_MAX_BYTES].decode(errors="ignore")))
        stem, count = first, 1
        while stem.lower() in taken:
            count += 1
            stem = f"{first}-{count}"
        taken.add(stem.lower())
        found.append(stem)
    return found
