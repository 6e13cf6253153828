"""COOKBOOK.md is true: its blocks run one after the other, as they stand, against one stack with simulated providers."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import ROOT, blocks, run, standing_up

START, *BLOCKS = blocks(ROOT / "gateway/COOKBOOK.md")
_USAGE = r"day,model,.*\n(\d{4}-\d\d-\d\d,[a-z0-9.-]+,.*\n)+"
#: A pattern for what each block prints.
SAYS = (
    "succeeded local-adjust 0.0\n",
    "succeeded rotated.png\n",
    r"1\nidempotency_mismatch\n",
    "image-eraser 0\n",
    "image-zoom-out 760 400\n",
    r"(\S+) .+\nTrue True\n.*no_capable_model.*\n",
    r"0\.02 0\.02 0\.02\n",
    "succeeded\nsucceeded\n",
    r"held canary 1\ncompleted \[\('coffee.png', '.png'\), \('chelsea.png', '.png'\), \('rocket.jpg', '.jpg'\)\]\n",
    r"edit\.succeeded \{'order': '1234'\}\n",
    r"(edit|batch)\.\w+( (edit|batch)\.\w+)*\n",
    _USAGE,
    r'(?s)\{.*"code": "validation_failed".*"pointer": "/seed".*\}\n',
    r"moderated provider 0\.0\n4\d\d /output_quality\n",
)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """The folder in which the blocks run, and their variables."""
    folder = tmp_path_factory.mktemp("cookbook")
    where = {"XDG_DATA_HOME": str(folder / "share"), "EDIT_STUDIO_PORT": "0"}
    with standing_up(START.text, folder, where) as address:
        key = (folder / "share/edit-studio/api_key").read_text().strip()
        yield folder, {"STUDIO": address, "KEY": key, "API": f"{address}/api/image-studio/edit"}


@pytest.mark.parametrize("number", range(len(SAYS)))
def test_a_block_does_what_the_page_says(number: int, kitchen: tuple[Path, dict[str, str]]) -> None:
    folder, variables = kitchen
    said = run(BLOCKS[number], folder, variables)
    assert re.fullmatch(SAYS[number], said), said


def test_every_block_is_tried() -> None:
    assert len(BLOCKS) == len(SAYS)
