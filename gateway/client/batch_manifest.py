"""What became of every edit of a batch, as files beside the results."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from gateway.client.batch_journal import Item, Outcome

JSON, CSV = "manifest.json", "manifest.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """One edit. `status`: `unfinished` until it has ended; `result`: its file, beside the manifest; `cost`: USD."""

    custom_id: str
    source: str
    result: str | None
    status: str
    error: str | None
    cost: float | None
    model: str | None


def manifest_rows(items: Sequence[Item], outcomes: Mapping[str, Outcome]) -> list[Row]:
    """All edits in their order; one that was left out has failed."""
    rows = []
    for item in items:
        refused = Outcome("failed", error=item.refusal) if item.refusal else Outcome("unfinished")
        outcome = outcomes.get(item.custom_id, refused)
        rows.append(Row(item.custom_id, item.source, outcome.result, outcome.status, outcome.error, outcome.cost, outcome.model))
    return rows


def write_manifests(folder: Path, batch_id: str | None, rows: Sequence[Row]) -> None:
    """Replace both files, each as a whole. Raises OSError."""
    listed = [asdict(row) for row in rows]
    draft = folder / f".{JSON}.part"
    draft.write_text(json.dumps({"batch_id": batch_id, "items": listed}, indent=1) + "\n")
    draft.replace(folder / JSON)
    draft = folder / f".{CSV}.part"
    with draft.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        _write_csv(file, listed)
    draft.replace(folder / CSV)


def _write_csv(file: TextIO, listed: Sequence[Mapping[str, object]]) -> None:
    written = csv.DictWriter(file, list(Row.__dataclass_fields__))
    written.writeheader()
    written.writerows(listed)
