"""`edit-studio batch` in this process."""

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.batch import run
from deploy.cli import _parser
from gateway.client.batch_journal import NAME
from tests.gateway.conftest import Api
from tests.pictures import encoded, photo

GREY = "make it black and white"
WAIT_S = 20.0
_LOOK_S = 0.01


class Command:
    """The command as users give it, in this process. `out`: where its results go; `said`: by the last run."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.folder, self.out, self.said = folder, folder / "out", ""
        (folder / "key").write_text(api.key)
        self._access = ("--api", api.url, "--key-file", str(folder / "key"))

    def words(self, *words: str) -> list[str]:
        return ["batch", "--out", str(self.out), *self._access, *words]

    async def run(self, *words: str) -> int:
        options, console = _parser().parse_args(self.words(*words)), Console(file=io.StringIO())
        try:
            async with asyncio.timeout(WAIT_S):
                return await run(options, console)
        finally:
            self.said = console.file.getvalue()  # type: ignore[attr-defined]

    def rows(self) -> list[dict[str, str]]:
        """Of the manifest; both forms say the same."""
        with (self.out / "manifest.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        told = json.loads((self.out / "manifest.json").read_text())["items"]
        assert rows == [{name: "" if value is None else str(value) for name, value in row.items()} for row in told]
        return rows

    def results(self) -> set[str]:
        """Files that are no business of the run's own."""
        return {path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.suffix in (".png", ".part")}

    def facts(self, kind: str) -> list[dict[str, Any]]:
        return [fact for line in (self.out / NAME).read_text().splitlines() if (fact := json.loads(line))["fact"] == kind]


@pytest.fixture
def command(api: Api, tmp_path: Path) -> Command:
    return Command(api, tmp_path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six pictures, two of them the same and one broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for shade, name in enumerate(("a.png", "b.png", "c.jpg", "grün.png")):
        (folder / name).write_bytes(encoded(photo(size=(60 + shade, 40)), "PNG"))
    (folder / "same.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    return folder


async def until(fact: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not fact():
            await asyncio.sleep(_LOOK_S)


async def batches(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.get("/batches")).json["batches"]
    return found
